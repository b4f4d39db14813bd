"""The world around the processes fails: Postgres, Kafka, time, and the processes' own loops."""

import json
import signal
import threading
import time

import pytest

from model import Call, Say
from tool import After, Ok
from waiting import stays, wait_until


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_postgres_kills_nobody(stack, mode):
    stack.up()
    gate, model_gate = threading.Event(), threading.Event()
    stack.tools.behave("send", After(gate))
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1}), ("send", {"n": 2})), Say("done", pause=model_gate))
    run = stack.run()
    wait_until(lambda: len(stack.tools.executions("send")) == 2, "two calls are in flight", watch=stack.check)
    stack.cluster.restart(mode)
    gate.set()  # the results come while everybody connects anew
    wait_until(lambda: stack.model.asked(2), "the results were committed", watch=stack.check)
    stack.cluster.restart(mode)
    model_gate.set()
    run.wait()
    assert len(stack.tools.executions("send")) == 2
    assert [row["status"] for row in run.actions()] == ["succeeded", "succeeded"]
    assert len(stack.model.asks) == 2
    assert not stack.workers("dead")


def test_postgres_away_for_longer_than_a_death(stack):
    """Losing Postgres must not look like everybody's death."""
    stack.up(executors=2)
    gate = threading.Event()
    stack.tools.behave("send", After(gate))
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "a call is in flight", watch=stack.check)
    stack.cluster.stop("immediate")
    gate.set()
    time.sleep(12)  # longer than 10 s, the time after which a beat that stands still means death
    stack.cluster.start()
    run.wait()
    assert len(stack.tools.executions("send")) == 1
    assert run.action()["status"] == "succeeded"
    assert not stack.workers("dead")


@pytest.mark.beside
@pytest.mark.parametrize("when", ["never there", "gone"])
def test_runs_go_on_without_kafka(stack, when):
    if when == "gone" and stack.kafka.real:
        pytest.skip("the Kafka of PAWL_TEST_KAFKA is not ours to stop")
    if when == "gone":
        stack.up()
        stack.wait_joined("planner-1", "executor-1")
        stack.kafka.stop()
    else:
        stack.kafka.bootstrap = "127.0.0.1:1"
        stack.planner()
        stack.executor()
        stack.wait_alive(2)
    stack.publish(tools={"send": {}})
    stack.model.script(Call(("send", {"n": 1})), Call(("send", {"n": 2})), Say("done"))
    run = stack.run().wait()
    assert [e.arguments["n"] for e in stack.tools.executions("send")] == [1, 2]
    assert run.answer() == "done"


def ring(stack, run, step, index=None):
    value = {"v": 1, "run": run, "step": step}
    if index is not None:
        value["index"] = index
    topic = stack.kafka.names["plan" if index is None else "act"]
    stack.kafka.produce(topic, json.dumps(value), key=run)


@pytest.mark.beside
def test_doorbells_doubled_reordered_and_forged_change_nothing(stack):
    stack.up(executors=2)
    gate = threading.Event()
    stack.tools.behave("send", After(gate))
    stack.publish(tools={"send": {}})
    stack.model.script(Call(("send", {"n": 1})), Call(("send", {"n": 2})), Say("done"))
    stack.wait_joined("planner-1", "executor-1", "executor-2")
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the first call is in flight", watch=stack.check)
    for _ in range(5):
        for step in (3, 2, 1):
            ring(stack, run.id, step)
            ring(stack, run.id, step, 0)
    ring(stack, run.id, 1, 7)
    ring(stack, "0190a1b2-7777-7000-8000-000000001234", 1, 0)
    junk = (b"{", b"\xff\xfe", b'{"v":99}', None)
    for value in junk:
        stack.kafka.produce(stack.kafka.names["act"], value)

    def refused():
        executors = [stack.processes[name] for name in ("executor-1", "executor-2")]
        return sum(process.text().count("doorbell is not understood") for process in executors)

    wait_until(lambda: refused() >= len(junk), "the forged doorbells were read", watch=stack.check)
    gate.set()
    run.wait()
    assert [e.arguments["n"] for e in stack.tools.executions("send")] == [1, 2]
    assert len(stack.model.asks) == 3


@pytest.mark.beside
def test_a_frozen_executor_is_replaced_and_comes_back_as_another(stack):
    stack.up(executors=2)
    gate = threading.Event()
    stack.tools.behave("send", After(gate))
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    stack.wait_joined("executor-1", "executor-2")
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the call is in flight", watch=stack.check)
    holder = stack.sql.value("SELECT w.instance FROM pawl.agent_actions a JOIN pawl.workers w "
                             "ON w.incarnation = a.claim_by WHERE a.run_id = %s", run.id)
    frozen = stack.processes[holder.removeprefix("test/")]
    frozen.stop()
    run.wait()  # by rule: nobody knows
    assert run.action()["status"] == "unknown"
    assert len(stack.tools.executions("send")) == 1
    gate.set()
    frozen.go_on()
    assert frozen.wait_exit() == 75
    assert len(stack.tools.executions("send")) == 1


@pytest.mark.beside
def test_a_late_result_is_the_truth(stack):
    """Declared dead while frozen, it still brings the result of a call that waits for a person."""
    stack.up(executors=2)
    gate = threading.Event()
    stack.tools.behave("send", After(gate, Ok("the truth")))
    stack.publish(tools={"send": {"timeout": "60s", "on_unknown": "ask"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    stack.wait_joined("executor-1", "executor-2")
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the call is in flight", watch=stack.check)
    holder = stack.sql.value("SELECT w.instance FROM pawl.agent_actions a JOIN pawl.workers w "
                             "ON w.incarnation = a.claim_by WHERE a.run_id = %s", run.id)
    frozen = stack.processes[holder.removeprefix("test/")]
    frozen.stop()
    run.wait("suspended")
    gate.set()
    frozen.go_on()
    run.wait()
    assert run.action()["status"] == "succeeded"
    assert "the truth" in stack.model.asked(2)[0].results()["call_1_0"]
    assert len(stack.tools.executions("send")) == 1
    assert frozen.wait_exit() == 75


@pytest.mark.beside
def test_a_blocked_loop_aborts_and_is_taken_over(stack):
    stack.kafka.start()
    stack.planner()
    executor = stack.executor(PAWL_FAULT="executor_after_claim:1:sleep:60000")
    stack.publish(tools={"look": {"read_only": True}})
    stack.model.script(Call(("look", {"n": 1})), Say("done"))
    run = stack.run()
    assert executor.wait_exit() == -signal.SIGABRT
    executor.start()
    run.wait()
    assert len(stack.tools.executions("look")) == 1


@pytest.mark.beside
def test_a_slow_tool_is_no_dead_worker(stack):
    stack.up(executors=2)
    gate = threading.Event()
    stack.tools.behave("send", After(gate))
    stack.publish(tools={"send": {"timeout": "60s"}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run()
    wait_until(lambda: stack.tools.executions("send"), "the call is in flight", watch=stack.check)
    stays(lambda: run.action()["status"] == "running" and not stack.workers("dead"), "it is waited for", 4)
    gate.set()
    run.wait()
    assert len(stack.tools.executions("send")) == 1
