"""A whole pawl for one test: database, broker, planners and executors as real processes, a scripted
model and scripted tools in this process.

    stack.up()                                     one planner, one executor
    stack.publish(tools={"send": {...}})           agent "agent", model "model", these tools
    stack.model.script(Call(("send", {})), Say("done"))
    run = stack.run("go")
    run.wait("succeeded")
    assert len(stack.tools.executions("send")) == 1

The judges are the ledgers of model and tools, and the tables, read by their owner.
"""

import json
import os
import subprocess
from pathlib import Path

from cluster import LOGINS, Sql, free_port
from kafka import Kafka
from model import Model
from processes import Process
from tool import Tools
from waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent

# Shorter than in production, so that tests of recovery need not wait; nothing else depends on them.
SETTINGS = {"ring_grace_ms": 500, "send_by_ms": 2000, "probe_margin_ms": 100, "death_backoff_ms": 500}


def build_dir():
    path = Path(os.environ.get("PAWL_BUILD_DIR") or ROOT / "build" / "dev")
    assert (path / "pawl").exists(), f"there is no {path}/pawl; run ./dev build"
    return path


class Run:
    """One run, as its tables show it."""

    def __init__(self, stack, run_id):
        self.stack = stack
        self.id = run_id

    def row(self):
        return self.stack.sql.one("SELECT * FROM pawl.agent_runs WHERE run_id = %s", self.id)

    @property
    def status(self):
        return self.row()["status"]

    def actions(self, step=None, index=None):
        """Every attempt of every call."""
        rows = self.stack.sql("SELECT * FROM pawl.agent_actions WHERE run_id = %s "
                              "ORDER BY step, index, version", self.id)
        return [row for row in rows if step in (None, row["step"]) and index in (None, row["index"])]

    def action(self, step=1, index=0):
        """The last attempt of one call, or None."""
        rows = self.actions(step, index)
        return rows[-1] if rows else None

    def answer(self):
        return self.stack.sql.value("SELECT content FROM pawl.agent_step_content WHERE run_id = %s AND "
                                    "type = 'text' ORDER BY step DESC, version DESC LIMIT 1", self.id)

    def describe(self):
        row = self.row()
        actions = [(a["step"], a["index"], a["version"], a["status"], a["error_code"]) for a in self.actions()]
        return f"status {row['status']} step {row['step']} error {row['error']} actions {actions}"

    def wait(self, status="succeeded", timeout=None):
        """Until the run has this status; fails at once when it ended in another one."""

        def reached():
            now = self.status
            if now in ("succeeded", "failed", "cancelled") and now != status:
                raise AssertionError(f"the run should be {status}: {self.describe()}")
            return now == status

        try:
            wait_until(reached, f"run {self.id} is {status}", timeout, watch=self.stack.check)
        except AssertionError as failure:
            raise AssertionError(f"{failure}: {self.describe()}") from None
        return self

    def wait_action(self, status, step=1, index=0, timeout=None):
        """Until the last attempt of a call has this status."""

        def reached():
            row = self.action(step, index)
            return row if row and row["status"] == status else None

        return wait_until(reached, f"call {step}/{index} is {status}", timeout, watch=self.stack.check)


