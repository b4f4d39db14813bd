"""What deaths and deploys cost: part of bench/run.

    takeover  kill -9 of one of two executors, then of one of two planners, with --in-flight runs whose
              call is under way; nobody is restarted: how long until each orphan is claimed again
    restart   the same with a single executor, and a single planner, started again after a second: from
              its registration to the last orphan
    rolling   SIGTERM to each of two planners and two executors in turn, --rounds times, under load:
              calls interrupted and repeated (by the servers' own count), steps a second with and without

Claims are read from Postgres: of calls from the row that the claim inserts, of steps by looking at
the runs every 20 ms. Calls are counted by bench/server.c.
"""

import json
import random
import signal
import subprocess
import threading
import time
import urllib.request
import uuid

from figures import quantile
from trouble import Trouble, free_port, wait_for

DEATHS = ("takeover", "restart", "rolling")
KINDS = ("executor", "planner")
LOAD = 60  # runs in flight during the rolling restart
STILL_SECONDS = 30  # the measure without restarts

DEFINITIONS = """
models:
  quick: {{dialect: openai_chat, base_url: "{server}/v1", model: "scripted;s=2;k=1;b=100"}}
  slow: {{dialect: openai_chat, base_url: "{server}/v1", model: "scripted;s=2;k=1;b=100;d=8000;e=10000"}}
  busy: {{dialect: openai_chat, base_url: "{server}/v1", model: "scripted;s=4;k=2;b=100;d=1000;e=5000"}}
tools:
  work: {{description: Works., parameters: {{type: object}}, idempotent: {again}, timeout: 60s, http: {{method: POST, url: "{server}/tool?{wait}"}}}}
agents:
  executor: {{instructions: "You are a benchmark.", model: quick, tools: [work]}}
  planner: {{instructions: "You are a benchmark.", model: slow, tools: [work]}}
  rolling: {{instructions: "You are a benchmark.", model: busy, tools: [work]}}
"""

HELD = {
    "executor": "SELECT run_id FROM pawl.agent_actions WHERE status = 'running' AND claim_by = ANY (%s)",
    "planner": "SELECT run_id FROM pawl.agent_runs WHERE claim_by = ANY (%s)",
}
# Orphans that somebody has claimed anew, and when, if the row says so.
CLAIMED = {
    "executor": "SELECT DISTINCT ON (run_id) run_id, extract(epoch FROM claimed_at)::float FROM pawl.agent_actions "
    "WHERE run_id = ANY (%s::uuid[]) AND claim_by <> %s AND version > 1 ORDER BY run_id, version",
    "planner": "SELECT run_id, NULL FROM pawl.agent_runs WHERE run_id = ANY (%s::uuid[]) AND claim_by <> %s",
}


# As the command line does: after the death of a planner, records of the topic that it may have held
# are read one at a time, and that is not what is measured here.
ACCEPT = """
SELECT count(*) FILTER (WHERE a.answer = 'accepted')
FROM (SELECT array_agg(%s::text || n) AS id, array_agg('bench'::text) AS source, array_agg(sha256(convert_to(n::text, 'UTF8'))) AS digest,
             array_agg(%s::text) AS agent, array_agg('default'::text) AS own, array_agg(to_json('go ' || %s::text || n)::text) AS input,
             array_agg(NULL::text) AS meta, array_agg(NULL::timestamptz) AS deadline, array_agg(now()) AS at
      FROM generate_series(1, %s) n) x,
     pawl.accept(NULL, x.source, x.id, x.digest, x.agent, x.own, x.own, x.input, x.meta, x.deadline, x.at, 'bench', 0) a
"""


