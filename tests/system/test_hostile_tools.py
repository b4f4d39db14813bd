"""Tools that wish us ill: whatever one answers, its call ends by rule, what the model reads is clear and
bounded, and the executor keeps to its memory, turns its loop and serves everybody else.

All attacks are made at once, on one executor: by a tool that is not repeatable (POST), and by one that
only reads (GET, so that redirects are followed). Each test then looks at what became of one attack.
"""

import json
import threading

import pytest

from conftest import end, make_stack
from hostile import Hostile
from hostile_answers import ANSWERS, GOOD_BODY, HUGE_BYTES, good, head, huge
from model import Call, Say
from siege import Siege, bounded, peak_bytes

CAPACITY = 48
RESULT_BYTES = 64 << 10
NOTES_BYTES = 1024  # what may stand in a result beside the bytes of the tool
POLICIES = {"once": {}, "reads": {"read_only": True}}


def memory_bound(calls, result_bytes):
    """docs/configuration.md, "Memory", for an executor."""
    return (64 << 20) + calls * (4 * result_bytes + (256 << 10))


# What becomes of a call: status and code of one that is not repeatable and of one that only reads, and how
# often the latter is sent. The first is never sent twice.
CUT = (("unknown", "cut"), ("failed", "cut"), 2)
SILENT = (("unknown", "timeout"), ("failed", "timeout"), 2)
FINE = (("succeeded", None), ("succeeded", None), 1)


def answered(status, times=1):
    return (("failed", f"http_{status}"),) * 2 + (times,)


def redirected(status, times):
    return ("failed", f"http_{status}"), ("failed", "cut"), times


WHOLE = GOOD_BODY.decode()
CUT_AT = "[The answer of the tool was cut: "
NO_LENGTH = "does not say clearly how long its answer is"
NOT_HTTP = "did not answer in HTTP"
COMPRESSED = "compressed its answer though nobody asked for it"
HEAD = "the head of the answer of"
IN_THE_MIDDLE = "closed the connection in the middle of its answer"
WAS_CUT = "was cut"

