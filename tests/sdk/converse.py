"""Holds a plain and a streamed conversation with an official SDK and prints what came back.

    converse.py openai|vllm|anthropic|ollama PUBLIC_URL KEY MODEL [ROUTE]

ROUTE is where below the URL the SDK's API lies, when not where Relay has it.
"""

import json
import sys

# The last word is the harness's canary: no log and no answer may hold it.
PROMPT = [{"role": "user", "content": "Tell me something about the sea. canary-5b1e7d0c"}]
FOLLOW_UP = {"role": "user", "content": "And about its fish?"}
MOST = 24


def with_openai(base, key, model):
    from openai import OpenAI

    client = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    plain = client.chat.completions.create(
        model=model, messages=PROMPT, max_tokens=MOST, temperature=0
    )
    said = plain.choices[0].message.content
    messages = PROMPT + [{"role": "assistant", "content": said}, FOLLOW_UP]
    text, usage, finish, last = "", None, None, None
    for chunk in client.chat.completions.create(
        model=model,
        messages=messages,
        max_tokens=MOST,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ):
        last = chunk
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return {
        "plain": {
            "text": said,
            "model": plain.model,
            "task_id": getattr(plain, "task_id", None),
            "mode": getattr(plain, "mode", None),
            "finish": plain.choices[0].finish_reason,
            "input": plain.usage.prompt_tokens,
            "output": plain.usage.completion_tokens,
        },
        "stream": {
            "text": text,
            "model": last.model,
            "finish": finish,
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
        },
    }


def with_anthropic(base, key, model):
    from anthropic import Anthropic

    client = Anthropic(base_url=base, api_key=key, max_retries=0)
    # Newer releases of this SDK name no sampling parameters.
    plain = client.messages.create(
        model=model, messages=PROMPT, max_tokens=MOST, extra_body={"temperature": 0}
    )
    said = "".join(block.text for block in plain.content if block.type == "text")
    messages = PROMPT + [{"role": "assistant", "content": said or "-"}, FOLLOW_UP]
    with client.messages.stream(
        model=model, messages=messages, max_tokens=MOST, extra_body={"temperature": 0}
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    def whole(usage):
        return (
            usage.input_tokens
            + (usage.cache_read_input_tokens or 0)
            + (usage.cache_creation_input_tokens or 0)
        )

    return {
        "plain": {
            "text": said,
            "model": plain.model,
            "task_id": getattr(plain, "task_id", None),
            "mode": getattr(plain, "mode", None),
            "finish": plain.stop_reason,
            "input": whole(plain.usage),
            "output": plain.usage.output_tokens,
        },
        "stream": {
            "text": text,
            "model": final.model,
            "finish": final.stop_reason,
            "input": whole(final.usage),
            "output": final.usage.output_tokens,
        },
    }


def with_ollama(base, key, model):
    from ollama import Client

    client = Client(host=base, headers={"Authorization": f"Bearer {key}"})
    options = {"num_predict": MOST, "temperature": 0}
    plain = client.chat(model=model, messages=PROMPT, options=options)
    said = plain.message.content
    messages = PROMPT + [{"role": "assistant", "content": said}, FOLLOW_UP]
    text, last = "", None
    for part in client.chat(model=model, messages=messages, options=options, stream=True):
        text += part.message.content or ""
        last = part
    assert last.done
    for answer in (plain, last):
        assert answer.total_duration > 0 and answer.eval_duration > 0, answer
    return {
        "plain": {
            "text": said,
            "model": plain.model,
            "finish": plain.done_reason,
            "input": plain.prompt_eval_count,
            "output": plain.eval_count,
        },
        "stream": {
            "text": text,
            "model": last.model,
            "finish": last.done_reason,
            "input": last.prompt_eval_count,
            "output": last.eval_count,
        },
    }


def main(sdk, public_url, key, model, route=None):
    routes = {
        "openai": (with_openai, "/v2/openai"),
        "vllm": (with_openai, "/v2/vllm"),
        "anthropic": (with_anthropic, "/v2/anthropic"),
        "ollama": (with_ollama, "/v2/ollama"),
    }
    converse, usual = routes[sdk]
    below = usual if route is None else route
    print(json.dumps(converse(public_url + below, key, model)))


if __name__ == "__main__":
    main(*sys.argv[1:])
