"""A pawl to be measured or hurt: Postgres, Kafka, planners and executors, each a process of ours or a
server that the user names.

    fleet = Fleet(build, directory, kafka_nodes=3)
    fleet.up(planners=3, executors=3)
    fleet.daemons["planner-1"].kill()
    fleet.ask("SELECT count(*) FROM pawl.agent_runs")
    fleet.down()

Postgres is the private cluster of `pawl dev`, with Postgres's defaults, or the database that `dsn` names. Kafka
is a cluster of tests/kafka/kafka-local, the broker that `bootstrap` names, or the embedded one. Planners and
executors are started here, so that nobody but the caller starts them again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
from processes import Process
from trouble import Trouble, free_port, output_of, wait_for

ROOT = Path(__file__).resolve().parents[2]
KAFKA_LOCAL = ROOT / "tests/kafka/kafka-local"
TOPICS = {"requests": "pawl.run-requests", "plan": "pawl.plans", "act": "pawl.actions", "events": "pawl.run-events"}
# The embedded broker answers an empty fetch late, and its clients must not wait long to come back.
EMBEDDED = {"fetch.wait.max.ms": "5", "reconnect.backoff.max.ms": "500"}
UP_SECONDS = 120


class Daemon(Process):
    """A planner or an executor."""

    def __init__(self, fleet, kind, slot):
        self.fleet, self.kind = fleet, kind
        self.instance = f"{fleet.instance}/{kind}-{slot}"
        self.page = free_port()
        super().__init__(f"{kind}-{slot}", fleet.words(self, kind), fleet.directory / f"{kind}-{slot}.log")
        self.stopped = False

    def stop(self):
        self.stopped = True
        super().stop()

    def go_on(self):
        self.stopped = False
        if self.running:
            super().go_on()


def forget_settings():
    """What the user's shell says of pawl is not meant for processes that are started here."""
    for name in [name for name in os.environ if name.startswith("PAWL_")]:
        del os.environ[name]


def command_line():
    """What was asked for, without the password that a DSN may hold."""
    words = sys.argv[1:]
    return " ".join("..." if at and words[at - 1] == "--dsn" else word for at, word in enumerate(words))


def commit():
    """What is measured here, for those who compare."""
    try:
        return output_of(["git", "-C", ROOT, "-c", "safe.directory=*", "describe", "--always", "--dirty"]).strip()
    except Trouble:
        return "no repository"


