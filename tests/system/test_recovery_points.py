"""Every numbered point of the protocol: a process dies exactly there, is started again, and the run
ends as if nothing had happened. The judges are the ledgers of the tools and of the broker."""

import json
import subprocess

import pytest

from model import Call, Say
from stack import build_dir
from tool import After, CloseWithoutAnswer, Ok
from waiting import wait_until


def points(program):
    out = subprocess.run([build_dir() / program, "--fault-points"], stdout=subprocess.PIPE, text=True, check=True)
    names = [line.split("\t")[0] for line in out.stdout.splitlines()]
    return [name for name in names if name.startswith(program + "_")]


def all_points():
    try:
        return points("planner") + points("executor")
    except (OSError, AssertionError, subprocess.CalledProcessError):
        return []


@pytest.mark.beside
@pytest.mark.parametrize("point", all_points())
def test_death_at(stack, point):
    kind = point.split("_")[0]
    stack.kafka.start()
    processes = {name: stack.daemon(name, start=False) for name in ("planner", "executor")}
    for name, process in processes.items():
        process.start(**({"PAWL_FAULT": point} if name == kind else {}))
    stack.wait_alive(2)
    stack.wait_joined("planner-1", "executor-1")

    # A read, a call that is not repeatable and whose first answer is lost, then the answer.
    stack.publish(tools={"look": {"read_only": True}, "send": {"on_unknown": "probe", "timeout": "1s"}})
    stack.tools.behave("look", After(0.3), Ok())
    stack.tools.behave("send", *([CloseWithoutAnswer(), Ok()] if "probe" in point else [Ok()]))
    stack.model.script(Call(("look", {"n": 1})), Call(("send", {"n": 2})), Say("done"))
    request = {"id": "r1", "agent": "agent", "input": "go"}
    stack.kafka.produce(stack.kafka.names["requests"], json.dumps(request))

    killed = processes[kind]
    killed.may_end = True
    assert killed.wait_exit() == -9, f"the point {point} was not reached"
    killed.start()

    run = wait_until(stack.runs, "the request was accepted", watch=stack.check)[0]
    run.wait()
    assert len(stack.runs()) == 1
    assert len(stack.tools.executions("send")) == 1
    assert len(stack.tools.keys("look")) == 1
    assert all(run.action(step)["status"] == "succeeded" for step in (1, 2))
    ended = wait_until(lambda: [e for e in stack.kafka.consume(stack.kafka.names["events"])
                                if e["headers"].get("ce_type") == "dev.pawl.run.succeeded.v1"],
                       "the end is announced", pause=0.3, watch=stack.check)
    assert len({e["headers"]["ce_id"] for e in ended}) == 1


def test_the_list_is_not_empty():
    assert len(all_points()) >= 17
