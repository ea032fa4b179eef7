"""Provokes errors through an official SDK and prints, for each, which exception it raised.

    refusals.py openai|anthropic|ollama PUBLIC_URL MODEL

Each line of standard input is a JSON object: a case's name to {key, model?, body?, stream?,
prompt_bytes?, look_up?}. What `body` holds is merged into the request; `look_up` asks for a model's
description instead. Each is answered with one line.
"""

import json
import sys



def messages(case):
    return [{"role": "user", "content": "x" * case.get("prompt_bytes", 5)}]


def openai_call(base, case, model):
    import openai

    client = openai.OpenAI(base_url=base + "/v2/openai/v1", api_key=case["key"], max_retries=0)
    try:
        if "look_up" in case:
            client.models.retrieve(case["look_up"])
            return {"raised": None}
        answer = client.chat.completions.create(
            model=case.get("model", model),
            messages=messages(case),
            max_tokens=8,
            stream=case.get("stream", False),
            extra_body=case.get("body"),
        )
        if case.get("stream"):
            list(answer)
        return {"raised": None}
    except openai.APIStatusError as error:
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "type": error.type,
            "message": error.message,
            "has_request_id": bool(error.request_id),
        }
    except openai.APIError as error:
        return {"raised": type(error).__name__, "code": error.code, "message": error.message}


def anthropic_call(base, case, model):
    import anthropic

    client = anthropic.Anthropic(
        base_url=base + "/v2/anthropic", api_key=case["key"], max_retries=0
    )
    try:
        if "look_up" in case:
            client.models.retrieve(case["look_up"])
            return {"raised": None}
        answer = client.messages.create(
            model=case.get("model", model),
            messages=messages(case),
            max_tokens=8,
            stream=case.get("stream", False),
            extra_body=case.get("body"),
        )
        if case.get("stream"):
            list(answer)
        return {"raised": None}
    except anthropic.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "type": body.get("type"),
            "code": (body.get("error") or {}).get("code"),
            "message": (body.get("error") or {}).get("message"),
        }
    except anthropic.APIError as error:
        return {"raised": type(error).__name__, "message": error.message}


def ollama_call(base, case, model):
    import ollama

    client = ollama.Client(
        host=base + "/v2/ollama", headers={"Authorization": f"Bearer {case['key']}"}
    )
    body = case.get("body") or {}
    try:
        if "look_up" in case:
            client.show(case["look_up"])
            return {"raised": None}
        answer = client.chat(
            model=case.get("model", model),
            messages=messages(case),
            options={"num_predict": 8},
            stream=case.get("stream", False),
            **body,
        )
        if case.get("stream"):
            list(answer)
        return {"raised": None}
    except ollama.ResponseError as error:
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "message": error.error,
        }


def main(sdk, public_url, model):
    call = {"openai": openai_call, "anthropic": anthropic_call, "ollama": ollama_call}[sdk]
    for line in sys.stdin:
        cases = json.loads(line)
        raised = {name: call(public_url, case, model) for name, case in cases.items()}
        print(json.dumps(raised), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
