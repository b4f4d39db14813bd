"""The planner against a counterpart that is not ours (aimock): every dialect, and a provider that fails
at every fifth call."""

import itertools
import json
import math
import random
from bisect import bisect
from collections import Counter, defaultdict

import pytest

from aimock import DIALECTS, call, fixture, need, said, turn
from infra import long_only
from record import NOTE_CLAIMS
from waiting import wait_until

pytestmark = long_only


# --- the same agent in every dialect ----------------------------------------------------------------

TURNS = [
    fixture(turn("I look at both.", "Two customers, so two questions.",
                 call("ask_ada", "look", customer="ada"), call("ask_bob", "look", customer="bob")), after=False),
    fixture(turn("I bill both.", "Both exist.",
                 call("bill_ada", "send", customer="ada"), call("bill_bob", "send", customer="bob")), after="ask_bob"),
    fixture(turn("Both are billed.", "Nothing is left to do."), after="bill_bob"),
]


def items_of(run):
    """The conversation as it is stored, without ids and times, and without the opaque part."""
    rows = run.stack.sql("SELECT step, index, version, type, content, call_id, tool, arguments, refused, tokens_in, tokens_out "
                         "FROM pawl.agent_step_content WHERE run_id = %s ORDER BY step, version, index", run.id)
    return [tuple(row.values()) for row in rows]