class Fleet:
    def __init__(self, build, directory, kafka_nodes=0, dsn=None, bootstrap=None, work_class="default", instance="lab"):
        self.build, self.directory = build.resolve(), directory
        self.kafka_nodes, self.bootstrap, self.dsn = kafka_nodes, bootstrap, dsn
        self.own_postgres, self.embedded = dsn is None, bootstrap is None and kafka_nodes == 0
        self.work_class, self.instance = work_class, instance
        self.topics = dict(TOPICS)
        self.groups = {"planner": "pawl.planner", "executor": "pawl.executor"}
        if bootstrap:  # somebody else's: nothing of theirs is touched
            self.topics = {name: f"pawl-{instance}-{os.getpid()}.{name}" for name in TOPICS}
            self.groups = {kind: f"pawl-{instance}-{os.getpid()}.{kind}" for kind in self.groups}
        self.dlq = self.topics["requests"] + ".dlq"
        self.stack = self.broker = self.connection = self.postmaster = None
        self.daemons = {}
        self.environment = {**os.environ, "PAWL_DEV_DIR": str(directory / "stack"), "PAWL_AS": instance}

    # --- starting and stopping ------------------------------------------------------------------

    def up(self, planners, executors):
        if self.kafka_nodes:
            self.start_kafka()
        if self.own_postgres:
            self.start_stack()
        else:
            self.use_database()
        if not self.embedded:
            for topic in (*self.topics.values(), self.dlq):
                self.see_topic(topic)
        self.ask("SELECT 1")
        self.refuse_company()
        for kind, count in (("planner", planners), ("executor", executors)):
            for slot in range(1, count + 1):
                daemon = Daemon(self, kind, slot)
                self.daemons[daemon.name] = daemon
                daemon.start()
        wait_for("planners and executors that are alive", lambda: len(self.alive()) == planners + executors, UP_SECONDS, self.check)
        return self

    def check(self):
        """A process that ends before anybody hurt it is trouble."""
        for daemon in self.daemons.values():
            if daemon.process and not daemon.running:
                raise Trouble(f"{daemon.name} ended with {daemon.process.returncode}:\n{daemon.tail(5)}")

    def kafka_local(self, command, *more):
        return [str(KAFKA_LOCAL), command, "-d", str(self.directory / "kafka"), *more]

    def start_kafka(self):
        text = output_of(self.kafka_local("start", "-n", str(self.kafka_nodes)))
        self.bootstrap = text.partition("bootstrap.servers=")[2].strip()

    def start_stack(self):
        """`pawl dev` without workers: Postgres with the schema in it, and the embedded broker if that is wanted."""
        words = [self.build / "pawl", "dev", "up", "--planners", "0", "--executors", "0"]
        if self.bootstrap:
            words += ["--kafka", self.bootstrap]
        names = {f"PAWL_KAFKA_TOPICS_{name.upper()}": topic for name, topic in self.topics.items()}
        self.stack = Process("stack", words, self.directory / "stack.log", {**self.environment, **names})
        self.stack.start()
        wait_for("Postgres", lambda: "pawl is ready" in self.stack.text(), UP_SECONDS, self.stack.check)
        state = json.loads((self.directory / "stack/state.json").read_text())
        self.bootstrap = state["kafka"]
        self.dsn = f"host='{state['socket']}' port={state['postgres_port']} dbname=pawl user=pawl"
        self.postmaster = int((Path(state["data"]) / "postmaster.pid").read_text().split()[0])

    def use_database(self):
        output_of([self.build / "pawl", "migrate", "up"], env={**self.environment, "PAWL_POSTGRES_DSN": self.dsn})
        if not self.embedded:
            return
        port_file = self.directory / "broker.port"
        words = [self.build / "pawl", "dev-broker", "--port-file", port_file]
        for topic in (*self.topics.values(), self.dlq):
            words += ["--topic", topic]
        self.broker = Process("broker", words, self.directory / "broker.log")
        self.broker.start()
        wait_for("the broker", port_file.exists, 30, self.broker.check)
        self.bootstrap = port_file.read_text().strip()

    def see_topic(self, topic):
        """Asking for its metadata makes it, where the brokers allow that."""

        def seen():
            text = output_of(["kcat", "-b", self.bootstrap, "-L", "-t", topic, "-m", "10"])
            return "partition 0," in text

        wait_for(f"topic {topic} (make it, or let the brokers make topics)", seen, 30)

    def refuse_company(self):
        others = self.alive()
        if others:
            raise Trouble(f"this database has workers already ({others[0][1]}, ...): it must be ours alone")

    def down(self):
        for daemon in self.daemons.values():
            if daemon.running:
                daemon.go_on()
                daemon.terminate()
        until = time.monotonic() + 30
        for process in [*self.daemons.values(), self.broker, self.stack]:
            if process is None or process.process is None:
                continue
            if process.running:
                process.signal(signal.SIGTERM)
            try:
                process.process.wait(max(1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        if self.connection:
            self.connection.close()
        if self.kafka_nodes:
            subprocess.run(self.kafka_local("stop"), capture_output=True, check=False)

    def broker_started_at(self):
        """When the embedded broker was started the last time; None: it never had to be started again."""
        if not (self.embedded and self.own_postgres):
            return None
        try:
            state = json.loads((self.directory / "stack/state.json").read_text())
        except (OSError, ValueError):
            return None  # it is being written
        broker = next((p for p in state["processes"] if p["name"] == "broker"), None)
        return broker["started_at_ms"] / 1000 if broker and broker["restarts"] else None

    def check_broker(self):
        if self.broker and not self.broker.running:
            raise Trouble("the embedded broker (librdkafka's mock) fell over; name a Kafka (--kafka 1, --bootstrap HOSTS)")

    # --- its parts ------------------------------------------------------------------------------

    def role_dsn(self, kind, application):
        """Each kind with its own rights where the database is ours; its name on each of its connections."""
        if "://" in self.dsn:
            return f"{self.dsn}{'&' if '?' in self.dsn else '?'}application_name={application}"
        dsn = self.dsn.removesuffix("user=pawl") + f"user=pawl_{kind}" if self.own_postgres else self.dsn
        return f"{dsn} application_name={application}"

    def words(self, daemon, kind):
        kafka = {"bootstrap": self.bootstrap, "topics": self.topics, "groups": self.groups}
        if self.embedded:
            kafka["properties"] = EMBEDDED
        config = {
            "postgres": {"dsn": self.role_dsn(kind, daemon.instance)},
            "kafka": kafka,
            "class": self.work_class,
            "http": {"listen": f"127.0.0.1:{daemon.page}"},
            "instance": daemon.instance,
            "log": {"format": "json"},
            "outbound": {"networks": "127.0.0.0/8, ::1"},
        }
        path = self.directory / f"{daemon.instance.replace('/', '-')}.yaml"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=1)  # a DSN may hold a password
        return [self.build / kind, "--config", path]

    def alive(self):
        return self.ask("SELECT incarnation, instance FROM pawl.workers WHERE state IN ('alive', 'leaving')")

    def pawl(self, *words):
        env = {**self.environment, "PAWL_POSTGRES_DSN": self.dsn, "PAWL_KAFKA_BOOTSTRAP": self.bootstrap}
        env |= {f"PAWL_KAFKA_TOPICS_{name.upper()}": topic for name, topic in self.topics.items()}
        env |= {f"PAWL_KAFKA_GROUPS_{name.upper()}": group for name, group in self.groups.items()}
        return output_of([self.build / "pawl", *words], env=env, timeout=60)

    def apply(self, definitions):
        path = self.directory / "definitions.yaml"
        path.write_text(json.dumps(definitions, indent=1))
        self.pawl("agent", "apply", path)

    def ask(self, sql, *arguments):
        """Rows, as the owner of the schema."""
        try:
            if self.connection is None:
                self.connection = psycopg2.connect(self.dsn, application_name="pawl-lab")
                self.connection.autocommit = True
            with self.connection.cursor() as cursor:
                cursor.execute(sql, arguments or None)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            raise Trouble(f"Postgres: {str(error).strip()}") from None

    def kcat(self, *words, data=None):
        return output_of(["kcat", "-b", self.bootstrap, *words], input=data, timeout=120)

    def consume(self, topic):
        """All that is in a topic, as kcat -J tells it, headers as a dictionary."""
        records = []
        for line in self.kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J").splitlines():
            record = json.loads(line)
            pairs = record.get("headers") or []
            record["headers"] = dict(zip(pairs[::2], pairs[1::2]))
            records.append(record)
        return records