class Deaths:
    """Mixed into Bench: the stack has no planner and no executor; those here are ours to kill."""

    def ours(self):
        self.fleet = getattr(self, "fleet", {})
        return self.fleet

    def publish(self, slow_tool=False):
        """Calls of the slow tool may be repeated, since they are to be killed; others may not."""
        path = self.directory / "deaths.yaml"
        tool = {"again": "true", "wait": "d=8000&e=10000"} if slow_tool else {"again": "false", "wait": "d=500&e=2000"}
        path.write_text(DEFINITIONS.format(server=self.server, **tool))
        self.pawl("agent", "apply", str(path))

    def begin(self, *names):
        """Starts planner-1 and the like, and waits until they are at work."""
        started = [(name, *self.start_one(name)) for name in names]
        for name, process, address in started:
            wait_for(f"{name} that is ready", lambda p=process, a=address: self.is_ready(p, a), 60)

    def is_shared(self, kind):
        """Whether all processes of the kind have as many partitions, by their logs."""
        shares = []
        for name in self.ours():
            if name.startswith(kind):
                lines = (self.directory / f"{name}.log").read_text().splitlines()
                shares += [json.loads(line)["partitions"] for line in lines if '"partitions assigned"' in line][-1:]
        return len(set(shares)) == 1 and shares[0] > 0

    def start_one(self, name):
        kind = name.partition("-")[0]
        address = f"127.0.0.1:{free_port()}"
        config = self.directory / f"stack/{kind}.yaml"
        command = [str(self.options.build / kind), "--config", str(config), "--instance", f"bench/{name}", "--http-listen", address]
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self.ours()[name] = process
        return process, address

    @staticmethod
    def is_ready(process, address):
        if process.poll() is not None:
            raise Trouble(f"a process ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self, name):
        """SIGTERM; to its end."""
        process = self.ours().pop(name)
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        if code != 0:
            raise Trouble(f"{name} ended with {code} after SIGTERM")

    def end_all(self):
        for name in list(self.ours()):
            self.end(name)

    def kill_all(self):
        for process in self.ours().values():
            process.kill()
            process.wait()

    def incarnation(self, name):
        rows = self.ask("SELECT incarnation, extract(epoch FROM started_at)::float FROM pawl.workers WHERE instance = %s "
                        "ORDER BY incarnation DESC LIMIT 1", f"bench/{name}")
        return rows[0]

    def request_runs(self, agent, count):
        """Each says something of its own, so that the server can tell them apart."""
        marker = uuid.uuid4().hex
        lines = (json.dumps({"agent": agent, "input": f"go {marker} {i}", "id": f"{marker}-{i}"}) for i in range(count))
        address = self.bootstrap if self.kafka else self.status["kafka"]
        command = ["kcat", "-P", "-b", address, "-t", "pawl.run-requests", "-X", "linger.ms=0"]
        subprocess.run(command, input="".join(line + "\n" for line in lines), text=True, check=True)

    def accept(self, agent, count):
        marker = uuid.uuid4().hex
        accepted = self.ask(ACCEPT, marker, agent, marker, count)[0][0]
        if accepted != count:
            raise Trouble(f"only {accepted} of {count} runs were accepted")

    def stats(self, reset=False):
        request = urllib.request.Request(self.server + ("/reset" if reset else "/stats"), data=b"" if reset else None)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    def open_runs(self):
        return self.ask("SELECT count(*) FROM pawl.agent_runs WHERE ended_at IS NULL")[0][0]

    # ----------------------------------------------------------------- take-over

    def test_takeover(self):
        return {kind: self.death(kind, 2) for kind in KINDS}

    def test_restart(self):
        return {kind: self.death(kind, 1) for kind in KINDS}

    def death(self, kind, count):
        """One of `count` processes of a kind dies; a single one comes back after a second."""
        self.publish(slow_tool=kind == "executor")
        names = [f"{other}-{slot + 1}" for other in KINDS for slot in range(count)]
        self.begin(*names)
        self.stats(reset=True)
        victim = f"{kind}-1"
        dead, _ = self.incarnation(victim)
        for other in KINDS:
            wait_for("partitions for everybody", lambda k=other: self.is_shared(k), 60)
        (self.request_runs if count > 1 else self.accept)(kind, self.options.in_flight)
        count_of = "model" if kind == "planner" else "tool"
        wait_for("calls in flight", lambda: self.stats()[count_of] >= self.options.in_flight, 30)
        orphans = [row[0] for row in self.ask(HELD[kind], [dead])]
        died_at = time.time()
        self.ours().pop(victim).kill()
        from_when = died_at
        if count == 1:
            time.sleep(1)
            self.start_one(victim)
        claims = self.wait_for_claims(kind, orphans, dead)
        if count == 1:
            from_when = self.incarnation(victim)[1]
        seconds = [at - from_when for at in claims]
        wait_for("end of all runs", lambda: self.open_runs() == 0, 60)
        figures = self.figures(orphans, seconds, died_at, dead)
        self.end_all()
        return figures

    def wait_for_claims(self, kind, orphans, dead):
        """When each orphan was claimed."""
        seen = {}

        def all_claimed():
            now = time.time()
            for run, at in self.ask(CLAIMED[kind], orphans, dead):
                seen.setdefault(run, at or now)
            return len(seen) == len(orphans)

        wait_for("claims of all orphans", all_claimed, 60, pause=0.02)
        return list(seen.values())

    def figures(self, orphans, seconds, died_at, dead):
        stats = self.stats()
        buried = self.ask("SELECT extract(epoch FROM ended_at)::float FROM pawl.workers WHERE incarnation = %s", dead)[0][0]
        failed = self.ask("SELECT count(*) FROM pawl.agent_runs WHERE status <> 'succeeded'")[0][0]
        return {
            "orphans": len(orphans),
            "declared_dead_s": round(buried - died_at, 2),
            "claimed_s_p50": round(quantile(seconds, 0.5), 2),
            "claimed_s_p99": round(quantile(seconds, 0.99), 2),
            "claimed_s_last": round(max(seconds), 2),
            "model_calls": stats["model"],
            "model_calls_again": stats["model_again"],
            "tool_calls_again": stats["dup"],
            "runs_not_succeeded": failed,
        }

    # ------------------------------------------------------------------- rolling

    def test_rolling(self):
        self.publish()
        names = ["planner-1", "executor-1", "planner-2", "executor-2"]
        self.begin(*names)
        self.stats(reset=True)
        stop, feeder = threading.Event(), None
        try:
            feeder = threading.Thread(target=self.feed, args=(stop,), daemon=True)
            feeder.start()
            time.sleep(15)  # until the runs are spread over their steps
            still = self.steps_a_second(lambda: time.sleep(STILL_SECONDS))
            rolled = self.steps_a_second(lambda: self.roll(names))
        finally:
            stop.set()
            if feeder:
                feeder.join()
        wait_for("end of all runs", lambda: self.open_runs() == 0, 120)
        figures = {"rounds": self.options.rounds, "restarts": self.options.rounds * len(names), **self.after_rolling()}
        self.end_all()
        return {**figures, "steps_a_second": still, "steps_a_second_rolling": rolled}

    def after_rolling(self):
        stats = self.stats()
        statuses = dict(self.ask("SELECT status, count(*) FROM pawl.agent_actions GROUP BY 1"))
        return {
            "runs": self.ask("SELECT count(*) FROM pawl.agent_runs")[0][0],
            "runs_not_succeeded": self.ask("SELECT count(*) FROM pawl.agent_runs WHERE status <> 'succeeded'")[0][0],
            "model_calls": stats["model"],
            "model_calls_interrupted": stats["model_cut"],
            "model_calls_again": stats["model_again"],
            "tool_calls": stats["tool"],
            "tool_calls_interrupted": stats["tool_cut"],
            "tool_calls_again": stats["dup"],
            "calls_unknown": statuses.get("unknown", 0),
            "declared_dead": self.ask("SELECT count(*) FROM pawl.workers WHERE state = 'dead'")[0][0],
        }

    def feed(self, stop):
        """Keeps as many runs in flight, over a connection of its own."""
        import psycopg2

        with psycopg2.connect(self.db.dsn) as db, db.cursor() as cursor:
            db.autocommit = True
            while not stop.wait(0.5):
                cursor.execute("SELECT count(*) FROM pawl.agent_runs WHERE ended_at IS NULL")
                missing = LOAD - cursor.fetchone()[0]
                if missing > 0:
                    self.request_runs("rolling", missing)

    def roll(self, names):
        for round_number in range(self.options.rounds):
            for name in random.Random(round_number).sample(names, len(names)):
                self.end(name)
                self.begin(name)

    def steps_a_second(self, play):
        sql = "SELECT count(*) FROM pawl.agent_step_content WHERE index = 0"
        before, since = self.ask(sql)[0][0], time.monotonic()
        play()
        return round((self.ask(sql)[0][0] - before) / (time.monotonic() - since), 1)