# By attack: what becomes of its call, and words that the model reads.
RULES = {
    "never": (SILENT, "no answer from"),
    "drips_head": (SILENT, "no answer from"),
    "drips_body": (SILENT, "no whole answer from"),
    "drips_chunks": (SILENT, "no whole answer from"),
    "half_a_head": (SILENT, "no whole answer from"),
    "huge_with_length": (FINE, CUT_AT),
    "huge_without_length": (FINE, CUT_AT),
    "huge_in_chunks": (FINE, CUT_AT),
    "huge_in_one_chunk": (FINE, CUT_AT),
    "endless_chunk_extension": (SILENT, "no whole answer from"),
    "endless_trailers": (FINE, WHOLE),
    "error_with_huge_body": (answered(422), CUT_AT),
    "head_in_one_line": (CUT, "a line of the head"),
    "head_without_end": (CUT, HEAD),
    "head_of_many_lines": (CUT, HEAD),
    "status_line_without_end": (CUT, "a line of the head"),
    "interim_flood": (CUT, HEAD),
    "early_hints_flood": (CUT, HEAD),
    "a_thousand_headers": (FINE, WHOLE),
    "some_interim_answers": (FINE, WHOLE),
    "switching_protocols": (SILENT, "no whole answer from"),
    "nul_in_head": (CUT, WAS_CUT),
    "folded_header": (FINE, WHOLE),
    "bare_line_feeds": (FINE, WHOLE),
    "header_without_colon": (CUT, WAS_CUT),
    "space_before_colon": (FINE, WHOLE),
    "strange_status": (answered(999, 2), "HTTP status 999"),
    "impossible_status": (CUT, NOT_HTTP),
    "strange_version": (CUT, NOT_HTTP),
    "redirect_302": (redirected(302, 12), ""),
    "redirect_307": (redirected(307, 12), ""),
    "redirect_to_a_file": (redirected(302, 2), ""),
    "length_and_chunks": (FINE, WHOLE),
    "chunks_and_length": (FINE, WHOLE),
    "two_lengths": (CUT, NO_LENGTH),
    "list_of_lengths": (CUT, NO_LENGTH),
    "negative_length": (CUT, WAS_CUT),
    "huge_length": (CUT, NO_LENGTH),
    "length_in_words": (CUT, WAS_CUT),
    "length_too_long": (CUT, IN_THE_MIDDLE),
    "length_too_short": (FINE, WHOLE[:6]),
    "negative_chunk": (CUT, WAS_CUT),
    "chunk_beyond_all": (CUT, WAS_CUT),
    "chunk_in_words": (CUT, WAS_CUT),
    "chunk_without_end": (CUT, WAS_CUT),
    "chunks_without_last": (CUT, IN_THE_MIDDLE),
    "body_without_need": (FINE, ""),
    "second_answer": (FINE, WHOLE),
    "closes_at_once": (CUT, "closed the connection without an answer"),
    "garbage": (CUT, NOT_HTTP),
    "http_0_9": (CUT, NOT_HTTP),
    "tls_alert": (CUT, NOT_HTTP),
    "http_2": (CUT, NOT_HTTP),
    "its_own_request": (CUT, NOT_HTTP),
    "garbage_without_end": (CUT, NOT_HTTP),
    "bomb_gzip": (CUT, COMPRESSED),
    "bomb_deflate": (CUT, COMPRESSED),
    "bomb_brotli": (CUT, COMPRESSED),
    "bomb_twice": (CUT, COMPRESSED),
    "bomb_in_transfer": (CUT, COMPRESSED),
    "bomb_in_chunks": (CUT, COMPRESSED),
    "encoding_that_lies": (CUT, COMPRESSED),
    "encoding_unknown": (CUT, COMPRESSED),
    "not_utf8": (FINE, "5 bytes that are not UTF-8 text were replaced"),
    "nul_bytes": (FINE, "2 bytes that are not UTF-8 text were replaced"),
    "nul_escapes": (FINE, "a\\u0000b"),
    "lone_surrogates": (FINE, "\\ud800"),
    "deep_json": (FINE, CUT_AT),
    "deep_objects": (FINE, CUT_AT),
    "dense_json": (FINE, CUT_AT),
    "control_characters": (FINE, "\x01\x02"),
    "empty": (FINE, ""),
    "retry_in_ages": (answered(503), "HTTP status 503"),
    "retry_before": (answered(503, 2), "HTTP status 503"),
    "retry_at_no_time": (answered(503, 2), "HTTP status 503"),
    "retry_long_ago": (answered(503, 2), "HTTP status 503"),
    "answers_before_the_request_ended": (FINE, WHOLE),
}
# Those that cannot be a row of the table for one that reads: see below.
NOT_READ = {"retry_in_ages"}


def patience(attack):
    """Whoever only waits for the end of patience need not wait long; the others have the time they need."""
    return {"timeout": "3s", "connect_timeout": "3s"} if RULES[attack][0] == SILENT else {}


class Everything(Call):
    """Calls every tool that is offered, once."""

    def deltas(self, ask):
        self.calls = [(tool["function"]["name"], {"n": n}) for n, tool in enumerate(ask.body["tools"])]
        return super().deltas(ask)


