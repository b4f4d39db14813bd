"""Calls of tools, from the plan to the result that the model reads, without any crash."""

import threading

import pytest

from model import Call, Say
from tool import (After, CloseWithoutAnswer, Drip, Echo, Garbage, Huge, Never, NotText, Ok, ResetInAnswer,
                  Status)
from waiting import wait_until

pytestmark = pytest.mark.sql

POLICIES = {
    "once": {},
    "idempotent": {"idempotent": True},
    "read_only": {"read_only": True},
}


def run_one(stack, name="send", arguments=None, **tool):
    """A run of one call and an answer."""
    stack.publish(tools={name: tool})
    stack.model.script(Call((name, arguments or {"n": 1})), Say("done"))
    return stack.run()


def read_by_model(stack, call_id="call_1_0"):
    """What the model was told about a call, in its second step."""
    return stack.model.asked(2)[-1].results()[call_id]


def test_one_run_end_to_end(running):
    running.publish(tools={"look": {"read_only": True}, "send": {}})
    running.model.script(Call(("look", {"who": "ada"})), Call(("send", {"to": "ada", "amount": 12})), Say("sent it"))
    run = running.run("bill ada").wait()

    assert run.answer() == "sent it"
    assert [e.tool for e in running.tools.ledger] == ["look", "send"]
    sent = running.tools.executions("send")[0]
    assert sent.arguments == {"to": "ada", "amount": 12}
    assert (sent.run, sent.step, sent.call) == (run.id, 2, 0)
    assert sent.headers["Idempotency-Key"] == f'"{run.action(2)["key"]}"'
    assert sent.headers["Content-Type"] == "application/json"
    assert "bill ada" in str(running.model.asked(1)[0].messages)
    assert len(running.model.asks) == 3
    assert [row["status"] for row in run.actions()] == ["succeeded", "succeeded"]


def test_calls_of_a_step_run_side_by_side(running):
    together = threading.Event()
    running.tools.behave("send", After(together))
    running.publish(tools={"send": {}})
    running.model.script(Call(*[("send", {"n": n}) for n in range(6)]), Say("done"))
    run = running.run()
    wait_until(lambda: len(running.tools.executions("send")) == 6, "all six are with the tool at once",
               watch=running.check)
    together.set()
    run.wait()
    assert len(running.tools.keys("send")) == 6
    assert sorted(e.arguments["n"] for e in running.tools.executions("send")) == list(range(6))
    assert len(running.model.asked(2)) == 1


def test_no_more_calls_at_a_time_than_the_agent_allows(stack):
    stack.up(executors=2)
    stack.tools.behave("send", After(0.2))
    stack.publish(tools={"send": {}}, agent={"limits": {"parallel_calls": 2}})
    stack.model.script(Call(*[("send", {"n": n}) for n in range(5)]), Say("done"))
    stack.run().wait()
    spans = [(e.at, e.ended_at) for e in stack.tools.executions("send")]
    assert len(spans) == 5
    for begin, _ in spans:
        assert sum(1 for b, e in spans if b <= begin < e) <= 2


def test_refused_calls_are_told_and_not_made(running):
    running.publish(tools={"send": {}})
    running.model.script(Call(("send", '{"n": '), ("nobody", {}), ("send", {"n": 3})), Say("done"))
    run = running.run().wait()
    assert [e.arguments for e in running.tools.ledger] == [{"n": 3}]
    results = running.model.asked(2)[0].results()
    assert set(results) == {"call_1_0", "call_1_1", "call_1_2"}
    assert "nobody" in results["call_1_1"]
    assert len(run.actions()) == 1


# --- every way in which a tool can answer -----------------------------------------------------------

ANSWERS = [
    # behaviour, policy, status of the call at the end, executions
    ("reset", ResetInAnswer(), "once", "unknown", 1),
    ("close", CloseWithoutAnswer(), "once", "unknown", 1),
    ("garbage", Garbage(), "once", "unknown", 1),
    ("drip", Drip(), "once", "unknown", 1),
    ("never", Never(), "once", "unknown", 1),
    ("409", Status(409), "once", "unknown", 1),
    ("422", Status(422, '{"why":"bad amount"}'), "once", "failed", 1),
    ("422", Status(422), "idempotent", "failed", 1),
    ("503", Status(503), "once", "failed", 1),
    ("302", Status(302, headers=[("Location", "/tool/send")]), "once", "failed", 1),
    ("307", Status(307, headers=[("Location", "/tool/send")]), "idempotent", "failed", 1),
    ("huge", Huge(), "once", "succeeded", 1),
    ("not-text", NotText(), "once", "succeeded", 1),
    ("then-ok", None, "idempotent", "succeeded", 2),
    ("then-ok", None, "read_only", "succeeded", 2),
]


