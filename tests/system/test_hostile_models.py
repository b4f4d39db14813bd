"""Models that wish us ill: whatever one answers, its run ends or goes on by rule, with an error that says
why, and the planner keeps to its memory, turns its loop and serves everybody else.

All attacks are made at once, on one planner, each on a run of an agent of its own. Each test then looks
at what became of one run.
"""

import json

import pytest

from conftest import end, make_stack
from hostile import Hostile
from hostile_answers import ANSWERS
from hostile_streams import STREAMS
from model import Call, Say
from siege import Siege, bounded, peak_bytes
from waiting import wait_until

CAPACITY = 48
OUTPUT_BYTES = 64 << 10
LARGE_OUTPUT_BYTES = 4 << 20  # the default
ATTACKS = {**ANSWERS, **STREAMS}
# docs/configuration.md, "Memory", for a planner whose conversations are short.
PLANNER_BYTES = (128 << 20) + CAPACITY * (4 * OUTPUT_BYTES + (256 << 10)) + 4 * 4 * LARGE_OUTPUT_BYTES


def failed(words, code="model_failed", times=2):
    return "failed", code, times, words


def refused(words):
    return failed(words, "model_refused", 1)


def went_on(steps, *calls):
    """The run succeeds; the calls of its first step that were made."""
    return "succeeded", None, steps, calls


SILENT = failed("the model was silent for")
DRIPS = failed("no whole answer from")
TOO_LARGE = failed("is larger than")
TOO_LARGE_HEAD = failed("the head of the answer of")
LONG_LINE = failed("a line of the head of the answer of")
NO_MESSAGE = failed("holds no message")
NO_JSON = failed("is not JSON")
CUT = failed("was cut")
NOT_HTTP = failed("did not answer in HTTP")
NO_LENGTH = failed("does not say clearly how long its answer is")
COMPRESSED = failed("compressed its answer though nobody asked for it")
BUSY = failed("HTTP 503")
SAID = went_on(1)
EMPTY = went_on(2)  # asked once more

