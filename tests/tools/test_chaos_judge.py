"""The judge of bench/chaos finds what is wrong: a small world in which every promise held, and one fault at a time
put into it."""

import datetime
import json
from collections import defaultdict
from types import SimpleNamespace as Thing

import pytest
from faults import faults
from moments import moments
from record import Record
from verdict import judge

LIVED, KILLED, GONE = 1, 2, 3
BEGAN = 1_700_000_000.0
LATE = {"plan came too late": 0, "result came too late": 0}


def at(seconds):
    return datetime.datetime.fromtimestamp(BEGAN + seconds, datetime.timezone.utc)


def plan(version, kind="function_call", content=None, worker=LIVED):
    return Thing(run_id="r0", version=version, type=kind, content=content, worker=worker)


def claim(version, worker=LIVED, when=0.0):
    return Thing(run_id="r0", version=version, worker=worker, at=at(when))


def row(status="succeeded", worker=LIVED, key="k1", version=1):
    result = json.dumps({"key": key}) if status == "succeeded" else None
    return Thing(version=version, status=status, worker=worker, key=key, result=result)


def done(key="k1"):
    return Thing(call=(0, 1, 0), key=key, at=BEGAN + 2, answered_at=BEGAN + 3)


def asked(when=0.5):
    return Thing(run=0, step=1, at=BEGAN + when, answered_at=BEGAN + when + 0.5)


def event(kind="succeeded", ce_id="e1", run="r0"):
    return {"headers": {"ce_type": f"dev.pawl.run.{kind}.v1", "ce_id": ce_id, "ce_subject": run}}


def a_run(status="succeeded", number=0):
    return Thing(run_id=f"r{number}", number=number, status=status, error_code=None, step=1, ended_at=at(5))


class World:
    """One run of one step with one call: asked once, executed once, stored, ended, announced."""

    def __init__(self):
        r = self.record = Record.__new__(Record)
        r.ledger = Thing(asks=[asked()], executions=[done()], flaws=[])
        r.sent, r.runs, r.number, r.dead_letters = 1, [a_run()], {"r0": 0}, []
        r.falls = []
        r.workers = {LIVED: Thing(state="alive", ended_at=None), KILLED: Thing(state="dead", ended_at=at(1)),
                     GONE: Thing(state="gone", ended_at=at(1))}
        r.fates = defaultdict(list, {KILLED: ["killed"], GONE: ["left"]})
        r.plans, r.claims = defaultdict(list, {(0, 1): [plan(1)]}), defaultdict(list, {(0, 1): [claim(1)]})
        r.asks, r.executions = defaultdict(list, {(0, 1): [asked()]}), defaultdict(list, {(0, 1, 0): [done()]})
        r.calls, r.planned = defaultdict(list, {(0, 1, 0): [row()]}), {(0, 1, 0)}
        r.events, r.deaths = [event()], []
        self.attack = Thing(deaths=[Thing(what="left", incarnation=GONE)], exits=[("planner-1", 0, "leave")])

    def broken(self):
        lines = judge(self.record, self.attack, LATE, BEGAN, BEGAN + 10)
        return {line.promise for line in lines if not line.held}


def steps(world):
    return world.record.plans[(0, 1)], world.record.claims[(0, 1)], world.record.asks[(0, 1)]


def replanned(world, worker, when=2.0):
    """A planner was lost with the step, another planned it."""
    plans, claims, asks = steps(world)
    plans[:], claims[:] = [plan(2)], [claim(1, worker), claim(2, when=when)]
    asks.append(asked(when + 0.5))


def stored(world, *rows, executions=None):
    world.record.calls[(0, 1, 0)] = list(rows)
    if executions is not None:
        world.record.executions[(0, 1, 0)] = executions
        if not executions:
            del world.record.executions[(0, 1, 0)]


def ends(world, status, code=None):
    world.record.runs[0].status, world.record.runs[0].error_code = status, code
    world.record.events = [event(status)]


def three_deaths(world):
    ends(world, "failed", "killed_workers")
    plans, claims, asks = steps(world)
    plans.clear()
    claims[:] = [claim(version, KILLED, version) for version in (1, 2, 3)]
    world.record.workers[KILLED].ended_at = at(1)
    asks[:] = [asked(1), asked(2), asked(3)]
    stored(world, executions=[])
    world.record.calls.clear()
    world.record.planned.clear()


HELD = {
    "nothing is wrong": lambda w: None,
    "unknown, executed, its worker killed": lambda w: stored(w, row("unknown", KILLED)),
    "unknown, not sent, its worker killed": lambda w: stored(w, row("unknown", KILLED), executions=[]),
    "tried again, after nothing was sent": lambda w: stored(w, row("failed_before_effect"), row(version=2)),
    "planned again after a kill": lambda w: replanned(w, KILLED),
    "failed by three deaths": three_deaths,
    "announced to a broker that forgot it": lambda w: (w.record.falls.append(BEGAN + 6), w.record.events.clear()),
    "sent away before it had registered": lambda w: w.attack.exits.append(("planner-1", -15, "leave at the start")),
    "announced twice": lambda w: w.record.events.append(event()),
}

