"""Two tenants on one fleet: a flood of runs of one, and single runs of the other (P10).

What a single run has to wait for is counted in the ledger of the model: calls for the flood that began
between its acceptance and its own first call. The fleet has so many places; as many calls are one step.
"""

import json
import os
import statistics
import time

import pytest

from model import Call, Say
from stack import Run
from waiting import wait_until

LONG = bool(os.environ.get("PAWL_TEST_LONG"))
PLANNERS = 2
SINGLES = 5


class Contest:
    """Planners that share all work; each takes the requests of one tenant's topic."""

    def __init__(self, stack, capacity, think_s, **settings):
        self.stack, self.places, self.think_s = stack, PLANNERS * capacity, think_s
        self.topics = {"flood": stack.kafka.names["requests"], "single": stack.kafka.unheard}
        stack.set(**settings)
        stack.kafka.start()
        for slot, (tenant, topic) in enumerate(self.topics.items(), 1):
            kafka = {"bootstrap": stack.kafka.bootstrap, "groups": stack.kafka.groups,
                     "topics": {**stack.kafka.names, "requests": topic}}
            stack.planner(slot, settings={"tenant": tenant, "capacity": {"plans": capacity}, "kafka": kafka})
        stack.executor()
        stack.wait_alive(PLANNERS + 1)
        stack.wait_joined("planner-1", "planner-2", "executor-1")
        stack.publish(tools={"look": {"read_only": True}})
        stack.model.script(Call(("look", {"n": 1}), pause=think_s), Say("done", pause=think_s))

    def ask(self, tenant, first, count):
        """Requests of a tenant, all at once."""
        values = [json.dumps({"id": f"{tenant}-{n}", "agent": "agent", "input": f"{tenant} {n}"}) for n in range(first, first + count)]
        self.stack.kafka.kcat("-P", "-t", self.topics[tenant], data="\n".join(values).encode() + b"\n")

    def single(self, n):
        """One run of the other tenant, until its first step is planned: seconds, and calls for the flood before its own."""
        self.ask("single", n, 1)
        find = "SELECT run_id FROM pawl.agent_run_inputs WHERE request_id = %s"
        run = Run(self.stack, wait_until(lambda: self.stack.sql.value(find, f"single-{n}"), "it is accepted", watch=self.stack.check))
        times = wait_until(lambda: self.stack.sql.one(
            "SELECT extract(epoch FROM r.created_at)::float AS accepted, extract(epoch FROM c.created_at)::float AS planned "
            "FROM pawl.agent_runs r JOIN pawl.agent_step_content c ON c.run_id = r.run_id AND c.step = 1 AND c.index = 0 "
            "WHERE r.run_id = %s", run.id), "its first step is planned", watch=self.stack.check)
        asks = self.stack.model.asked()
        own = next(ask for ask in asks if ask.user == f"single {n}")
        before = [ask for ask in asks if ask.user.startswith("flood") and times["accepted"] < ask.wall < own.wall]
        return times["planned"] - times["accepted"], len(before)

    def singles(self, first):
        figures = []
        for n in range(first, first + SINGLES):
            figures.append(self.single(n))
            time.sleep(self.think_s * 0.37)  # at another moment of the others' steps
        return figures

    def load(self, tenant):
        return self.stack.sql.one("SELECT running::int, queued::int FROM pawl.tenant_load WHERE tenant = %s", tenant) or {
            "running": 0, "queued": 0}

    def wait_flood(self, count):
        wait_until(lambda: self.stack.sql.value("SELECT count(*) FROM pawl.agent_runs WHERE tenant = 'flood'") == count,
                   "the flood is accepted", timeout=300, watch=self.stack.check)

    def cancel_queued(self):
        """What has not begun is cancelled: how many."""
        return self.stack.sql.value("SELECT count(*)::int FROM pawl.cancel((SELECT array_agg(run_id) FROM pawl.agent_runs WHERE status = 'queued'), "
                                    "'tester', NULL) WHERE answer = 'cancelled'")

    def judge_ends(self, count, timeout, cancelled=0):
        """Every run has its one end, announced, and nobody holds or wants a place any more."""
        wait_until(lambda: not self.stack.sql("SELECT FROM pawl.agent_runs WHERE ended_at IS NULL LIMIT 1"), "all have ended", timeout=timeout,
                   watch=self.stack.check)
        assert self.stack.sql("SELECT status, count(*)::int AS runs FROM pawl.agent_runs GROUP BY status ORDER BY status") == [
            {"status": status, "runs": runs} for status, runs in (("cancelled", cancelled), ("succeeded", count - cancelled)) if runs]
        assert [self.load(tenant) for tenant in self.topics] == [{"running": 0, "queued": 0}] * 2
        wait_until(lambda: not self.stack.sql("SELECT FROM pawl.announcements LIMIT 1"), "all ends are announced", timeout=60,
                   watch=self.stack.check)
        asks = self.stack.model.asked()
        calls = 2 * (count - cancelled)
        assert len(asks) == calls and len({(ask.user, ask.step) for ask in asks}) == calls


