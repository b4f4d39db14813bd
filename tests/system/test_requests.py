"""Requests through Kafka: what becomes a run, what goes to the dead letters, and what is announced."""

import json

import pytest

from model import Call, Say
from tool import CloseWithoutAnswer
from waiting import wait_until

pytestmark = pytest.mark.beside

TYPE = "dev.pawl.run.requested.v1"


def ask(stack, value, key=None, headers=()):
    if not isinstance(value, (str, bytes, type(None))):
        value = json.dumps(value)
    stack.kafka.produce(stack.kafka.names["requests"], value, key, headers)


def ready(stack):
    stack.up()
    stack.publish()
    stack.model.script(Say("done"))
    stack.wait_joined("planner-1")


def events(stack, kind):
    wanted = f"dev.pawl.run.{kind}.v1"
    return [e for e in stack.kafka.consume(stack.kafka.names["events"]) if e["headers"].get("ce_type") == wanted]


def wait_events(stack, kind, count=1):
    return wait_until(lambda: found if len(found := events(stack, kind)) >= count else None,
                      f"{count} events '{kind}'", pause=0.3, watch=stack.check)


def test_three_forms_of_a_request(stack):
    ready(stack)
    ask(stack, {"id": "bare-1", "agent": "agent", "input": "bare"})
    ask(stack, {"specversion": "1.0", "id": "s-1", "source": "/tests", "type": TYPE,
                "data": {"agent": "agent", "input": "structured"}},
        headers=[("content-type", "application/cloudevents+json")])
    ask(stack, {"agent": "agent", "input": {"as": "binary"}},
        headers=[("ce_specversion", "1.0"), ("ce_id", "b-1"), ("ce_source", "/tests"), ("ce_type", TYPE),
                 ("content-type", "application/json")])
    runs = wait_until(lambda: r if len(r := stack.runs()) == 3 else None, "three runs", watch=stack.check)
    for run in runs:
        run.wait()
    asked = json.dumps([ask.messages for ask in stack.model.asks])
    assert all(word in asked for word in ("bare", "structured", "binary"))


def test_the_same_request_twice_is_one_run(stack):
    ready(stack)
    for _ in range(3):
        ask(stack, {"id": "same", "agent": "agent", "input": "go"})
    ask(stack, {"id": "other", "agent": "agent", "input": "go"})
    wait_until(lambda: len(stack.runs()) == 2, "two runs", watch=stack.check)
    for run in stack.runs():
        run.wait()
    assert len(stack.runs()) == 2
    assert len(stack.model.asks) == 2


STRUCTURED = [("content-type", "application/cloudevents+json")]
FINE = {"specversion": "1.0", "id": "x", "source": "/tests", "type": TYPE, "data": {"agent": "agent", "input": "go"}}
BODY = b'{"agent":"agent","input":"go"}'


def binary(**attributes):
    """The headers of a CloudEvent in binary mode; None leaves an attribute out."""
    wanted = {"specversion": "1.0", "id": "x", "source": "/tests", "type": TYPE, **attributes}
    return [(f"ce_{name}", value) for name, value in wanted.items() if value is not None]


def event(**attributes):
    return json.dumps({**FINE, **attributes}).encode()


def asks_for(**fields):
    return json.dumps({"id": "x", "agent": "agent", "input": "go", **fields}).encode()


