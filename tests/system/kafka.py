"""The broker of a test: the embedded one, a process of its own, or a real Kafka that exists already.

PAWL_TEST_KAFKA=host:port runs the same tests on that Kafka. Topics and groups are named after the
test, so that nothing of another one is read.
"""

import json
import os
import subprocess

from processes import Process
from waiting import wait_until

PARTITIONS = 4


class Kafka:
    """Topics requests, plan, act, events and the dead letters of requests."""

    def __init__(self, pawl, directory, prefix, within=(), real=None):
        self.real = real or os.environ.get("PAWL_TEST_KAFKA")
        self.prefix = prefix
        self.within = list(within)  # what the broker and kcat are started by
        self.bootstrap = self.real
        self.names = {name: f"{prefix}.{name}" for name in ("requests", "plan", "act", "events")}
        self.groups = {kind: f"{prefix}.{kind}" for kind in ("planner", "executor")}
        self.dlq = self.names["requests"] + ".dlq"
        self.stream = f"{prefix}.stream"  # for planners that are told to send live tokens
        self.unheard = f"{prefix}.unheard"  # nobody listens: for doorbells that are to be lost
        self.process = None
        if not self.real:
            self.port_file = directory / "broker"
            words = [*self.within, pawl, "dev-broker", "--port-file", self.port_file]
            for topic in self.topics():
                words += ["--topic", f"{topic}:{PARTITIONS}"]
            self.process = Process("broker", words, directory / "broker.log")

    def topics(self):
        return (*self.names.values(), self.dlq, self.stream, self.unheard)

    def start(self):
        if self.real:
            for topic in self.topics():
                self.kcat("-L", "-m", 30, "-t", topic)  # asking for its metadata makes it
            return
        self.port_file.unlink(missing_ok=True)
        self.process.start()
        wait_until(self.port_file.exists, "the broker listens", watch=self.process.check)
        self.bootstrap = self.port_file.read_text().strip()

    def stop(self):
        if self.process and self.process.process:
            self.process.kill()

    def kcat(self, *words, data=b""):
        done = self.try_kcat(*words, data=data)
        assert done.returncode == 0, f"kcat {words}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def read(self, topic, *form):
        """What stands in a topic.  One that nobody has written to yet need not be there."""
        words = ["-C", "-t", topic, "-o", "beginning", "-e", "-q", *form]
        done = self.try_kcat(*words)
        if done.returncode and b"Unknown topic or partition" in done.stderr:
            return b""
        assert done.returncode == 0, f"kcat {words}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def try_kcat(self, *words, data=b""):
        return subprocess.run([*self.within, "kcat", "-b", self.bootstrap, *map(str, words)], input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    def produce(self, topic, value, key=None, headers=()):
        """One record; `value` None is a null value, bytes are sent as they are."""
        words = ["-P", "-t", topic, "-X", "message.max.bytes=8000000"]
        for name, text in headers:
            words += ["-H", f"{name}={text}"]
        if value is None:
            return self.kcat(*words, "-Z", "-K", "::", data=f"{key or ''}::\n".encode())
        if key is not None:
            words += ["-k", key]
        if isinstance(value, str):
            value = value.encode()
        # A delimiter that does not occur: the whole of standard input is one value.
        return self.kcat(*words, "-D", "\\x01\\x02\\x03", data=value)

    def consume(self, topic):
        """All records of a topic: dictionaries as of kcat -J, with headers as a dictionary."""
        out = self.read(topic, "-J")
        records = []
        for line in out.decode(errors="replace").splitlines():
            record = json.loads(line)
            pairs = record.get("headers") or []
            record["headers"] = dict(zip(pairs[::2], pairs[1::2]))
            records.append(record)
        return records

    def values(self, topic):
        """The values alone, byte for byte."""
        out = self.read(topic, "-f", "%S\\n%s\\n")
        values = []
        while out:
            size, _, rest = out.partition(b"\n")
            count = int(size)
            values.append(None if count < 0 else rest[:count])
            out = rest[max(count, 0) + 1 :]
        return values
