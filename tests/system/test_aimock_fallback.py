"""Providers that die and come back, and runs that move from one dialect to another in their middle."""

import itertools
import json

import pytest

from aimock import DIALECTS, call, failing, fixture, need, said, turn
from infra import long_only
from model import Say
from waiting import wait_until

pytestmark = long_only


# --- a run moves to another dialect ---------------------------------------------------------------------


@pytest.mark.parametrize("first,second", itertools.product(DIALECTS, DIALECTS))
def test_move(stack, aimock, first, second):
    """The provider of the first step is overloaded at the second, and back at the third."""
    need(stack, first)
    need(stack, second)
    stays_with = DIALECTS[first]["model"]
    goes_to = DIALECTS[second]["model"] if DIALECTS[second]["model"] != stays_with else "o3-mini"
    look = turn("I look.", "Who is it?", call("ada", "look", n=1), call("bob", "look", n=2))
    peek = turn("I look again.", "One is left.", call("eve", "peek", n=3))
    aimock.start([fixture(look, after=False, model=stays_with), fixture(failing(529), words='"look"', model=stays_with),
                  fixture(peek, words='"look"', model=goes_to), fixture(turn("Done.", "Well."), words='"peek"', model=stays_with)])
    stack.up()
    stack.publish(tools={"look": {"read_only": True}, "peek": {"read_only": True}}, model=aimock.model(first),
                  more_models={"other": aimock.model(second, model=goes_to)},
                  agent={"fallback": {"models": ["other"], "on": ["overloaded"]}})
    run = stack.run("go").wait()
    assert run.answer() == "Done."
    journal = aimock.journal()
    assert [(entry.model, entry.status) for entry in journal] == [
        (stays_with, 200), (stays_with, 529), (goes_to, 200), (stays_with, 200)]
    so_far = [("system", "Do it."), ("user", "go"), ("assistant", "I look."), ("call", 'look{"n":1}'), ("call", 'look{"n":2}'),
              ("result of", 'look{"n":1}'), ("result of", 'look{"n":2}')]
    assert said(journal[1]) == said(journal[2]) == so_far
    assert said(journal[3]) == so_far + [("assistant", "I look again."), ("call", 'peek{"n":3}'), ("result of", 'peek{"n":3}')]
    assert run.row()["model_calls"] == len(journal)


# --- providers that die and come back ---------------------------------------------------------------------

RUNS = 40


def start_runs(stack, count):
    lines = "".join(json.dumps({"id": f"{n}", "agent": "agent", "input": f"task {n}."}) + "\n" for n in range(count))
    stack.kafka.kcat("-P", "-t", stack.kafka.names["requests"], data=lines.encode())


def test_a_dead_provider_costs_little(stack, aimock):
    """Nobody listens where the first model should be: the other one serves every run."""
    stack.up()
    stack.publish(model=aimock.model("openai_chat"), more_models={"other": {}}, agent={"fallback": {"models": ["other"], "after": 1}})
    stack.model.script(Say("done"))
    start_runs(stack, RUNS)
    succeeded = "SELECT count(*) FROM pawl.agent_runs WHERE status = 'succeeded'"
    wait_until(lambda: stack.sql.value(succeeded) == RUNS, "all runs have succeeded", 60, watch=stack.check)
    assert stack.metric("planner-1", "pawl_model_breaker_open") == 1
    before = failures(stack)
    for n in range(RUNS):
        stack.run(f"later {n}").wait()
    assert len(stack.model.asks) == 2 * RUNS
    assert failures(stack) - before <= 5, "the dead provider is asked again and again"


def test_an_outage_fails_no_run(stack, aimock):
    """The only provider dies with calls in flight and stays away for several tries; then it comes back."""
    answers = [fixture(turn("", "", call("one", "look", n=1)), after=False, latency=200), fixture(turn("Done.", ""), after="one", latency=200)]
    aimock.start(answers)
    stack.up()
    stack.publish(tools={"look": {"read_only": True}}, model=aimock.model("openai_chat", attempts=4))
    start_runs(stack, RUNS)
    wait_until(lambda: aimock.count() >= RUNS // 2, "calls are in flight", watch=stack.check)
    aimock.stop()
    opened = lambda: stack.metric("planner-1", "pawl_model_breaker_opened_total")  # noqa: E731
    wait_until(lambda: opened() >= 5, "it was tried four times while it was away", 60, pause=0.3, watch=stack.check)
    assert not [run.describe() for run in stack.runs() if run.status != "running"]
    aimock.start()
    succeeded = "SELECT count(*) FROM pawl.agent_runs WHERE status = 'succeeded'"
    wait_until(lambda: stack.sql.value(succeeded) == RUNS, "all runs have succeeded", 90, pause=0.3, watch=stack.check)
    assert stack.metric("planner-1", "pawl_model_breaker_open") == 0


def failures(stack):
    return stack.sql.value("SELECT count(*) FROM pawl.agent_step_content WHERE type = 'error'")