def show(what, figures):
    seconds = [f[0] for f in figures]
    print(f"{what}: first step after {statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (most); "
          f"calls of others before it: {[f[1] for f in figures]}")


def contest(stack, flood, capacity, think_s, to_the_end=True):
    it = Contest(stack, capacity, think_s)
    quiet = it.singles(0)
    it.ask("flood", 0, flood)
    it.wait_flood(flood)
    before = it.load("flood")
    crowded = it.singles(SINGLES)
    after = it.load("flood")
    show("alone", quiet)
    show(f"beside {flood} runs of another tenant, {before['queued']} to {after['queued']} of them queued", crowded)
    assert before["running"] <= it.places and after["queued"] > 0, "the flood did not last"
    assert all(calls == 0 for _, calls in quiet)
    assert max(calls for _, calls in crowded) <= it.places, f"more than a step of {it.places} places"
    it.judge_ends(flood + 2 * SINGLES, 60 + flood, 0 if to_the_end else it.cancel_queued())


def test_a_flood_delays_a_single_run_of_another_tenant_by_one_step_at_most(stack):
    contest(stack, 160, 6, 0.25)


@pytest.mark.skipif(not LONG, reason="takes minutes; runs with ./dev test --long")
def test_ten_thousand_runs_delay_a_single_run_of_another_tenant_by_one_step_at_most(stack):
    contest(stack, 10000, 100, 1.0, to_the_end=False)


def test_the_metrics_tell_how_many_wait(stack):
    it = Contest(stack, 2, 0.1, class_places=1)
    it.ask("flood", 0, 25)
    it.wait_flood(25)
    for name in ("planner-1", "planner-2"):
        wait_until(lambda n=name: stack.metric(n, "pawl_runs_queued") > 0, f"{name} shows it", watch=stack.check)
        assert 0 < stack.metric(name, "pawl_runs_running") <= 1
        assert stack.metric(name, "pawl_runs_oldest_queued_seconds") > 0
    row = json.loads(stack.pawl("tenant", "list", "--json"))[0]
    assert (row["tenant"], row["class"], row["weight"], row["running"] <= 1, row["queued"] > 0) == ("flood", "default", 1, True, True)
    assert json.loads(stack.pawl("run", "list", "--status", "queued", "--json"))[0]["waits_for"] == "a place"
    out = stack.pawl("tenant", "set", "flood", "--weight", "3", "--concurrency", "1")
    assert out == "flood has weight 3 and a limit of its own\n"
    assert stack.pawl("tenant", "set", "flood", check=False).returncode == 64
    stack.pawl("tenant", "set", "flood", "--concurrency", "0")
    stack.set(class_places=None)
    it.judge_ends(25, 60)
    wait_until(lambda: stack.metric("planner-2", "pawl_runs_queued") + stack.metric("planner-1", "pawl_runs_running") == 0, "nobody waits",
               watch=stack.check)