# By attack: how the run ends, its error code, how often the model was asked (or the steps), and words of
# the error (or the calls of tools that were made).
RULES = {
    "never": SILENT,
    "drips_head": SILENT,
    "drips_body": DRIPS,
    "drips_chunks": DRIPS,
    "half_a_head": SILENT,
    "huge_with_length": TOO_LARGE,
    "huge_without_length": TOO_LARGE,
    "huge_in_chunks": TOO_LARGE,
    "huge_in_one_chunk": TOO_LARGE,
    "endless_chunk_extension": SILENT,
    "endless_trailers": TOO_LARGE_HEAD,
    "error_with_huge_body": refused("bad_request: HTTP 422: yyy"),
    "head_in_one_line": LONG_LINE,
    "head_without_end": TOO_LARGE_HEAD,
    "head_of_many_lines": TOO_LARGE_HEAD,
    "status_line_without_end": LONG_LINE,
    "interim_flood": TOO_LARGE_HEAD,
    "early_hints_flood": TOO_LARGE_HEAD,
    "a_thousand_headers": NO_MESSAGE,
    "some_interim_answers": NO_MESSAGE,
    "switching_protocols": refused("HTTP 101"),
    "nul_in_head": CUT,
    "folded_header": NO_MESSAGE,
    "bare_line_feeds": NO_MESSAGE,
    "header_without_colon": CUT,
    "space_before_colon": NO_MESSAGE,
    "strange_status": failed("HTTP 999"),
    "impossible_status": NOT_HTTP,
    "strange_version": NOT_HTTP,
    "redirect_302": refused("HTTP 302"),
    "redirect_307": refused("HTTP 307"),
    "redirect_to_a_file": refused("HTTP 302"),
    "length_and_chunks": NO_MESSAGE,
    "chunks_and_length": NO_MESSAGE,
    "two_lengths": NO_LENGTH,
    "list_of_lengths": NO_LENGTH,
    "negative_length": CUT,
    "huge_length": NO_LENGTH,
    "length_in_words": CUT,
    "length_too_long": CUT,
    "length_too_short": NO_JSON,
    "negative_chunk": CUT,
    "chunk_beyond_all": CUT,
    "chunk_in_words": CUT,
    "chunk_without_end": CUT,
    "chunks_without_last": CUT,
    "body_without_need": NO_JSON,
    "second_answer": NO_MESSAGE,
    "closes_at_once": failed("closed the connection without an answer"),
    "garbage": NOT_HTTP,
    "http_0_9": NOT_HTTP,
    "tls_alert": NOT_HTTP,
    "http_2": NOT_HTTP,
    "its_own_request": NOT_HTTP,
    "garbage_without_end": NOT_HTTP,
    "bomb_gzip": COMPRESSED,
    "bomb_deflate": COMPRESSED,
    "bomb_brotli": COMPRESSED,
    "bomb_twice": COMPRESSED,
    "bomb_in_transfer": COMPRESSED,
    "bomb_in_chunks": COMPRESSED,
    "encoding_that_lies": COMPRESSED,
    "encoding_unknown": COMPRESSED,
    "not_utf8": NO_JSON,
    "nul_bytes": NO_JSON,
    "nul_escapes": NO_MESSAGE,
    "lone_surrogates": NO_JSON,
    "deep_json": TOO_LARGE,
    "deep_objects": TOO_LARGE,
    "dense_json": NO_MESSAGE,
    "control_characters": NO_JSON,
    "empty": NO_JSON,
    "retry_in_ages": failed("longer than its limit", "deadline_exceeded", 1),
    "retry_before": BUSY,
    "retry_at_no_time": BUSY,
    "retry_long_ago": BUSY,
    "answers_before_the_request_ended": NO_MESSAGE,
    "line_without_end": TOO_LARGE,
    "comments_without_end": TOO_LARGE,
    "drips_comments": DRIPS,
    "small_events_without_end": failed(""),  # too large, or too slow: as fast as the machine is
    "text_without_end": TOO_LARGE,
    "one_letter_a_time_without_end": failed(""),
    "reasoning_without_end": TOO_LARGE,
    "arguments_without_end": TOO_LARGE,
    "calls_without_end": TOO_LARGE,
    "fields_without_end": TOO_LARGE,
    "the_same_many_fields": TOO_LARGE,
    "event_names_without_end": TOO_LARGE,
    "after_the_end": SAID,
    "one_object_without_end": TOO_LARGE,
    "object_of_nothing": NO_MESSAGE,
    "object_of_odd_types": EMPTY,
    "calls_that_are_none": failed("has tool calls that cannot be read"),
    "empty_stream": EMPTY,
    "nothing_but_odd_events": EMPTY,
    "deep_event": TOO_LARGE,
    "deep_delta": SAID,
    "dense_event": NO_JSON,
    "dense_array_of_choices": NO_JSON,
    "doubled_keys": NO_JSON,
    "not_utf8_event": NO_JSON,
    "nul_byte_event": NO_JSON,
    "lone_surrogate_event": NO_JSON,
    "nul_in_text": SAID,
    "number_beyond_all": NO_JSON,
    "usage_that_is_no_number": NO_JSON,
    "finish_in_many_words": SAID,
    "error_of_a_megabyte": failed("ended its answer with an error"),
    "usage_of_all_tokens": went_on(2, "good"),
    "usage_below_nothing": SAID,
    "usage_of_odd_types": SAID,
    "indexes_beyond_all": went_on(2, *["good"] * 4),
    "indexes_that_are_none": went_on(2, *["good"] * 2),
    "doubled_ids": went_on(2, *["good"] * 3),
    "ids_that_are_none": went_on(2, *["good"] * 4),
    "names_that_are_none": went_on(2),
    "arguments_that_are_none": went_on(2, *["good"] * 3),
}