class Stack:
    def __init__(self, cluster, directory, name):
        self.build = build_dir()
        self.cluster = cluster
        self.directory = directory
        self.name = name
        self.database = cluster.database()
        self.sql = Sql(cluster, self.database)
        self.kafka = self.make_kafka()
        self.model, self.tools = self.servers()
        self.renewed_at = self.sql.value("SELECT clock_timestamp()")
        self.processes = {}
        self.ports = {}
        self.published = 0
        self.set(**SETTINGS)

    def make_kafka(self):
        return Kafka(self.build / "pawl", self.directory, f"{self.name}-{os.getpid()}", self.within("broker"))

    def servers(self):
        return Model(), Tools()

    def within(self, name):
        """Words before the command of a process: how it is started."""
        return []

    def renew(self):
        """For the next test on the same processes: a model and tools with empty ledgers."""
        for row in self.sql("SELECT run_id FROM pawl.agent_runs WHERE ended_at IS NULL"):
            self.pawl("run", "cancel", row["run_id"], check=False)
        self.model.close()
        self.tools.close()
        self.model, self.tools = self.servers()
        self.renewed_at = self.sql.value("SELECT clock_timestamp()")
        for process in self.processes.values():
            if not process.running:
                process.start()

    # --- processes ---------------------------------------------------------------------------

    def set(self, **settings):
        """Changes settings of the protocol in this database."""
        for name, value in settings.items():
            self.sql(f"UPDATE pawl.settings SET {name} = %s", value)

    def up(self, planners=1, executors=1):
        self.kafka.start()
        for slot in range(planners):
            self.planner(slot + 1)
        for slot in range(executors):
            self.executor(slot + 1)
        self.wait_alive(planners + executors)
        return self

    def planner(self, slot=1, **options):
        return self.daemon("planner", slot, **options)

    def executor(self, slot=1, **options):
        return self.daemon("executor", slot, **options)

    def daemon(self, kind, slot=1, secrets=None, settings=None, start=True, **env):
        """Starts one (or the one that was killed, again, with new options if given)."""
        name = f"{kind}-{slot}"
        process = self.processes.get(name)
        if process is None or secrets is not None or settings is not None:
            config = self.write_config(kind, name, secrets or {}, settings or {})
            process = Process(name, [*self.within(name), self.build / kind, "--config", config], self.directory / f"{name}.log",
                              {"PAWL_LOG_LEVEL": "debug", **{n.upper(): v for n, v in (secrets or {}).items()}})
            self.processes[name] = process
        if start:
            process.start(**env)
        return process

    def write_config(self, kind, name, secrets, settings):
        self.ports[name] = free_port()
        topics = self.kafka.names
        config = {
            "postgres": {"dsn": self.dsn(kind)},
            "kafka": {
                "bootstrap": self.kafka.bootstrap,
                "topics": topics,
                "groups": self.kafka.groups,
            },
            "http": {"listen": f"127.0.0.1:{self.ports[name]}"},
            "instance": f"test/{name}",
            "log": {"format": "json"},
            "outbound": {"networks": "127.0.0.0/8, ::1"},
            "secrets": {secret: {"env": secret.upper()} for secret in secrets},
            **settings,
        }
        if not self.kafka.real:
            config["kafka"]["properties"] = {"fetch.wait.max.ms": "5", "reconnect.backoff.max.ms": "500"}
        path = self.directory / f"{name}.yaml"
        path.write_text(json.dumps(config, indent=1))
        return path

    def workers(self, state="alive"):
        return self.sql("SELECT * FROM pawl.workers WHERE state = %s ORDER BY incarnation", state)

    def wait_alive(self, count):
        wait_until(lambda: len(self.workers()) >= count, f"{count} processes have registered",
                   watch=self.check)

    def wait_joined(self, *names):
        """Until these processes are ready: they have their partitions."""
        for name in names:
            wait_until(lambda n=name: self.get(n, "/readyz")[0] == 200, f"{name} is ready", watch=self.check)

    def get(self, name, path):
        """(status, body) of the health server of a process; status 0 when it does not answer."""
        done = subprocess.run([*self.within(name), "curl", "-s", "-m", "5", "-w", "\n%{http_code}",
                               f"http://127.0.0.1:{self.ports[name]}{path}"],
                              stdout=subprocess.PIPE, text=True, errors="replace")
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def metric(self, name, metric):
        """The sum of a metric's series on the page of a process."""
        lines = self.get(name, "/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.startswith((metric + " ", metric + "{")))

    def check(self):
        for process in self.processes.values():
            process.check()
        if self.kafka.process:
            self.kafka.process.check()

    def down(self):
        """Ends everything at once; answers what a process said about not being well."""
        for process in self.processes.values():
            if process.process is not None:
                process.kill()
        self.kafka.stop()
        self.model.close()
        self.tools.close()
        self.sql.close()
        self.cluster.drop(self.database)
        sick = [(p.name, p.sick()) for p in self.processes.values() if p.process and p.sick()]
        return sick

    # --- publishing and running ----------------------------------------------------------------

    def dsn(self, role="operator"):
        return self.cluster.dsn(self.database, LOGINS[role])

    def pawl(self, *words, check=True, data=None):
        """The command line, as an operator; what it printed."""
        env = {**os.environ, "PAWL_POSTGRES_DSN": self.dsn(), "PAWL_AS": "tester"}
        if self.kafka.bootstrap:
            env["PAWL_KAFKA_BOOTSTRAP"] = self.kafka.bootstrap
            for name, topic in self.kafka.names.items():
                env[f"PAWL_KAFKA_TOPICS_{name.upper()}"] = topic
            for name, group in self.kafka.groups.items():
                env[f"PAWL_KAFKA_GROUPS_{name.upper()}"] = group
        done = subprocess.run([self.build / "pawl", *map(str, words)], env=env, cwd=self.directory,
                              input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=60)
        if check:
            assert done.returncode == 0, f"pawl {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            return done.stdout
        return done

    def tool(self, name, **more):
        """The definition of a tool of the tool server."""
        http = {"method": "POST", "url": f"{self.tools.url}/tool/{name}", **more.pop("http", {})}
        definition = {"description": f"Does {name}.", "parameters": {"type": "object"}, "http": http,
                      "timeout": "5s", "connect_timeout": "1s"}
        if more.get("on_unknown") == "probe":
            definition["probe"] = {"url": f"{self.tools.url}/probe/{name}/{{key}}", "timeout": "2s"}
        return {**definition, **more}

    def publish(self, tools=None, agent=None, model=None, name="agent", more_models=None):
        """Agent `name` with these tools; each a dictionary of what differs from the default.  It asks
        `model`; more_models: others, by name."""
        tools = tools or {}
        usual = {"dialect": "openai_chat", "base_url": self.model.url + "/v1", "model": "m",
                 "connect_timeout": "2s", "first_event_timeout": "20s", "silence_timeout": "20s", "timeout": "30s"}
        models = {"model": model or {}, **(more_models or {})}
        definitions = {
            "models": {known: {**usual, **fields} for known, fields in models.items()},
            "tools": {tool: self.tool(tool, **more) for tool, more in tools.items()},
            "agents": {name: {"description": "An agent.", "instructions": "Do it.", "model": "model",
                              "tools": list(tools), **(agent or {})}},
        }
        if not tools:
            del definitions["tools"]
        self.published += 1
        path = self.directory / f"agent-{self.published}.yaml"
        path.write_text(json.dumps(definitions, indent=1))
        return self.pawl("agent", "apply", path)

    def run(self, text="go", agent="agent"):
        """Starts a run by the command line."""
        out = self.pawl("run", "start", "--agent", agent, "--input", text)
        return Run(self, out.split()[-1])

    def runs(self):
        """All runs since the stack was made, or renewed."""
        rows = self.sql("SELECT run_id FROM pawl.agent_runs WHERE created_at > %s ORDER BY run_id", self.renewed_at)
        return [Run(self, row["run_id"]) for row in rows]

    def decide(self, run, step, index, word, *more):
        return self.pawl("run", "decide", run.id, step, index, word, *more)

    def tails(self):
        """The ends of all logs, for a test that failed."""
        return "\n".join(f"--- {process.name}\n{process.tail()}" for process in self.processes.values()
                         if process.process is not None)