ITEMS = [
    (1, 0, 1, "reasoning", "Two customers, so two questions.", None, None, None, None, 110, 17),
    (1, 1, 1, "text", "I look at both.", None, None, None, None, None, None),
    (1, 2, 1, "function_call", None, "ask_ada", "look", '{"customer":"ada"}', None, None, None),
    (1, 3, 1, "function_call", None, "ask_bob", "look", '{"customer":"bob"}', None, None, None),
    (2, 0, 1, "reasoning", "Both exist.", None, None, None, None, 110, 17),
    (2, 1, 1, "text", "I bill both.", None, None, None, None, None, None),
    (2, 2, 1, "function_call", None, "bill_ada", "send", '{"customer":"ada"}', None, None, None),
    (2, 3, 1, "function_call", None, "bill_bob", "send", '{"customer":"bob"}', None, None, None),
    (3, 0, 1, "reasoning", "Nothing is left to do.", None, None, None, None, 110, 17),
    (3, 1, 1, "text", "Both are billed.", None, None, None, None, None, None),
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_agent_in_every_dialect(stack, aimock, dialect):
    need(stack, dialect)
    aimock.start(TURNS)
    stack.up()
    stack.publish(tools={"look": {"read_only": True}, "send": {}}, model=aimock.model(dialect))
    run = stack.run("Bill everybody.").wait()
    assert items_of(run) == ITEMS
    raws = stack.sql("SELECT raw, dialect FROM pawl.agent_step_content WHERE run_id = %s AND index = 0", run.id)
    assert all(row["raw"] and row["dialect"] == dialect for row in raws)
    results = [(a["step"], a["index"], a["tool"], a["status"]) for a in run.actions()]
    assert results == [(1, 2, "look", "succeeded"), (1, 3, "look", "succeeded"),
                       (2, 2, "send", "succeeded"), (2, 3, "send", "succeeded")]
    row = run.row()
    assert (row["step"], row["model_calls"], row["tokens_in"], row["tokens_out"]) == (3, 3, 330, 51)

    journal = aimock.journal()
    assert [entry.status for entry in journal] == [200] * row["model_calls"]
    assert [entry.after for entry in journal] == [False, "ask_bob", "bill_bob"]
    assert said(journal[-1]) == [
        ("system", "Do it."), ("user", "Bill everybody."),
        ("assistant", "I look at both."), ("call", 'look{"customer":"ada"}'), ("call", 'look{"customer":"bob"}'),
        ("result of", 'look{"customer":"ada"}'), ("result of", 'look{"customer":"bob"}'),
        ("assistant", "I bill both."), ("call", 'send{"customer":"ada"}'), ("call", 'send{"customer":"bob"}'),
        ("result of", 'send{"customer":"ada"}'), ("result of", 'send{"customer":"bob"}'),
    ]


# --- a provider that fails at every fifth call --------------------------------------------------------

RUNS = 300
RETRY_AFTER_S = 1
FIRST_EVENT_S, SILENCE_S = 60, 5  # on a busy machine aimock may be late, but not in the middle of an answer
IN_FLIGHT = 30  # calls of one planner
ROUNDS = [  # (the call whose result comes last, what is said)
    (False, turn("", "First.", call("one_a", "look", n=1), call("one_b", "look", n=2))),
    ("one_b", turn("", "Second.", call("two_a", "look", n=3), call("two_b", "look", n=4))),
    ("two_b", turn("Done.", "Third.")),
]
STEP = {after: step for step, (after, _) in enumerate(ROUNDS, 1)}

# Each fault: how aimock is told, and the codes that the attempt may be stored with.
FAULTS = {
    "429 with Retry-After": ({"response": {"error": {"message": "slower"}, "status": 429, "retryAfter": RETRY_AFTER_S}}, {"rate_limited"}),
    "529": ({"response": {"error": {"message": "busy", "type": "overloaded_error"}, "status": 529}}, {"overloaded"}),
    "malformed": ({"chaos": {"malformedRate": 1}}, {"bad_answer"}),
    "hung up": ({"chaos": {"disconnectRate": 1}}, {"connection_lost"}),
    "cut in the middle": ({"truncateAfterChunks": 2, "latency": 20}, {"answer_cut", "connection_lost"}),
    "slow": ({"streamingProfile": {"ttft": 0, "tps": 0.25 / SILENCE_S}}, {"timeout"}),
}
ANSWERED, NOT_READ = "answered", "not read"


def draw_faults(seed):
    """{(task, after, nth): fault}: a fifth of all calls fail, so some fail again and again."""
    dice, faults = random.Random(seed), {}
    for task in range(RUNS):
        for after, _ in ROUNDS:
            for nth in itertools.takewhile(lambda _: dice.random() < 0.2, itertools.count()):
                faults[f"task {task}.", after, nth] = dice.choice(list(FAULTS))
    return faults


def faulty(faults):
    said_after = dict(ROUNDS)
    for (task, after, nth), fault in faults.items():
        how = {"response": said_after[after], **FAULTS[fault][0]}
        yield fixture(task=task, after=after, nth=nth, **how)


class Account:
    """Each request in the journal is put to the claim of a step under which it was sent: the last one
    before it. `wrong` is what is left over, in words; `kinds` counts the rest."""

    def __init__(self, stack, journal, faults):
        self.faults, self.kinds, self.wrong, self.lost = faults, Counter(), [], []
        self.dead = {row["incarnation"]: row["instance"] for row in stack.workers("dead")}
        key = "i.input::json #>> '{}' AS task, x.step, x.version"
        inputs = "JOIN pawl.agent_run_inputs i USING (run_id)"
        self.stored = {(row["task"], row["step"], row["version"]): row for row in stack.sql(
            f"SELECT {key}, type, split_part(content, ':', 1) AS code FROM pawl.agent_step_content x {inputs} WHERE index = 0")}
        claims, sent = defaultdict(list), defaultdict(list)
        for row in stack.sql(f"SELECT {key}, worker, extract(epoch FROM at)::float AS at FROM pawl_lab.claims x {inputs} ORDER BY at"):
            claims[row["task"], row["step"]].append(row)
        for entry in journal:
            sent[entry.task, STEP[entry.after]].append(entry)
        for step in sent.keys() - claims.keys():
            self.wrong.append(f"{step} was asked for and never claimed")
        for step, of_step in claims.items():
            self.judge_step(step, of_step, sent[step])

    def judge_step(self, step, claims, sent):
        plans = {c["version"] for c in claims if self.attempt(c) and self.attempt(c)["type"] != "error"}
        if plans != {claims[-1]["version"]}:
            self.wrong.append(f"{step} has plans of the versions {plans}, and was last claimed as {claims[-1]['version']}")
        begins = [math.floor(claim["at"] * 1000) / 1000 for claim in claims]  # as exact as the journal
        under = defaultdict(list)
        for entry in sent:
            under[bisect(begins, entry.at) - 1].append(entry)
        if under[-1]:
            self.wrong.append(f"{step} was asked for before it was claimed")
        for at in range(1, len(claims)):  # what a dying planner sent may come after the next claim
            if len(under[at]) > 1 and not under[at - 1] and self.attempt(claims[at - 1]) is None:
                under[at - 1].append(under[at].pop(0))
        for at, claim in enumerate(claims):
            given_back = any(later["version"] == claim["version"] for later in claims[at + 1:])
            if not given_back:
                self.judge_claim(step, claim, under[at])
                self.judge_wait(step, claim, under[at], under[at + 1])
            elif under[at]:
                self.wrong.append(f"{step} version {claim['version']} was given back after {len(under[at])} calls")

    def judge_wait(self, step, claim, entries, following):
        """Nobody comes back earlier than the provider has asked."""
        attempt = self.attempt(claim)
        if attempt and attempt["code"] == "rate_limited" and following and following[0].at < entries[-1].at + RETRY_AFTER_S:
            self.wrong.append(f"{step} was asked again {following[0].at - entries[-1].at:.3f} s after 429")

    def attempt(self, claim):
        return self.stored.get((claim["task"], claim["step"], claim["version"]))

    def judge_claim(self, step, claim, entries):
        attempt, kinds = self.attempt(claim), [self.kind(entry) for entry in entries]
        self.kinds.update(kinds)
        where = f"{step} version {claim['version']}"
        if attempt is None:
            if claim["worker"] not in self.dead or len(kinds) > 1:
                self.wrong.append(f"{where} was lost without a death, after {kinds}")
            self.lost += [f"{where}: {self.dead.get(claim['worker'])} died ({kind})" for kind in kinds]
        elif not kinds and attempt["code"] == "connection_lost":  # closed before the provider read it
            self.kinds[NOT_READ] += 1
        elif len(kinds) != 1 or not self.fits(kinds[0], attempt):
            self.wrong.append(f"{where} is stored as {attempt['type']} {attempt['code']}, and sent as {kinds}")

    def kind(self, entry):
        match = entry.fixture.get("match", {})
        return self.faults.get((match.get("userMessage"), match.get("toolCallId", False), match.get("sequenceIndex")), ANSWERED)

    @staticmethod
    def fits(kind, attempt):
        if kind == ANSWERED:  # unless this machine was too slow for it
            return attempt["type"] != "error" or attempt["code"] == "timeout"
        return attempt["type"] == "error" and attempt["code"] in FAULTS[kind][1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_failing_provider_is_accounted_for(stack, aimock, dialect):
    need(stack, dialect)
    faults = draw_faults(dialect)
    aimock.start([*faulty(faults), *(fixture(response, after=after) for after, response in ROUNDS)])
    stack.sql(NOTE_CLAIMS)
    stack.up(planners=0)
    for slot in (1, 2):
        stack.planner(slot, settings={"capacity": {"plans": IN_FLIGHT}})
    stack.publish(tools={"look": {"read_only": True}},
                  model=aimock.model(dialect, attempts=20, timeout="2m",
                                     first_event_timeout=f"{FIRST_EVENT_S}s", silence_timeout=f"{SILENCE_S}s"))
    requests = "".join(json.dumps({"id": f"{n}", "agent": "agent", "input": f"task {n}."}) + "\n" for n in range(RUNS))
    stack.kafka.kcat("-P", "-t", stack.kafka.names["requests"], data=requests.encode())
    for slot, sent in ((1, RUNS // 2), (2, RUNS * 2)):  # each planner dies once, with calls in flight
        wait_until(lambda n=sent: aimock.count() >= n, f"{sent} calls were made", 120, watch=stack.check)
        stack.processes[f"planner-{slot}"].restart()
    ended = "SELECT count(*) FROM pawl.agent_runs WHERE ended_at IS NOT NULL"
    wait_until(lambda: stack.sql.value(ended) == RUNS, "all runs have ended", 300, pause=0.3, watch=stack.check)
    assert not [run.describe() for run in stack.runs() if run.status != "succeeded"][:5]

    account = Account(stack, aimock.journal(), faults)
    print(f"\n{dialect}: {account.kinds.total()} calls in {RUNS} runs:", dict(account.kinds), *account.lost, sep="\n  ")
    assert not account.wrong, "\n".join(account.wrong)
    assert account.lost, "no planner died with a call in flight"
    assert all(account.kinds[fault] for fault in FAULTS)
    not_read = account.kinds.pop(NOT_READ, 0)
    assert account.kinds.total() == aimock.count() == len(account.stored) + len(account.lost) - not_read
