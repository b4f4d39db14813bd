"""Runs that outgrow the context window of their model.

The model here counts what it is sent, by a rule of its own that pawl does not know, and refuses what
is over its window, as providers do. It judges whether each prompt begins with the one before (then a
provider has that part in its cache), and whether each call that it reads about has its result.
"""

import json
import math
import os
import random

import pytest

from model import Status, Streamed
from tool import Behaviour

LONG = os.environ.get("PAWL_TEST_LONG") == "1"


class Counting(Streamed):
    """Calls `look` at each step until the last, and says what the prompts counted."""

    def __init__(self, bytes_per_token, steps, window, before_step=None):
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
    stack.publish(tools={"look": {"read_only": True}}, model=model, agent={"limits": {"steps": 300}})


def stored_bytes_by_step(stack, run):
    """What each step stores, but for the results themselves."""
    rows = stack.sql(
        "SELECT step, sum(bytes)::int AS bytes FROM ("
        " SELECT step, octet_length(to_jsonb(c)::text) AS bytes FROM pawl.agent_step_content c WHERE run_id = %s"
        " UNION ALL SELECT step, octet_length((to_jsonb(a) - 'result')::text) FROM pawl.agent_actions a WHERE run_id = %s) x "
        "GROUP BY step ORDER BY step", run.id, run.id)
    return [row["bytes"] for row in rows]


# (bytes a token, steps, window, tokens of results together); the last two as the issue asks for
SIZES = [(2.5, 50, 8192, 12500)]
if LONG:
    SIZES += [(4, 200, 32768, 200000), (2.5, 200, 32768, 200000)]


@pytest.mark.parametrize("rate, steps, window, tokens", SIZES)
def test_a_run_far_over_the_window_goes_on(stack, rate, steps, window, tokens):
    """Results of many times the window, of sizes that differ; a planner is killed in the middle."""
    stack.up(planners=2)
    publish(stack, context_window=window)
    killed = []

    def kill(step):
        if step == steps // 2 and not killed:
            killed.append(stack.sql.value("SELECT w.instance FROM pawl.agent_runs r JOIN pawl.workers w "
                                          "ON w.incarnation = r.claim_by").removeprefix("test/"))
            stack.processes[killed[0]].kill()

    model = Counting(rate, steps, window, before_step=kill)
    stack.model.script(model)
    stack.tools.behave("look", Pages(tokens / steps * rate, spread=0.8))
    run = stack.run("Look at all pages.").wait(timeout=300)
    assert len(stack.tools.executions("look")) == steps and run.row()["step"] == steps + 1
    assert model.refused == [] and model.torn == []
    print(f"{len(model.prefix_changes)} changes {model.prefix_changes}, largest prompt {max(model.counts)} tokens, "
          f"mean {sum(model.counts) // len(model.counts)}")
    assert 1 <= len(model.prefix_changes) <= steps / 10
    assert max(model.counts) > window / 2, "the window is made use of"
    by_step = stored_bytes_by_step(stack, run)[:steps]
    print(f"bytes stored by step, without results: {by_step[0]} to {by_step[-1]}, most {max(by_step)}")
    assert max(by_step) - min(by_step) < 100, "but for digits, each step stores the same"
    survivor = next(name for name in ("planner-1", "planner-2") if name not in killed)
    assert stack.metric(survivor, "pawl_planner_context_moves_total") >= 1


def test_a_window_that_is_smaller_than_published(running):
    """The provider refuses; the run learns from it, once, and goes on."""
    publish(running, context_window=16384, attempts=3)
    model = Counting(3, 40, 6000)
    running.model.script(model)
    running.tools.behave("look", Pages(1500))
    run = running.run().wait()
    assert 1 <= len(model.refused) <= 3 and model.torn == []
    errors = [row["content"] for row in running.sql("SELECT content FROM pawl.agent_step_content WHERE run_id = %s AND "
                                                    "type = 'error'", run.id)]
    assert len(errors) == len(model.refused) and all("prompt_too_large" in text for text in errors)


def test_one_result_of_many_times_the_window(running):
    """It is shown by its ends, and stored whole."""
    publish(running, context_window=8192)
    model = Counting(3, 2, 8192)
    running.model.script(model)
    running.tools.behave("look", Pages(200000))
    run = running.run().wait()
    assert model.refused == [] and model.torn == []
    shown = list(running.model.asked()[1].results().values())[0]
    whole = run.action(1)["result"]
    assert len(whole) == 200000 and len(shown) < 8192
    assert shown[:1000] == whole[:1000] and shown[-1000:] == whole[-1000:] and "bytes are left out here" in shown


def test_what_cannot_be_made_shorter_says_what_to_do(running):
    publish(running, context_window=2000, attempts=3)
    model = Counting(1, 5, 1000)
    running.model.script(model)
    row = running.run("x" * 3000).wait("failed").row()
    assert row["error_code"] == "prompt_too_large" and "a larger context_window" in row["error"]
    publish(running)
    row = running.run("x" * 3000).wait("failed").row()
    assert row["error_code"] == "prompt_too_large" and "give the model its context_window" in row["error"]
