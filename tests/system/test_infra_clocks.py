"""The clock of one process is an hour off, or jumps: the time of day decides nothing that matters.

libfaketime stands for the wrong clock. It leaves the monotonic clock alone, as somebody does who sets
the time of day of a machine.
"""

import datetime
import glob
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from infra import ASAN, LONG, Load
from model import Call, Say
from stack import build_dir
from waiting import wait_until

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)

pytestmark = [
    pytest.mark.skipif(not LIBRARY, reason="libfaketime is not installed; ./dev deps test installs it"),
    pytest.mark.skipif(ASAN, reason="libfaketime and ASan want to be loaded first, both"),
] + ([] if LONG else [pytest.mark.beside])

HOUR_S = 3600

off = pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S], ids=["ahead", "behind"])


def waits():
    """The library that lets libfaketime see all timed waits; made once, beside the programs."""
    made = build_dir() / "cnd_timedwait.so"
    draft = made.with_suffix(f".{threading.get_ident()}")
    source = Path(__file__).with_name("cnd_timedwait.c")
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", draft, source], check=True)
        draft.rename(made)
    return made


def clock(offset_s):
    """Environment of a process whose time of day is so far off."""
    return {"LD_PRELOAD": f"{waits()} {LIBRARY}", "FAKETIME": f"{offset_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1"}


def jumping_clock(path):
    """... whose time of day is off by the seconds that the file says at any moment."""
    path.write_text("+0s")
    environment = clock(0)
    del environment["FAKETIME"]
    return {**environment, "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_NO_CACHE": "1"}


def seconds_off(process):
    """By how much the newest line of a process's log is off."""
    lines = [line for line in process.text().splitlines() if line.startswith('{"ts"')]
    then = datetime.datetime.fromisoformat(json.loads(lines[-1])["ts"].replace("Z", "+00:00"))
    return (then - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@pytest.mark.parametrize("planner_s", [HOUR_S, -HOUR_S] if LONG else [HOUR_S], ids=lambda s: "ahead" if s > 0 else "behind")
def test_infra_clock_an_hour_off(stack, planner_s):
    stack.kafka.start()
    stack.planner(1, **clock(planner_s))
    stack.executor(1, **clock(-planner_s))
    stack.planner(2)
    stack.executor(2)
    stack.wait_alive(4)
    load = Load(stack, runs=6, long_calls=False).begin()
    seen = [round(seconds_off(stack.processes[name])) for name in ("planner-1", "executor-1", "planner-2", "executor-2")]
    assert abs(seen[0] - planner_s) < 60 and abs(seen[1] + planner_s) < 60, seen
    assert abs(seen[2]) < 60 and abs(seen[3]) < 60, seen
    with load.fault(f"clock of one planner {planner_s:+d} s off, of one executor {-planner_s:+d} s"):
        load.go_on(400 if LONG else 60)
    load.end()


def test_infra_clock_that_jumps(stack):
    stack.kafka.start()
    path = stack.directory / "clock"
    stack.planner(1, **jumping_clock(path))
    stack.executor(1, **jumping_clock(path))
    stack.planner(2)
    stack.executor(2)
    stack.wait_alive(4)
    load = Load(stack, runs=6).begin()
    seen = set()
    with load.fault("clocks of one planner and one executor jump by an hour or two, to and fro, each second") as row:
        for offset_s in (HOUR_S, -HOUR_S, 0, -HOUR_S, HOUR_S, 0) * (3 if LONG else 1):
            path.write_text(f"{offset_s:+d}s")
            load.go_on(10)
            time.sleep(0.3)
            seen.add(round(seconds_off(stack.processes["executor-1"]) / HOUR_S))
        row["remarks"].append("18 jumps" if LONG else "6 jumps")
    assert seen == {-1, 0, 1}, seen
    load.end()


def wish(stack, name, **fields):
    """A request in the topic, and its run when it has become one."""
    stack.kafka.produce(stack.kafka.names["requests"], json.dumps({"agent": "agent", "input": name, **fields}),
                        key=name, headers=[("ce_id", name), ("ce_source", "/clocks"), ("ce_specversion", "1.0"),
                                           ("ce_type", "dev.pawl.run.requested.v1"), ("content-type", "application/json")])


def run_of(stack, name):
    return stack.sql.one("SELECT r.*, extract(epoch FROM r.deadline - r.created_at) AS allowed_s FROM pawl.requests q "
                         "JOIN pawl.agent_runs r USING (run_id) WHERE q.id = %s", name)


@off
def test_infra_clock_and_deadlines(stack, offset_s):
    """Deadlines are judged and counted by the clock of Postgres, which all processes share."""
    stack.kafka.start()
    stack.planner(1, **clock(offset_s))
    stack.executor(1, **clock(offset_s))
    stack.wait_alive(2)
    stack.publish()
    stack.model.script(Say("done"))
    now = datetime.datetime.now(datetime.timezone.utc)
    later, before = now + datetime.timedelta(minutes=30), now - datetime.timedelta(minutes=30)
    wish(stack, "relative", timeout="10m")
    wish(stack, "absolute", deadline=later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    wish(stack, "past", deadline=before.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def settled():
        dead = len(stack.kafka.consume(stack.kafka.dlq))
        made = stack.sql.value("SELECT count(*) FROM pawl.requests")
        return dead + made == 3

    wait_until(settled, "each request is a run or a dead letter", watch=stack.check)
    assert run_of(stack, "relative"), stack.kafka.consume(stack.kafka.dlq)
    assert 590 < run_of(stack, "relative")["allowed_s"] <= 600
    assert run_of(stack, "absolute"), stack.kafka.consume(stack.kafka.dlq)
    assert 1700 < run_of(stack, "absolute")["allowed_s"] <= 1800
    assert run_of(stack, "past") is None
    for run in stack.runs():
        run.wait()


@off
def test_infra_clock_and_send_by(stack, offset_s):
    """What waited longer than its claim allows is not sent, whatever the time of day."""
    stack.kafka.start()
    stack.planner(1)
    stack.executor(1, PAWL_FAULT="executor_after_claim:1:sleep:3000", **clock(offset_s))
    stack.wait_alive(2)
    stack.publish(tools={"send": {}})
    stack.model.script(Call(("send", {"n": 1})), Say("done"))
    run = stack.run().wait()
    assert "send_by_passed" in stack.processes["executor-1"].text()
    assert len(stack.tools.executions("send")) == 1
    assert run.action()["status"] == "succeeded"
