"""Lives a customer's life through Relay's own client and prints what it read.

    relay.py PUBLIC_URL SUPERKEY MODEL
"""

import json
import sys
import time

import relaygpu


def refusal(call):
    """What a call raised: the client's class and the contract's code."""
    try:
        call()
    except relaygpu.RelayError as error:
        return [type(error).__name__, error.code]
    return None


def main(url, superkey, model):
    relay = relaygpu.Relay(api_key=superkey, base_url=url)
    question = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}

    detail = relay.models.get(model)
    answer = relay.run(model, question)
    made = relay.keys.create(name="worker", key_budget=0.5)
    key_id = made["key_id"]
    worker = relaygpu.Relay(api_key=made["key"], base_url=url)
    worked = worker.run(model, question)
    scope = f"direct.vllm.{model}"
    allowed = relay.account.set_model_allowlist([scope])["model_allowlist"]
    barred = refusal(lambda: worker.run(model, question))
    relay.account.set_model_allowlist(None)
    relay.keys.update(key_id, key_budget=0)
    spent = refusal(lambda: worker.run(model, question))
    topped = relay.keys.topup(key_id, 1.5)
    found = relay.keys.get(key_id)
    relay.keys.revoke(key_id)
    revoked = refusal(lambda: worker.run(model, question))
    since = int(time.time()) - 3600
    split = {"start_time": since, "end_time": since + 7200, "group_by": ["source"]}
    metrics = relay.account.metrics(bucket_width="1d", **split)
    spend = relay.account.usage_timeseries(bucket_width="1h", **split)

    told = {
        "listed": [row["name"] for row in relay.models.list(tag="text-to-text")],
        "schema": detail["request_schema"]["title"],
        "text": answer["choices"][0]["message"]["content"],
        "task_id": answer["task_id"],
        "worked": worked["usage"]["completion_tokens"],
        "allowed": allowed,
        "new_budget": topped["new_budget"],
        "found": found["name"],
        "refusals": {
            "barred": barred,
            "spent": spent,
            "revoked": revoked,
            "async": refusal(lambda: relay.run(model, question, async_=True)),
            "unknown": refusal(lambda: relay.models.get("no/such-model")),
            "invalid": refusal(lambda: relay.run(model, {"messages": []})),
            "promote": refusal(lambda: relay.keys.promote(key_id)),
            "ordinary": refusal(lambda: worker.account.credits()),
            "guest": refusal(lambda: relaygpu.Relay(base_url=url).run(model, question)),
        },
        "requests": metrics["summary"]["results"][0]["request_count"],
        "cost": [row["cost_usd"] for row in spend["summary"]["results"]],
        "consumed": relay.account.credits()["total_consumed"],
        "history": [row["action"] for row in relay.account.credits_history()["transactions"]],
        "usage_keys": relay.account.usage()["total"],
        "tier": relay.tiers.list()["current_tier"] == relay.account.profile()["tier"],
        "priced": relay.pricing.get()["total_count"],
        "health": relay.health()["status"],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