# What is asked, with which headers, how it is called when it is refused, and words of the reason: the field.
BAD = [
    ("null", None, [], "null_value", "the value is null"),
    ("not-utf8", b'{"id":"x","agent":"\xff\xfe","input":1}', [], "not_utf8", "the value"),
    ("not-json", b"{nonsense", [], "bad_json", "the value"),
    ("nul", b'{"id":"x","agent":"agent","input":"a\0b"}', [], "bad_json", "NUL"),
    ("no-object", b"[1,2]", [], "wrong_type", "'agent'"),
    ("no-agent", b'{"id":"x","input":"go"}', [], "missing_field", "'agent'"),
    ("no-input", b'{"id":"x","agent":"agent"}', [], "missing_field", "'input'"),
    ("wrong-type", asks_for(agent=7), [], "wrong_type", "'agent'"),
    ("wrong-id", asks_for(id=["x"]), [], "wrong_type", "'id'"),
    ("long-id", asks_for(id="x" * 600), [], "too_large", "'id'"),
    ("nul-in-agent", asks_for(agent="a\0b"), [], "bad_value", "'agent'"),
    ("twice", b'{"id":"x","agent":"agent","agent":"agent","input":1}', [], "bad_json", "the value"),
    ("number", b'{"id":"x","agent":"agent","input":1e999}', [], "bad_json", "the value"),
    ("deep", b'{"id":"x","agent":"agent","input":' + b"[" * 500 + b"]" * 500 + b"}", [], "too_deep", "64 levels"),
    ("bottomless", b"[" * 300000, [], "too_deep", "64 levels"),
    ("dense", b'{"id":"x","agent":"agent","input":[' + b"{}," * 100000 + b"1]}", [], "bad_json", "100000 values"),
    ("oversize", asks_for(input="y" * (1 << 20)), [], "too_large", "1048576 are allowed"),
    ("past", asks_for(deadline="2001-01-01T00:00:00Z"), [], "past_deadline", "'deadline'"),
    ("no-time", asks_for(deadline="tomorrow"), [], "bad_value", "'deadline'"),
    ("no-duration", asks_for(timeout="-5s"), [], "bad_value", "'timeout'"),
    ("unknown-agent", asks_for(agent="nobody"), [], "unknown_agent", "nobody"),
    ("other-tenant", asks_for(tenant="somebody"), [], "bad_value", "'tenant'"),
    ("no-source", BODY, binary(source=None), "missing_field", "'ce_source'"),
    ("no-ce-id", BODY, binary(id=""), "bad_value", "'ce_id'"),
    ("ce-not-utf8", BODY, binary(source="/t\udcff"), "not_utf8", "'ce_source'"),
    ("other-version", BODY, binary(specversion="0.3"), "bad_type", "'specversion'"),
    ("other-type", BODY, binary(type="com.example.other"), "bad_type", "'type'"),
    ("not-json-type", BODY, [*binary(), ("content-type", "text/plain")], "bad_type", "text/plain"),
    ("event-of-number", event(source=7), STRUCTURED, "wrong_type", "'source'"),
    ("event-without-id", event(id=None), STRUCTURED, "missing_field", "'id'"),
    ("event-without-data", event(data=[]), STRUCTURED, "wrong_type", "'agent'"),
    ("event-of-bytes", json.dumps({k: v for k, v in FINE.items() if k != "data"} | {"data_base64": "%%%%"}).encode(),
     STRUCTURED, "bad_value", "'data_base64'"),
    ("batch", b"[]", [("content-type", "application/cloudevents-batch+json")], "bad_type", "'content-type'"),
]


def poison(stack):
    """All bad requests at once, then a good one."""
    ready(stack)
    for name, value, headers, _, _ in BAD:
        ask(stack, value, key=name, headers=[("x-mine", name), *headers])
    ask(stack, {"id": "conflict", "agent": "agent", "input": "one"})
    wait_until(lambda: len(stack.runs()) == 1, "the good one is a run", watch=stack.check)
    ask(stack, {"id": "conflict", "agent": "agent", "input": "two"}, key="conflict", headers=[("x-mine", "conflict")])