@pytest.mark.parametrize("how,behaviour,policy,status,executions", ANSWERS,
                         ids=[f"{a[0]}-{a[2]}" for a in ANSWERS])
def test_whatever_a_tool_answers_the_run_goes_on(running, how, behaviour, policy, status, executions):
    script = [behaviour] if behaviour else [CloseWithoutAnswer(), Ok()]
    running.tools.behave("send", *script)
    run = run_one(running, timeout="1s", **POLICIES[policy]).wait()
    assert run.action()["status"] == status
    assert len(running.tools.executions("send")) == executions
    assert len(running.tools.keys("send")) == 1
    text = read_by_model(running)
    if status == "unknown":
        assert "may" in text or "unknown" in text
    if how == "422" and policy == "once":
        assert "bad amount" in text and "422" in text
    if how == "huge":
        assert "were left out" in text and len(text) < 300 * 1024
        assert running.processes["executor-1"].resident_bytes() < 400 << 20
    if how == "not-text":
        assert "\ufffd" in text and "replaced" in text


def test_every_attempt_carries_the_same_key(running):
    running.tools.behave("send", Status(503), Status(429, headers=[("Retry-After", "1")]), Ok())
    run = run_one(running, idempotent=True, attempts=5).wait()
    entries = running.tools.executions("send")
    assert len(entries) == 3 and len(running.tools.keys("send")) == 1
    assert entries[2].at - entries[1].at >= 1.0, "Retry-After was not obeyed"
    assert [row["status"] for row in run.actions()] == ["failed", "failed", "succeeded"]


def test_attempts_end(running):
    running.tools.behave("send", Status(503, "still down"))
    run = run_one(running, idempotent=True, attempts=2).wait()
    assert len(running.tools.executions("send")) == 2
    assert run.action()["status"] == "failed"
    assert "503" in read_by_model(running)


def test_a_tool_that_is_not_there_is_tried_again(running):
    nowhere = {"method": "POST", "url": "http://127.0.0.1:1/tool/send"}
    run = run_one(running, http=nowhere, attempts=2).wait()
    assert [row["status"] for row in run.actions()] == ["failed_before_effect"] * 2
    assert len({row["key"] for row in run.actions()}) == 1
    assert "not reached" in read_by_model(running)


def test_secrets_reach_the_tool_and_nobody_else(stack):
    stack.kafka.start()
    stack.planner()
    stack.executor(secrets={"tool_key": "hunter2-hunter2"})
    stack.wait_alive(2)
    stack.tools.behave("send", Echo())
    run = run_one(stack, http={"headers": {"X-Api-Key": {"secret": "tool_key"}}}).wait()
    assert stack.tools.executions("send")[0].headers["X-Api-Key"] == "hunter2-hunter2"
    assert "[secret]" in read_by_model(stack)
    everything = str(stack.sql("SELECT * FROM pawl.agent_actions")) + str(stack.model.asks[-1].messages)
    assert "hunter2" not in everything
    assert "hunter2" not in stack.processes["executor-1"].text()
    assert run.action()["status"] == "succeeded"


def test_tools_called_by_get_get_a_query(running):
    run_one(running, name="look", arguments={"who": "a b"}, read_only=True,
            http={"method": "GET", "url": f"{running.tools.url}/tool/look"}).wait()
    assert running.tools.executions("look")[0].method == "GET"


def test_a_kept_alive_connection_that_dies_is_no_second_execution(running):
    """libcurl sends a POST again by itself when a kept-alive connection closes without an answer."""
    running.publish(tools={"often": {"idempotent": True}, "send": {}})
    running.tools.behave("send", CloseWithoutAnswer())
    running.model.script(Call(("often", {"n": 1})), Call(("often", {"n": 2}), ("often", {"n": 3})),
                       Call(("send", {"n": 4})), Say("done"))
    run = running.run().wait()
    assert len(running.tools.executions("send")) == 1
    assert run.action(3)["status"] == "unknown"


# --- people ---------------------------------------------------------------------------------------