BROKEN = {
    "P1": {
        "a request was lost": lambda w: setattr(w.record, "sent", 2),
        "a request made two runs": lambda w: w.record.runs.append(a_run()),
        "a run has not ended": lambda w: ends(w, "running"),
        "a run waits for ever": lambda w: ends(w, "suspended"),
        "an end was not announced": lambda w: w.record.events.clear(),
        "an end was not announced after the broker's fall": lambda w: (w.record.falls.append(BEGAN + 4), w.record.events.clear()),
        "an end was announced as another": lambda w: w.record.events.append(event("failed")),
        "an end was announced under two ids": lambda w: w.record.events.append(event(ce_id="e2")),
        "a run failed without a reason": lambda w: ends(w, "failed", "model_failed"),
        "a run failed by deaths that were none": lambda w: ends(w, "failed", "killed_workers"),
        "a good request became a dead letter": lambda w: w.record.dead_letters.append({"headers": {"pawl_dlq_error_code": "bad_json"}}),
    },
    "P2": {
        "a model call too many": lambda w: steps(w)[2].append(asked()),
        "a plan was lost by the living": lambda w: replanned(w, LIVED),
        "a step was planned twice": lambda w: steps(w)[0].append(plan(2)),
        "a prompt lacks a result": lambda w: w.record.ledger.flaws.append("run 0"),
    },
    "P3": {
        "a claim was taken over before the death": lambda w: replanned(w, KILLED, 0.5),
        "something that no plan asks for": lambda w: w.record.executions.update({(0, 9, 0): [done("k9")]}),
    },
    "P4": {
        "executed twice": lambda w: w.record.executions[(0, 1, 0)].append(done()),
        "executed twice, under two keys": lambda w: w.record.executions[(0, 1, 0)].append(done("k2")),
        "unknown, its worker lived": lambda w: stored(w, row("unknown")),
        "executed and stored as failed": lambda w: stored(w, row("failed")),
        "executed and stored as not sent": lambda w: stored(w, row("failed_before_effect")),
        "executed and not stored at all": lambda w: stored(w),
        "stored and never executed": lambda w: stored(w, row(), executions=[]),
        "another result than the tool's": lambda w: setattr(w.record.calls[(0, 1, 0)][0], "result", '{"key": "k7"}'),
    },
    "P5": {
        "no key": lambda w: setattr(w.record.executions[(0, 1, 0)][0], "key", ""),
        "two attempts, two keys": lambda w: stored(w, row("failed_before_effect", key="k0"), row(version=2)),
    },
    "P7": {
        "a call was interrupted by SIGTERM": lambda w: stored(w, row("unknown", GONE)),
        "a model call was interrupted by SIGTERM": lambda w: replanned(w, GONE),
        "a step was given back after the model was asked": lambda w: (steps(w)[1].insert(0, claim(1, GONE)), steps(w)[2].append(asked())),
        "a bad exit": lambda w: w.attack.exits.append(("planner-1", 1, "leave")),
    },
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_right_is_held(name):
    world = World()
    HELD[name](world)
    assert world.broken() == set()


@pytest.mark.parametrize("promise, name", [(promise, name) for promise, cases in BROKEN.items() for name in cases])
def test_what_is_wrong_is_found(promise, name):
    world = World()
    BROKEN[promise][name](world)
    assert promise in world.broken()


def test_a_seed_is_a_sequence_of_faults():
    names = ["planner-1", "planner-2", "executor-1", "executor-2"]

    def first(seed, count=500):
        return [fault for _, fault in zip(range(count), faults(seed, names))]

    assert first(7) == first(7)
    assert first(7) != first(8)
    assert {fault.what for fault in first(7)} == {"kill", "stop", "long stop", "leave"}
    assert {fault.target for fault in first(7)} == set(names)
    assert all(a.at_s < b.at_s for a, b in zip(first(7), first(7)[1:]))


def test_nobody_is_stopped_as_the_last_of_its_kind():
    up_at = dict.fromkeys(["planner-1", "planner-2", "executor-1", "executor-2"], 0.0)
    for _, fault in zip(range(2000), faults(3, list(up_at))):
        assert up_at[fault.target] <= fault.at_s
        kind = fault.target[:-1]
        others = [name for name in up_at if name.startswith(kind) and name != fault.target and up_at[name] <= fault.at_s]
        assert others or fault.what == "kill"
        up_at[fault.target] = fault.at_s + fault.for_s


@pytest.mark.parametrize("seconds, point", [
    (0.2, "planner_after_plan_claim"), (0.7, "planner_during_model_call"), (1.2, "planner_after_model_call")])
def test_the_moment_of_a_plan(seconds, point):
    world = World()
    world.record.deaths = [Thing(what="killed", name="planner-1", at=BEGAN + seconds, plans=[("r0", 1, 1)], calls=[])]
    found, idle = moments(world.record)
    assert [place for (_, _, place), deaths, items in found if items] == [point] and not idle


@pytest.mark.parametrize("seconds, point", [
    (1.5, "executor_after_claim"), (2.5, "executor_during_call"), (3.5, "executor_after_call")])
def test_the_moment_of_a_call(seconds, point):
    world = World()
    world.record.deaths = [Thing(what="killed", name="executor-1", at=BEGAN + seconds, plans=[], calls=[("r0", 1, 0, 1, "k1")])]
    found, _ = moments(world.record)
    assert [place for (_, _, place), deaths, items in found if items] == [point]