def test_bad_requests_go_to_the_dead_letters_unchanged(stack):
    poison(stack)
    other = json.dumps({"id": "conflict", "agent": "agent", "input": "two"}).encode()
    wanted = {bad[0]: bad for bad in [*BAD, ("conflict", other, [], "conflict", "conflict")]}
    letters = wait_until(lambda: r if len(r := stack.kafka.consume(stack.kafka.dlq)) >= len(wanted) else None,
                         "every bad request is a dead letter", pause=0.3, watch=stack.check)
    assert len(letters) == len(wanted)
    for letter in letters:
        name, headers = letter["key"], letter["headers"]
        _, _, sent, code, words = wanted[name]
        assert headers["x-mine"] == name
        assert headers["pawl_dlq_error_code"] == code, headers
        assert words in headers["pawl_dlq_error_message"], headers
        assert headers["pawl_dlq_topic"] == stack.kafka.names["requests"]
        assert {header for header, _ in sent} <= set(headers)
    values = [value or b"" for value in stack.kafka.values(stack.kafka.dlq)]
    assert sorted(values) == sorted(bad[1] or b"" for bad in wanted.values())
    stack.runs()[0].wait()
    assert len(stack.runs()) == 1
    assert stack.get("planner-1", "/livez")[0] == 200


def test_input_with_nul_characters_is_a_run_like_any_other(stack):
    """JSON may hold them as escapes, in texts and as names."""
    ready(stack)
    ask(stack, b'{"id":"n1","agent":"agent","input":"a\\u0000b"}')
    ask(stack, b'{"id":"n2","agent":"agent","input":{"who":["\\u0000"]}}')
    runs = wait_until(lambda: r if len(r := stack.runs()) == 2 else None, "two runs", watch=stack.check)
    for run in runs:
        run.wait()
    said = sorted(ask.messages[1]["content"] for ask in stack.model.asked(1))
    assert said[0].startswith("a") and said[0].endswith("b") and "who" in said[1]


def test_the_life_of_a_run_is_announced(stack):
    stack.up()
    stack.publish(tools={"send": {"on_unknown": "ask"}})
    stack.tools.behave("send", CloseWithoutAnswer())
    stack.model.script(Call(("send", {"n": 1})), Say("the answer"))
    ask(stack, {"specversion": "1.0", "id": "r-1", "source": "/tests", "type": TYPE,
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "data": {"agent": "agent", "input": "go"}},
        headers=[("content-type", "application/cloudevents+json")])
    run = wait_until(stack.runs, "the run is accepted", watch=stack.check)[0].wait("suspended")
    accepted = wait_events(stack, "accepted")[0]
    wait_events(stack, "waiting")
    assert stack.tools.executions("send")[0].headers.get("traceparent", "").startswith("00-4bf92f3577b34da6")
    stack.decide(run, 1, 0, "happened")
    run.wait()
    ended = wait_events(stack, "succeeded")[0]
    for event in (accepted, ended):
        headers = event["headers"]
        assert headers["ce_specversion"] == "1.0" and headers["ce_id"] and headers["ce_source"]
        assert event["key"] == run.id
        assert json.loads(event["payload"])["run"] == run.id
    assert "the answer" in ended["payload"]
    assert accepted["headers"]["ce_id"] != ended["headers"]["ce_id"]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_every_end_is_announced(stack, end):
    stack.up()
    stack.publish(tools={"send": {"timeout": "60s", "on_unknown": "ask"}}, agent={"limits": {"steps": 2}})
    stack.tools.behave("send", CloseWithoutAnswer())
    stack.model.script(Call(("send", {"n": 1})), Call(("send", {"n": 2})))
    run = stack.run().wait("suspended")
    if end == "cancelled":
        stack.pawl("run", "cancel", run.id, "--reason", "because")
    else:
        stack.decide(run, 1, 0, "happened")
    run.wait(end)
    event = wait_events(stack, end)[0]
    assert event["key"] == run.id


def test_lag_falls_to_nothing(stack):
    ready(stack)
    for n in range(20):
        ask(stack, {"id": f"n{n}", "agent": "agent", "input": "go"})
    wait_until(lambda: len(stack.runs()) == 20, "all are accepted", watch=stack.check)
    for run in stack.runs():
        run.wait()

    def lag():
        rows = json.loads(stack.pawl("topics", "lag", "--json"))
        return {(row["group"], row["topic"]): row["lag"] for row in rows if row["lag"]} or "none"

    wait_until(lambda: lag() == "none", "no record is left unread", pause=0.5, watch=stack.check)
