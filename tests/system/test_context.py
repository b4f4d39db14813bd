"""Runs that outgrow the context window of their model.

The model here counts what it is sent, by a rule of its own that pawl does not know, and refuses what
is over its window, as providers do. It judges whether each prompt begins with the one before (then a
provider has that part in its cache), and whether each call that it reads about has its result.
"""

import json
import math
import random

import pytest

from model import Say, Status, Streamed
from tool import Behaviour
from waiting import wait_until

WINDOW = 32768
STEPS = 200


class Counting(Streamed):
    """Calls `look` at each step until the last, and says what the prompts counted."""

    def __init__(self, bytes_per_token, steps=STEPS, window=WINDOW, before_step=None):
        super().__init__()
        self.rate, self.steps, self.window, self.before_step = bytes_per_token, steps, window, before_step
        self.counts, self.refused, self.prefix_changes, self.torn = [], [], [], []
        self.last = []

    def count(self, ask):
        said = [json.dumps(ask.body.get("tools", []))]
        for message in ask.messages:
            said.append(message.get("content") or "")
            said += [call["function"]["name"] + call["function"]["arguments"] for call in message.get("tool_calls", [])]
        return math.ceil(sum(len(text.encode()) for text in said) / self.rate) + 4 * len(said)

    def judge(self, ask, step):
        if ask.messages[: len(self.last)] != self.last:
            self.prefix_changes.append(step)
        self.last = ask.messages
        called = [call["id"] for m in ask.messages for call in m.get("tool_calls", [])]
        answered = [m["tool_call_id"] for m in ask.messages if m["role"] == "tool"]
        if called != answered or [m["role"] for m in ask.messages[:2]] != ["system", "user"]:
            self.torn.append(step)

    def serve(self, handler, ask):
        ids = [call["id"] for m in ask.messages for call in m.get("tool_calls", [])]
        ask.step = step = int(ids[-1].split("_")[1]) + 1 if ids else 1
        if self.before_step:
            self.before_step(step)
        tokens = self.count(ask)
        self.judge(ask, step)
        if tokens > self.window:
            self.refused.append((step, tokens))
            body = {"error": {"message": f"maximum context length is {self.window} tokens", "code": "context_length_exceeded",
                              "type": "invalid_request_error"}}
            return Status(400, body=json.dumps(body)).serve(handler, ask)
        self.counts.append(tokens)
        return super().serve(handler, ask)

    def usage(self, ask):
        return {"prompt_tokens": self.counts[-1], "completion_tokens": 5, "total_tokens": self.counts[-1] + 5}

    def deltas(self, ask):
        if ask.step > self.steps:
            return [{"content": "done"}]
        return [{"tool_calls": [{"index": 0, "id": f"call_{ask.step}_0", "type": "function",
                                 "function": {"name": "look", "arguments": json.dumps({"n": ask.step})}}]}]

    def reason(self):
        return "stop" if len(self.counts) > self.steps else "tool_calls"


class Pages(Behaviour):
    """Results of `look`: text of sizes that differ, `mean` bytes on average, the same each time."""

    def __init__(self, mean, spread=0.0):
        self.mean, self.spread = mean, spread

    def serve(self, handler, execution):
        dice = random.Random(execution.arguments["n"])
        size = int(self.mean * (1 + self.spread * (2 * dice.random() - 1)))
        handler.reply(200, "".join(dice.choice("abcdefgh ijklm nopqrs tuvwxyz\n") for _ in range(size)),
                      content_type="text/plain")


def publish(stack, **model):
    stack.publish(tools={"look": {"read_only": True}}, model={"context_window": WINDOW, **model},
                  agent={"limits": {"steps": STEPS + 10}})


def stored_bytes_by_step(stack, run):
    """What each step stores, but for the results themselves."""
    rows = stack.sql(
        "SELECT step, sum(bytes)::int AS bytes FROM ("
        " SELECT step, octet_length(to_jsonb(c)::text) AS bytes FROM pawl.agent_step_content c WHERE run_id = %s"
        " UNION ALL SELECT step, octet_length((to_jsonb(a) - 'result')::text) FROM pawl.agent_actions a WHERE run_id = %s) x "
        "GROUP BY step ORDER BY step", run.id, run.id)
    return [row["bytes"] for row in rows]


@pytest.mark.parametrize("rate", [4, 2.5])
def test_a_run_far_over_the_window_goes_on(stack, rate):
    """200 steps, 200,000 tokens of results, a window of 32,768; a planner is killed in the middle."""
    stack.up(planners=2)
    publish(stack)

    def kill(step):
        if step == STEPS // 2 and "killed" not in done:
            holder = stack.sql.value("SELECT w.instance FROM pawl.agent_runs r JOIN pawl.workers w ON w.incarnation = r.claim_by")
            done["killed"] = holder.removeprefix("test/")
            stack.processes[done["killed"]].kill()

    done = {}
    model = Counting(rate, before_step=kill)
    stack.model.script(model)
    stack.tools.behave("look", Pages(1000 * rate, spread=0.8))
    run = stack.run("Look at all pages.").wait(timeout=120)
    assert done["killed"]
    assert run.row()["step"] == STEPS + 1 and len(stack.tools.executions("look")) == STEPS
    assert model.refused == [] and model.torn == []
    print("changes", model.prefix_changes, "max", max(model.counts), "mean", sum(model.counts) / len(model.counts))
    assert len(model.prefix_changes) <= STEPS / 10
    assert max(model.counts) > WINDOW / 2, "the window is made use of"
    bytes_by_step = stored_bytes_by_step(stack, run)
    assert len(bytes_by_step) == STEPS + 1
    print("bytes", bytes_by_step[:3], bytes_by_step[-3:])
    assert max(bytes_by_step[:-1]) - min(bytes_by_step[:-1]) < 120
