"""One death at one fault point, one way of recovery, and what came of it.

The judges are outside of the dead process: the ledgers of the tools and of the model, the tables,
and the topic of events as another client reads it.
"""

import datetime
import json
import os
import threading

from kill_scenes import run_without_kafka
from stack import Run
from waiting import wait_until

writing = threading.Lock()


class Kill:
    def __init__(self, stack, kind, point, way, scene):
        self.stack, self.kind, self.point, self.way, self.scene = stack, kind, point, way, scene
        self.other = "planner" if kind == "executor" else "executor"
        self.victim = self.peer = self.third = None
        self.died_at = None
        self.ids = {}  # of runs, by their number
        self.texts = {}  # what they were asked, by their id
        self.asked = []  # numbers of runs that were begun
        self.bad = []  # records that are no requests
        self.later = []  # what is done when somebody is there again
        self.event_times = []

    # --- the play --------------------------------------------------------------------------

    def play(self):
        self.set_the_stage()
        for n in range(self.scene.tries):
            if not self.victim.running:
                break
            self.scene.feed(self, n)
        assert self.victim.wait_exit() == -9, f"the point {self.point} was not reached"
        self.died_at = self.time_of_death()
        self.scene.after(self)
        if self.way == "restart":
            self.victim.start()
        for act in self.later:
            act()
        self.settle()
        return self.judge()

    def daemon(self, kind, slot, **options):
        config = self.scene.config(self, kind)
        return self.stack.daemon(kind, slot, settings=config or None, **options)

    def start_peer(self):
        if self.way == "peer" and self.peer is None:
            self.peer = self.daemon(self.kind, 2)
            self.stack.wait_joined(self.peer.name)

    def set_the_stage(self):
        stack = self.stack
        stack.kafka.start()
        self.daemon(self.other, 1)
        self.scene.set_up(self)
        self.victim = self.daemon(self.kind, 1, start=False)
        if self.scene.__class__.__name__ != "Declare":
            self.start_peer()
        self.scene.before(self)
        stack.wait_joined(f"{self.other}-1")
        self.victim.start(PAWL_FAULT=self.point)
        self.victim.may_end = True
        name = self.victim.name
        wait_until(lambda: not self.victim.running or stack.get(name, "/readyz")[0] == 200, f"{name} is ready",
                   watch=stack.check)

    def settle(self):
        """Everything that was begun has ended and is announced, and the dead are known as such."""
        for n in self.asked:
            wait_until(lambda n=n: self.run(n), "the request was accepted", watch=self.stack.check)
            self.run(n).wait(self.scene.status)
        wait_until(lambda: not self.stack.sql("SELECT FROM pawl.announcements"), "every end is announced",
                   watch=self.stack.check)
        state = "gone" if self.point == "daemon_after_hand_back" else "dead"
        struck = self.stack.sql.value("SELECT incarnation FROM pawl.workers WHERE instance = %s AND started_at <= "
                                      "to_timestamp(%s) ORDER BY incarnation DESC LIMIT 1",
                                      f"test/{self.victim.name}", self.died_at)
        wait_until(lambda: self.stack.sql.value("SELECT state FROM pawl.workers WHERE incarnation = %s", struck) == state,
                   f"the one that died is known as {state}", watch=self.stack.check)

    # --- what scenes ask -------------------------------------------------------------------

    def wait(self, condition, what, pause=0.03):
        wait_until(lambda: not self.victim.running or condition(), what, pause=pause, watch=self.stack.check)

    def request(self, n):
        request = {"id": f"r{n}", "agent": "agent", "input": f"go {n}"}
        self.asked.append(n)
        self.stack.kafka.produce(self.stack.kafka.names["requests"], json.dumps(request), key=f"k{n}")

    def start_run(self, n):
        self.asked.append(n)
        self.ids[n] = run_without_kafka(self.stack, f"go {n}")

    def kafka_without_bells(self):
        kafka = self.stack.kafka
        return {"kafka": {"bootstrap": kafka.bootstrap, "groups": kafka.groups,
                          "topics": {**kafka.names, "act": kafka.unheard}}}

    def run(self, n):
        """The run, once it is there."""
        if n not in self.ids:
            found = self.stack.sql.value("SELECT run_id FROM pawl.agent_run_inputs WHERE request_id = %s", f"r{n}")
            if found is None:
                return None
            self.ids[n] = found
        run = Run(self.stack, self.ids[n])
        self.texts[run.id] = f"go {n}"
        return run

    def runs(self):
        return [self.run(n) for n in self.asked]

    def passed(self, n):
        """It has ended, and this is announced."""
        run = self.run(n)
        if run is None or run.row()["ended_at"] is None:
            return False
        return not self.stack.sql("SELECT FROM pawl.announcements WHERE run_id = %s", run.id)

    def in_flight(self, n):
        """By the ledgers: a call of this run is with the model, or with a tool."""
        if self.kind == "planner":
            return [ask for ask in self.stack.model.asked(1) if ask.user == f"go {n}"]
        run = self.run(n)
        return run and [e for e in self.stack.tools.executions() if e.run == run.id]

    def holder(self, n):
        """The instance that has the claim."""
        table = "agent_runs" if self.kind == "planner" else "agent_actions"
        return self.stack.sql.value(f"SELECT w.instance FROM pawl.{table} x JOIN pawl.workers w ON w.incarnation = "
                                    "x.claim_by WHERE x.run_id = %s LIMIT 1", self.run(n).id)

    # --- the verdict -----------------------------------------------------------------------

    def time_of_death(self):
        for line in self.victim.text().splitlines():
            if '"msg":"fault"' in line and self.point in line:
                stamp = json.loads(line)["ts"].replace("Z", "+00:00")
                return datetime.datetime.fromisoformat(stamp).timestamp()
        raise AssertionError(f"{self.victim.name} did not say that it dies at {self.point}")

    def judge(self):
        figures = {"executions": self.judge_calls(), "wasted": self.judge_asks()}
        self.judge_events()
        self.scene.judge(self)
        figures["seconds"] = self.seconds_until_taken()
        return figures

    def judge_calls(self):
        """Executions per key, from the tools' own ledgers."""
        dead = [row["incarnation"] for row in self.stack.workers("dead")]
        for run in self.runs():
            last = {(row["step"], row["index"]): row for row in run.actions()}
            for row in last.values():
                self.judge_call(run, row, row["claim_by"] in dead or self.scene.status == "cancelled")
        counts = {}
        for execution in self.stack.tools.executions():
            counts.setdefault(execution.tool, {}).setdefault(execution.key, []).append(execution)
        for tool, keys in counts.items():
            places = {(e.run, e.step, e.call) for key in keys for e in keys[key]}
            assert len(places) == len(keys), f"a call of {tool} has two keys"
        return {tool: max(map(len, keys.values())) for tool, keys in counts.items()}

    def judge_call(self, run, row, may_be_unknown):
        sent = [e for e in self.stack.tools.executions(row["tool"]) if e.key == str(row["key"])]
        if row["tool"] == "look":
            assert row["status"] == "succeeded" and len(sent) >= 1, run.describe()
            return
        assert len(sent) <= 1, f"{row['tool']} was executed {len(sent)} times: {run.describe()}"
        if row["status"] == "succeeded":
            assert len(sent) == 1, f"{row['tool']} succeeded without an execution: {run.describe()}"
            return
        assert row["tool"] == "pay" and row["status"] == "unknown" and may_be_unknown, run.describe()

    def judge_asks(self):
        """Model calls beyond the necessary."""
        wasted = 0
        for run in self.runs():
            for step in (1, 2):
                asks = [a for a in self.stack.model.asked(step) if a.user == self.texts[run.id]]
                needed = self.scene.asks if step == 1 else 1
                if self.scene.status == "succeeded":
                    assert len(asks) >= needed
                wasted += max(0, len(asks) - needed)
        assert wasted <= self.scene.wasted, f"{wasted} model calls were made in vain"
        return wasted

    def judge_events(self):
        """The end of each run is announced: one event, sent at least once."""
        ends = {}
        for record in self.stack.kafka.consume(self.stack.kafka.names["events"]):
            self.event_times.append(record["ts"] / 1000)
            if record["headers"].get("ce_type") == f"dev.pawl.run.{self.scene.status}.v1":
                ends.setdefault(record["key"], set()).add(record["headers"]["ce_id"])
        assert {run: len(ids) for run, ids in ends.items()} == {run.id: 1 for run in self.runs()}
        assert len(self.stack.sql("SELECT FROM pawl.agent_runs")) == len(self.asked)

    def seconds_until_taken(self):
        """From the death to the first sign that somebody goes on with what the dead one held."""
        if not self.scene.orphans:
            return None
        times = list(self.event_times) if "events" in self.scene.signs else []
        if "ledgers" in self.scene.signs:
            times += [ask.wall for ask in self.stack.model.asks] + [probe.wall for probe in self.stack.tools.probes]
        if "rows" in self.scene.signs:
            rows = self.stack.sql("SELECT extract(epoch FROM claimed_at)::float AS at FROM pawl.agent_actions "
                                  "WHERE claim_by IS NOT NULL UNION ALL "
                                  "SELECT extract(epoch FROM created_at)::float FROM pawl.agent_runs")
            times += [row["at"] for row in rows]
        after = [at - self.died_at for at in times if at > self.died_at]
        return round(min(after), 2) if after else None


def write_row(kill, figures):
    """A line for the table, where somebody wants one (tests/system/kill_table)."""
    path = os.environ.get("PAWL_KILL_TABLE")
    if not path:
        return
    row = {"point": kill.point, "kind": kill.kind, "way": kill.way, "scene": type(kill.scene).__name__.lower(),
           "runs": len(kill.asked), **figures}
    with writing, open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