class Besieged:
    """One executor, and what became of every attack on it."""

    def __init__(self, stack):
        self.stack = stack
        attacks = {f"{policy}-{name}": attack for name, attack in ANSWERS.items() for policy in POLICIES}
        attacks.update(answers_again=self.answers_again, plain=self.plain, crowd=self.crowd)
        self.hostile = Hostile(attacks)
        self.published = 0
        self.answered_again = threading.Event()
        self.all_here = threading.Barrier(CAPACITY)

    def answers_again(self, peer):
        """An answer, and a little later another one, that nobody asked for."""
        peer.send(good())
        peer.pause(0.05)
        peer.send(good(body=b'{"done": "evil"}'))
        self.answered_again.set()
        return "keep"

    @staticmethod
    def plain(peer):
        peer.send(good())

    def crowd(self, peer):
        """As many huge answers at once as the executor makes calls: characters that JSON must escape."""
        self.all_here.wait(60)
        peer.send(head(length=HUGE_BYTES))
        huge(peer, lambda piece: b"\x01" * len(piece))

    def publish(self, agent, tools, **limits):
        """An agent of the scripted model with these tools of the hostile server."""
        fields = {"description": "d", "timeout": "30s", "connect_timeout": "10s", "attempts": 2}
        self.published += 1
        path = self.stack.directory / f"hostile-{self.published}.yaml"
        path.write_text(json.dumps({
            "models": {"model": {"base_url": self.stack.model.url + "/v1", "model": "m"}},
            "tools": {name: {**fields, **tool} for name, tool in tools.items()},
            "agents": {agent: {"instructions": "i", "model": "model", "tools": list(tools), "limits": limits}}}))
        self.stack.pawl("agent", "apply", path)

    def attack(self):
        for policy, fields in POLICIES.items():
            method = "GET" if policy == "reads" else "POST"
            tools = {f"{policy}-{name}": {"http": {"url": self.hostile.url("tool", f"{policy}-{name}"), "method": method},
                                          "max_result_bytes": RESULT_BYTES, **fields, **patience(name)}
                     for name in RULES if policy == "once" or name not in NOT_READ}
            # Some places stay free for the others.
            self.publish(policy, tools, calls_per_step=1000, parallel_calls=CAPACITY // 2 - 2)
        self.stack.publish(tools={"good": {}}, name="good")
        self.stack.model.script(Everything(), Say("done"))
        self.siege = Siege(self.stack, lambda: self.stack.run(agent="good").wait()).start()
        self.runs = {policy: self.stack.run(agent=policy) for policy in POLICIES}
        for run in self.runs.values():
            run.wait(timeout=120)
        self.siege.stop()
        self.peak = peak_bytes(self.stack.processes["executor-1"])

    def ending(self, policy, attack):
        """(last attempt, what the model read) of a call."""
        name = f"{policy}-{attack}"
        for ask in self.stack.model.asked(2):
            names = [tool["function"]["name"] for tool in ask.body["tools"]]
            if name in names:
                index = names.index(name)
                return self.runs[policy].action(1, index), ask.results()[f"call_1_{index}"]
        raise AssertionError(f"no model was told about {name}")


@pytest.fixture(scope="module")
def besieged(cluster, scratch):
    stack = make_stack(cluster, scratch, "hostile-tools")
    besieged = Besieged(stack)
    try:
        stack.kafka.start()
        stack.planner()
        stack.executor(settings={"capacity": {"actions": CAPACITY}})
        stack.wait_joined("planner-1", "executor-1")
        besieged.attack()
        yield besieged
    finally:
        besieged.hostile.close()
        end(stack)


def test_every_attack_has_its_rule():
    assert set(RULES) == set(ANSWERS)


@pytest.mark.parametrize("attack", RULES)
def test_a_call_that_is_not_repeatable_ends_by_rule(besieged, attack):
    (once, _, _), words = RULES[attack]
    action, text = besieged.ending("once", attack)
    assert (action["status"], action["error_code"]) == once, text
    assert besieged.hostile.count("tool", f"once-{attack}") == 1, "it was sent again"
    assert words in text
    assert len(text.encode()) <= RESULT_BYTES + NOTES_BYTES and "\0" not in text
    if once[0] == "unknown":
        assert text.startswith("Outcome unknown: this call may have been executed")


@pytest.mark.parametrize("attack", [name for name in RULES if name not in NOT_READ])
def test_a_call_that_only_reads_ends_by_rule(besieged, attack):
    (_, reads, times), words = RULES[attack]
    action, text = besieged.ending("reads", attack)
    assert (action["status"], action["error_code"]) == reads, text
    attempts = [(a["status"], a["error_code"], a["error"]) for a in besieged.runs["reads"].actions(1, action["index"])]
    assert besieged.hostile.count("tool", f"reads-{attack}") == times, attempts
    assert words in text
    assert len(text.encode()) <= RESULT_BYTES + NOTES_BYTES and "\0" not in text


def test_redirects_without_end_are_told(besieged):
    assert "redirects more than 5 times" in besieged.ending("reads", "redirect_302")[1]
    assert "redirects to what is not HTTP" in besieged.ending("reads", "redirect_to_a_file")[1]


def test_what_nobody_asked_for_is_no_answer_to_another_call(besieged):
    """Two tools of one address share its connections."""
    stack, hostile = besieged.stack, besieged.hostile
    address = hostile.url("tool", "answers_again")
    besieged.publish("kept", {
        "answers_again": {"http": {"url": address}, "read_only": True},
        "plain": {"http": {"url": address.replace("/answers_again", "/plain")}, "read_only": True}})
    stack.model.script(Call(("answers_again", {})), Call(("plain", {}), gate=besieged.answered_again), Say("done"))
    stack.run(agent="kept").wait()
    assert stack.model.asked(3)[-1].results()["call_2_0"] == WHOLE
    assert hostile.count("tool", "plain") == 1


def test_tls_on_a_port_that_speaks_none_is_not_sent(besieged):
    address = besieged.hostile.url("tool", "plain").replace("http:", "https:")
    before = besieged.hostile.count("tool", "plain")
    besieged.publish("tls", {"plain": {"http": {"url": address}}})
    besieged.stack.model.script(Call(("plain", {})), Say("done"))
    run = besieged.stack.run(agent="tls").wait()
    assert [(row["status"], row["error_code"]) for row in run.actions()] == [
        ("failed_before_effect", "not_reached")] * 2
    assert "TLS with" in besieged.stack.model.asked(2)[-1].results()["call_1_0"]
    assert besieged.hostile.count("tool", "plain") == before


def test_a_tool_that_asks_for_patience_without_end_ends_with_the_run(besieged):
    besieged.publish("patient", {"reads-retry_in_ages": {
        "http": {"url": besieged.hostile.url("tool", "reads-retry_in_ages")}, "read_only": True}}, time="3s")
    besieged.stack.model.script(Call(("reads-retry_in_ages", {})), Say("never"))
    run = besieged.stack.run(agent="patient").wait("failed")
    assert run.row()["error_code"] == "deadline_exceeded"
    assert besieged.hostile.count("tool", "reads-retry_in_ages") == 1


@bounded
def test_as_many_huge_results_as_calls_fit_stay_within_the_bound(besieged):
    size = 1 << 20
    tool = {"http": {"url": besieged.hostile.url("tool", "crowd")}, "max_result_bytes": size, "timeout": "60s"}
    besieged.publish("crowd", {"crowd": tool}, calls_per_step=CAPACITY, parallel_calls=CAPACITY)
    besieged.stack.model.script(Call(*[("crowd", {"n": n}) for n in range(CAPACITY)]), Say("done"))
    run = besieged.stack.run(agent="crowd")
    run.wait("failed", timeout=90)
    assert "grown beyond 32 MiB" in run.row()["error"]  # what the model would have to read
    assert {row["status"] for row in run.actions()} == {"succeeded"}
    assert peak_bytes(besieged.stack.processes["executor-1"]) <= memory_bound(CAPACITY, size)


def test_the_others_were_served_and_the_loop_turned(besieged):
    siege = besieged.siege
    assert len(siege.good_runs) >= 2 and max(siege.good_runs) < 20, siege.good_runs
    assert siege.longest_tick < 4.5, "the loop stood still"
    assert not besieged.hostile.broken


@bounded
def test_the_memory_stays_within_its_bound(besieged):
    assert besieged.peak <= memory_bound(CAPACITY, RESULT_BYTES), f"{besieged.peak >> 20} MiB"
