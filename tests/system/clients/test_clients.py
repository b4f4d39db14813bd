"""The commands of docs/messages.md, run as they stand there: kcat and a CloudEvents SDK.

The SDK comes from PyPI into an environment of its own, kept in the build directory. Where it cannot
be had, what needs it is skipped and says so.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from model import Say
from stack import ROOT, build_dir
from waiting import wait_until

HERE = Path(__file__).resolve().parent
SCHEMAS = ROOT / "schema" / "messages"
RUN = re.compile(r"<!-- run: (\w+) -->\n```(sh|python)\n(.*?)```", re.S)

BLOCKS = {name: (language, text) for name, language, text in RUN.findall((ROOT / "docs" / "messages.md").read_text())}


@pytest.fixture(scope="session")
def sdk():
    """The interpreter of an environment with requirements.txt."""
    wanted = (HERE / "requirements.txt").read_bytes()
    home = build_dir() / "clients" / hashlib.sha256(wanted).hexdigest()[:16]
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        for words in (["/usr/bin/python3", "-m", "venv", home],
                      [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r",
                       HERE / "requirements.txt"]):
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
            if done.returncode != 0:
                last = (done.stdout.strip().splitlines() or ["no reason was given"])[-1]
                pytest.skip(f"NOT RUN: no CloudEvents SDK from PyPI (python3-venv, pip): {last}")
        (home / "complete").touch()
    return python


@pytest.fixture(scope="module")
def asked(cluster, scratch):
    """A running stack with the agent that the documentation asks."""
    from conftest import make_stack

    stack = make_stack(cluster, scratch, "clients")
    stack.kafka.start()
    stack.planner(PAWL_KAFKA_TOPICS_STREAM=stack.kafka.stream)
    stack.executor()
    stack.wait_alive(2)
    stack.publish(name="billing")
    stack.model.script(Say("All invoices were sent."))
    stack.wait_joined("planner-1")
    yield stack
    sick = stack.down()
    assert not sick, sick


def run_block(stack, name, python=None):
    language, text = BLOCKS[name]
    words = [python, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          env={**os.environ, "KAFKA": stack.kafka.bootstrap,
                               "REQUESTS": stack.kafka.names["requests"], "EVENTS": stack.kafka.names["events"]})
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    return done.stdout


def request_of(stack, source, request_id):
    """The run that a request became, once it succeeded, and its last event's data."""

    def ended():
        for event in stack.kafka.consume(stack.kafka.names["events"]):
            data = json.loads(event["payload"])
            if data.get("request") == {"source": source, "id": request_id} and data["status"] == "succeeded":
                return data
        return None

    return wait_until(ended, f"the run of {source} {request_id} succeeds", pause=0.3, watch=stack.check)


def doubles(stack):
    """How many requests the planner knew already."""
    page = stack.get("planner-1", "/metrics")[1]
    found = re.search(r'^pawl_planner_requests_total\{answer="duplicate"\} (\d+)', page, re.M)
    return int(found[1]) if found else 0


def test_the_documentation_has_all_blocks():
    assert set(BLOCKS) == {"bare", "binary", "structured", "sdk", "dead", "events"}


def test_kcat_starts_a_run_with_bare_json(asked):
    run_block(asked, "bare")
    data = request_of(asked, "kafka:" + asked.kafka.names["requests"], "november-1")
    assert data["answer"] == "All invoices were sent."


def test_kcat_starts_a_run_with_a_binary_cloudevent(asked):
    run_block(asked, "binary")
    request_of(asked, "/shop/orders", "november-2")


def test_kcat_starts_a_run_with_a_structured_cloudevent(asked):
    run_block(asked, "structured")
    request_of(asked, "/shop/orders", "november-3")


def test_an_sdk_starts_a_run(asked, sdk):
    run_block(asked, "sdk", sdk)
    request_of(asked, "/shop/orders", "november-4")
    before = len(asked.runs())
    seen = doubles(asked)
    run_block(asked, "sdk", sdk)  # the same request again is the same run
    wait_until(lambda: doubles(asked) > seen, "the double is seen", watch=asked.check)
    assert len(asked.runs()) == before


def test_an_sdk_reads_the_events(asked, sdk):
    """Each event is a CloudEvent to the SDK too, and its subject is the run."""
    run_block(asked, "binary")
    request_of(asked, "/shop/orders", "november-2")
    program = """
import json, os
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka import Consumer

consumer = Consumer({"bootstrap.servers": os.environ["KAFKA"], "group.id": "sdk-reader",
                     "auto.offset.reset": "earliest", "session.timeout.ms": 6000})
consumer.subscribe([os.environ["EVENTS"]])
while True:
    record = consumer.poll(1)
    if record is None or record.error():
        continue
    event = from_kafka_event(KafkaMessage(headers=dict(record.headers()), key=record.key(), value=record.value()))
    print(event.get_type(), event.get_subject(), event.get_source(), event.get_data()["run"])
    if event.get_type() == "dev.pawl.run.succeeded.v1":
        break
consumer.close()
"""
    done = subprocess.run([sdk, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          env={**os.environ, "KAFKA": asked.kafka.bootstrap, "EVENTS": asked.kafka.names["events"]})
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        kind, subject, source, run = line.split()
        assert kind.startswith("dev.pawl.run.") and source == "pawl" and subject == run


def test_dead_letters_and_events_can_be_read_with_kcat(asked):
    asked.kafka.produce(asked.kafka.names["requests"], '{"input": "nobody is asked"}', key="lost")
    text = wait_until(lambda: out if "missing_field" in (out := run_block(asked, "dead")) else None,
                      "the dead letter arrives", pause=0.3, watch=asked.check)
    assert "key lost" in text and "'agent'" in text and '{"input": "nobody is asked"}' in text
    run_block(asked, "bare")
    request_of(asked, "kafka:" + asked.kafka.names["requests"], "november-1")
    assert '"status":"succeeded"' in run_block(asked, "events")


@pytest.mark.parametrize("schema", ["run-request", "doorbell", "run-event", "run-tokens"])
def test_what_travels_fits_its_schema(asked, sdk, schema):
    run_block(asked, "bare")
    request_of(asked, "kafka:" + asked.kafka.names["requests"], "november-1")
    names = asked.kafka.names
    topics = {"run-request": [], "doorbell": [names["plan"], names["act"]], "run-event": [names["events"]],
              "run-tokens": [asked.kafka.stream]}[schema]
    values = [value for topic in topics for value in asked.kafka.values(topic)]
    assert values or schema == "run-request"
    done = subprocess.run([sdk, HERE / "check_schema.py", SCHEMAS / f"{schema}.v1.json"], input=b"\n".join(values),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")
