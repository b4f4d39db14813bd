"""Models that do what models should not: bounded memory, a classed error, and the run goes on or ends
by rule."""

import pytest

from model import Call, Cut, Endless, Garbage, Hang, Say, Status
from waiting import wait_until

SHORT = {"first_event_timeout": "1s", "silence_timeout": "1s", "timeout": "3s", "attempts": 3}


@pytest.mark.parametrize("reply", [Garbage(), Cut(), Hang(), Status(500), Status(429, retry_after=1), Endless()],
                         ids=["garbage", "cut", "never", "500", "429", "endless"])
def test_a_bad_answer_is_asked_for_again(running, reply):
    running.publish(tools={"send": {}}, model={**SHORT, "max_output_bytes": "1MiB"})
    running.model.script([reply, Call(("send", {"n": 1}))], Say("done"))
    run = running.run().wait(timeout=60)
    assert run.answer() == "done"
    assert len(running.tools.executions("send")) == 1
    assert len(running.model.asked(1)) == 2
    assert running.processes["planner-1"].resident_bytes() < 400 << 20


def test_attempts_of_the_model_end(running):
    running.publish(model={**SHORT, "attempts": 2})
    running.model.script(Status(503))
    run = running.run().wait("failed")
    assert len(running.model.asked(1)) == 2
    assert run.row()["error_code"] and "503" in run.row()["error"]


def test_a_request_that_the_provider_refuses_is_not_repeated(running):
    running.publish(model=SHORT)
    running.model.script(Status(400, body='{"error":{"message":"no such model"}}'))
    run = running.run().wait("failed")
    assert len(running.model.asked(1)) == 1
    assert "no such model" in run.row()["error"] or "400" in run.row()["error"]


def test_a_run_ends_at_its_limit_of_steps(running):
    running.publish(tools={"look": {"read_only": True}}, agent={"limits": {"steps": 3}})
    running.model.script(Call(("look", {"n": 1})))
    run = running.run().wait("failed")
    assert run.row()["error_code"]
    assert len(running.model.asks) <= 3


def test_a_run_ends_at_its_deadline(running):
    running.publish(agent={"limits": {"time": "2s"}})
    running.model.script(Hang())
    run = running.run().wait("failed", timeout=20)
    assert run.row()["error_code"] == "deadline_exceeded"


def test_a_cancel_reaches_a_model_call(running):
    running.publish()
    running.model.script(Hang())
    run = running.run()
    ask = wait_until(lambda: running.model.asked(1), "the model is asked", watch=running.check)[0]
    running.pawl("run", "cancel", run.id)
    wait_until(lambda: ask.ended_at, "the model's caller hangs up", timeout=10, pause=0.005)
    run.wait("cancelled")