def test_the_same_call_again_is_held_while_the_first_is_unknown(running):
    running.tools.behave("send", CloseWithoutAnswer(), Ok())
    running.publish(tools={"send": {}})
    running.model.script(Call(("send", {"n": 1})), Call(("send", {"n": 1})), Say("done"))
    run = running.run().wait("suspended")
    assert run.action(2)["status"] == "awaiting_decision"
    assert run.action(2)["error_code"] == "twin_unknown"
    assert len(running.tools.executions("send")) == 1
    running.decide(run, 2, 0, "happened", "--result", "it was sent")
    run.wait()
    assert len(running.tools.executions("send")) == 1
    assert "it was sent" in running.model.asked(3)[0].results()["call_2_0"]


def test_another_call_is_not_held(running):
    running.tools.behave("send", CloseWithoutAnswer(), Ok())
    running.publish(tools={"send": {}})
    running.model.script(Call(("send", {"n": 1})), Call(("send", {"n": 2})), Say("done"))
    run = running.run().wait()
    assert [e.arguments["n"] for e in running.tools.executions("send")] == [1, 2]
    assert run.action(2)["status"] == "succeeded"


@pytest.mark.parametrize("word,executions", [("happened", 1), ("did-not-happen", 2)])
def test_ask_waits_for_a_person(running, word, executions):
    running.tools.behave("send", CloseWithoutAnswer(), Ok())
    run = run_one(running, on_unknown="ask").wait("suspended")
    assert run.action()["status"] == "awaiting_decision"
    running.decide(run, 1, 0, word)
    run.wait()
    assert len(running.tools.executions("send")) == executions
    assert len(running.tools.keys("send")) == 1
    assert run.action()["status"] == "succeeded"


def test_a_decision_that_nobody_takes_has_a_default_end(running):
    running.tools.behave("send", CloseWithoutAnswer())
    run = run_one(running, on_unknown="ask", ask_timeout="1s").wait()
    assert run.action()["status"] == "unknown"
    assert len(running.tools.executions("send")) == 1


def test_a_cancel_reaches_a_call_in_flight(running):
    running.tools.behave("send", Never())
    run = run_one(running, timeout="60s")
    entry = wait_until(lambda: running.tools.executions("send"), "the tool is called", watch=running.check)[0]
    # What is cancelled in its first moments is aborted at the second beat.
    wait_until(lambda: run.action()["status"] == "running", "the call is claimed")
    started = running.sql.value("SELECT extract(epoch FROM clock_timestamp())::float8")
    running.pawl("run", "cancel", run.id)
    wait_until(lambda: entry.ended_at, "the tool's caller hangs up", timeout=10, pause=0.005)
    took = running.sql.value("SELECT extract(epoch FROM clock_timestamp())::float8") - started
    assert took < 1.5, f"the cancel took {took:.2f} s, the command line included"
    run.wait("cancelled")
    assert run.action()["status"] == "unknown"  # it may have happened, and that is never forgotten


def test_a_cancelled_read_is_just_cancelled(running):
    running.tools.behave("look", Never())
    run = run_one(running, name="look", read_only=True, timeout="60s")
    entry = wait_until(lambda: running.tools.executions("look"), "the tool is called", watch=running.check)[0]
    running.pawl("run", "cancel", run.id)
    wait_until(lambda: entry.ended_at, "the tool's caller hangs up", timeout=10)
    run.wait("cancelled")
    assert run.action()["status"] == "cancelled"


def test_a_retry_returns_stored_successes(running):
    running.tools.behave("send", Ok())
    running.tools.behave("break", Never(), Ok())
    running.publish(tools={"send": {}, "break": {"read_only": True, "timeout": "60s"}})
    running.model.script([Call(("send", {"n": 1}), ("send", {"n": 2}), ("break", {}))], Say("done"))
    run = running.run()
    wait_until(lambda: [r["status"] for r in run.actions()].count("succeeded") == 2 and
               running.tools.executions("break"), "two calls have succeeded, one hangs", watch=running.check)
    running.pawl("run", "cancel", run.id)
    run.wait("cancelled")

    def retried():
        return running.pawl("run", "retry", run.id, check=False).returncode == 0

    wait_until(retried, "the retry is taken, once the cancelled call has been given up")
    run.wait()
    assert len(running.tools.executions("send")) == 2, "a stored success was run again"
    assert len(running.tools.executions("break")) == 2
    copied = [row for row in run.actions() if row["copied_from"] is not None]
    assert len(copied) == 2 and all(row["epoch"] == 2 for row in copied)