class Besieged:
    """One planner, and what became of the run of every attack."""

    def __init__(self, stack):
        self.stack = stack
        self.hostile = Hostile(ATTACKS)

    def attack(self):
        stack = self.stack
        stack.publish(tools={"good": {}}, name="good")
        stack.pawl("agent", "apply", self.write_definitions())
        stack.model.script(Call(("good", {})), Say("done"))
        self.siege = Siege(stack, lambda: stack.run(agent="good").wait()).start()
        self.runs = {name: stack.run(agent=name.replace("_", "-")) for name in RULES}
        wait_until(self.all_over, "every run has ended", timeout=120, pause=0.3, watch=stack.check)
        self.siege.stop()
        self.peak = peak_bytes(stack.processes["planner-1"])

    def write_definitions(self):
        # Whoever only waits for the end of patience need not wait long; the others have the time they need.
        limits = {SILENT: {"timeout": "30s", "first_event_timeout": "2s", "silence_timeout": "2s"},
                  DRIPS: {"timeout": "3s"}}
        waits = {"switching_protocols": {"timeout": "5s"}}  # says at once what it is, and never ends
        models, agents = {}, {}
        for name, rule in RULES.items():
            label = name.replace("_", "-")
            models[label] = {"base_url": self.hostile.url("model", name), "model": "m", "attempts": 2,
                             **(waits.get(name) or limits.get(rule, {"timeout": "60s"})),
                             "max_output_bytes": LARGE_OUTPUT_BYTES if "dense" in name else OUTPUT_BYTES}
            time = "10s" if name == "retry_in_ages" else "10m"
            agents[label] = {"instructions": "i", "model": label, "tools": ["good"], "limits": {"time": time}}
        path = self.stack.directory / "hostile.yaml"
        path.write_text(json.dumps({"models": models, "agents": agents}))
        return path

    def all_over(self):
        left = self.stack.sql.value("SELECT count(*) FROM pawl.agent_runs WHERE ended_at IS NULL AND run_id = "
                                    "ANY (%s::uuid[])", [run.id for run in self.runs.values()])
        return left == 0


@pytest.fixture(scope="module")
def besieged(cluster, scratch):
    stack = make_stack(cluster, scratch, "hostile-models")
    besieged = Besieged(stack)
    try:
        stack.kafka.start()
        stack.planner(settings={"capacity": {"plans": CAPACITY}})
        stack.executor()
        stack.wait_joined("planner-1", "executor-1")
        besieged.attack()
        yield besieged
    finally:
        besieged.hostile.close()
        end(stack)


def test_every_attack_has_its_rule():
    assert set(RULES) == set(ATTACKS)


@pytest.mark.parametrize("attack", [name for name in RULES if RULES[name][0] == "failed"])
def test_a_run_fails_by_rule(besieged, attack):
    status, code, times, words = RULES[attack]
    row = besieged.runs[attack].row()
    assert (row["status"], row["error_code"]) == (status, code), row["error"]
    assert words in row["error"] and len(row["error"]) < 500
    assert besieged.hostile.count("model", attack) == times


@pytest.mark.parametrize("attack", [name for name in RULES if RULES[name][0] == "succeeded"])
def test_a_run_goes_on_by_rule(besieged, attack):
    status, _, steps, calls = RULES[attack]
    run = besieged.runs[attack]
    row = run.row()
    assert (row["status"], row["step"]) == (status, steps), row["error"]
    assert [action["tool"] for action in run.actions(step=1)] == list(calls)
    assert besieged.hostile.count("model", attack) == steps
    assert "\0" not in (run.answer() or "")
    assert 0 <= row["tokens_in"] <= 10**12 and 0 <= row["tokens_out"] <= 10**12


def test_the_others_were_served_and_the_loop_turned(besieged):
    siege = besieged.siege
    assert len(siege.good_runs) >= 2 and max(siege.good_runs) < 30, siege.good_runs
    assert siege.longest_tick < 4.5, "the loop stood still"
    assert not besieged.hostile.broken


@bounded
def test_the_memory_stays_within_its_bound(besieged):
    assert besieged.peak <= PLANNER_BYTES, f"{besieged.peak >> 20} MiB"
