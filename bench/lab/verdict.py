"""Chaos judged: counts, promise by promise, and whether each one held.

Names here: a *call* is (run, step, index); *claims* of a step are in the order in which they were made.
"""

from collections import Counter
from typing import NamedTuple

ENDS = ("succeeded", "failed", "cancelled")
DEATHS_MAX = 3  # after so many deaths a step ends its run, by rule


class Line(NamedTuple):
    promise: str
    what: str
    value: object
    held: bool = True  # False: this count should be another one
    examples: tuple = ()


def wrong(promise, what, found):
    """A count that must be nothing; `found` says which."""
    found = list(found)
    return Line(promise, what, len(found), not found, tuple(found[:5]))


def spread(counter):
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items(), key=str)) or "none"


# --- P1 -------------------------------------------------------------------------------------------


def accepted(record):
    numbers = Counter(run.number for run in record.runs)
    lost = [f"run {n}" for n in range(record.sent) if n not in numbers]
    letters = Counter(letter["headers"].get("pawl_dlq_error_code", "?") for letter in record.dead_letters)
    yield Line("P1", "runs started (acknowledged by the broker)", record.sent)
    yield Line("P1", "accepted", len(numbers))
    yield wrong("P1", "neither accepted nor in the dead letters", lost[len(record.dead_letters):])
    yield Line("P1", "in the dead letters", spread(letters), set(letters) <= {"killed_workers"})
    yield wrong("P1", "requests that made two runs", [n for n, count in numbers.items() if count > 1])
    yield Line("P1", "ended", spread(Counter(run.status for run in record.runs)))
    yield wrong("P1", "not ended", [f"{run.run_id} ({run.status})" for run in record.runs if run.status not in ENDS])


def failures(record):
    reasons = Counter(run.error_code for run in record.runs if run.status == "failed")
    yield Line("P1", "failed, by reason", spread(reasons))
    without = []
    for run in record.runs:
        lost = [c for c in record.claims[(run.number, run.step)] if record.fate(c.worker)]
        if run.status == "failed" and not (run.error_code == "killed_workers" and len(lost) >= DEATHS_MAX):
            without.append(f"{run.run_id} {run.error_code}, planners that died with this step: {len(lost)}")
    yield wrong("P1", f"failed, but not by {DEATHS_MAX} deaths at one step", without)


def announced(record):
    by_run = {}
    for event in record.events:
        kind = event["headers"].get("ce_type", "").removeprefix("dev.pawl.run.").removesuffix(".v1")
        if kind in ENDS:
            by_run.setdefault(event["headers"]["ce_subject"], []).append((kind, event["headers"]["ce_id"]))
    ended = [run for run in record.runs if run.status in ENDS]
    yield Line("P1", "ends announced", sum(1 for run in ended if run.run_id in by_run))
    silent = [run for run in ended if run.run_id not in by_run]
    forgotten = [run for run in silent if record.falls and run.ended_at.timestamp() < max(record.falls)]
    if record.falls:
        yield Line("P1", "the embedded broker fell over, and forgot all it had", len(record.falls))
        yield Line("P1", "ended before that: whether announced, it cannot say", len(forgotten))
    yield wrong("P1", "ends not announced", [run.run_id for run in silent if run not in forgotten])
    yield wrong("P1", "announced as something else", [run.run_id for run in ended if {k for k, _ in by_run.get(run.run_id, [])} - {run.status}])
    yield wrong("P1", "one end announced under two ids", [r for r, ids in by_run.items() if len({i for _, i in ids}) > 1])
    yield Line("P1", "announced more than once, same id", sum(len(ids) > 1 for ids in by_run.values()))


# --- P2 and P3 ------------------------------------------------------------------------------------


def lost_claims(record, key):
    """(claim, why) of every claim of this step that left no plan."""
    plans = {plan.version: plan for plan in record.plans[key]}
    claims = record.claims[key]
    for at, claim in enumerate(claims):
        if any(later.version == claim.version for later in claims[at + 1:]):
            yield claim, "handed back"
        elif claim.version not in plans:
            yield claim, record.fate(claim.worker)
        elif plans[claim.version].type == "error":
            yield claim, "model call failed: " + (plans[claim.version].content or "").partition(":")[0]


def planning(record):
    reasons, unexplained, twice = Counter(), [], []
    extra = 0
    for key in record.asks.keys() | record.claims.keys() | record.plans.keys():
        good = [plan for plan in record.plans[key] if plan.type != "error"]
        if len(good) > 1:
            twice.append(f"run {key[0]} step {key[1]}")
        lost = list(lost_claims(record, key))
        more = max(0, len(record.asks[key]) - bool(good))
        extra += more
        unexplained += [f"run {key[0]} step {key[1]} version {claim.version} of worker {claim.worker}" for claim, why in lost if why is None]
        if more > len(lost):
            unexplained.append(f"run {key[0]} step {key[1]}: {len(record.asks[key])} model calls, {len(lost)} lost claims")
        # a lost claim whose call was never made costs nothing: those last claimed are taken for the ones that were asked
        reasons.update(why or "no reason" for _, why in lost[len(lost) - min(more, len(lost)):])
    yield Line("P2", "model calls", sum(map(len, record.asks.values())))
    yield Line("P2", "of these beyond one for each step", extra)
    yield Line("P2", "why: what happened to the planner", spread(reasons))
    yield wrong("P2", "beyond one and not explained", unexplained)
    yield wrong("P2", "steps with two plans", twice)
    yield wrong("P2", "prompts that lack a plan or a result", record.ledger.flaws)


def claims(record, late):
    taken = []
    for key, all_of_step in record.claims.items():
        lost = {id(claim): why for claim, why in lost_claims(record, key)}
        for earlier, later in zip(all_of_step, all_of_step[1:]):
            worker = record.workers.get(earlier.worker)
            alive = worker is None or worker.ended_at is None or worker.ended_at > later.at
            if alive and lost.get(id(earlier)) not in ("handed back",) and not str(lost.get(id(earlier))).startswith("model call failed"):
                taken.append(f"run {key[0]} step {key[1]}: version {later.version}, while worker {earlier.worker} held {earlier.version}")
    yield Line("P3", "claims of steps", sum(map(len, record.claims.values())))
    yield wrong("P3", "claims taken over from the living", taken)
    yield Line("P3", "late commits that were refused", f"{late['plan came too late']} plans, {late['result came too late']} results")
    stray = []
    for call, executions in record.executions.items():
        keys = {row.key for row in record.calls[call]}
        stray += [f"call {call} key {e.key}" for e in executions if e.key not in keys]
    yield wrong("P3", "executions of what no stored plan asks for", stray)


# --- P4 and P5 ------------------------------------------------------------------------------------


def executions(record):
    per_key = Counter(e.key for done in record.executions.values() for e in done)
    most_key, most_call = max(per_key.values(), default=0), max(map(len, record.executions.values()), default=0)
    yield Line("P4", "executions", sum(per_key.values()))
    yield Line("P4", "most of one key, most of one call", f"{most_key}, {most_call}", max(most_key, most_call) <= 1,
               tuple(f"call {c}: {len(d)}" for c, d in record.executions.items() if len(d) > 1)[:5])


def outcomes(record):
    known, unknown, not_sent, bad, other = 0, Counter(), Counter(), [], Counter()
    for call in record.planned | set(record.calls):
        rows = record.calls[call]
        last, done = (rows[-1] if rows else None), record.executions.get(call)
        status = last.status if last else "not claimed"
        fate = record.fate(last.worker) if last else None
        if done and status == "succeeded":
            known += 1
            if record.receipt(last) != done[0].key:
                bad.append(f"call {call}: the stored result is not what the tool answered")
        elif status == "unknown" and fate:
            (unknown if done else not_sent)[fate] += 1
        elif done or status in ("succeeded", "unknown"):
            bad.append(f"call {call}: {'executed' if done else 'not executed'}, stored as {status}, its worker: {fate or 'lived'}")
        else:
            other[status] += 1
    yield Line("P4", "executed, result stored", known)
    yield Line("P4", "executed, no result: unknown", spread(unknown))
    yield Line("P4", "not executed: unknown, claimed and not sent", spread(not_sent))
    yield Line("P4", "not executed, known not to be", spread(other))
    yield wrong("P4", "anything else", bad)


def keys(record):
    per_call = [call for call, done in record.executions.items() if len({e.key for e in done}) > 1 or not all(e.key for e in done)]
    stored = [call for call, rows in record.calls.items() if len({row.key for row in rows}) > 1]
    retried = sum(1 for rows in record.calls.values() if len(rows) > 1)
    yield Line("P5", "logical calls", len(record.calls))
    yield Line("P5", "tried more than once (nothing had been sent)", retried)
    yield wrong("P5", "calls with two keys, or none", set(per_call) | set(stored))


# --- P6 and P7 ------------------------------------------------------------------------------------


def progress(record, ended_at, began_at):
    moments = sorted([began_at, *(e.at for e in record.ledger.asks), *(e.at for e in record.ledger.executions)])
    gaps = [(b - a, b) for a, b in zip(moments, moments[1:])] or [(0.0, began_at)]
    longest, at = max(gaps)
    yield Line("P6", "longest time without a model or tool call", f"{longest:.1f} s, until {at - began_at:.0f} s")
    yield Line("P6", "last progress", f"{moments[-1] - began_at:.1f} s of {ended_at - began_at:.1f} s")


def given_back_late(record):
    """Steps whose model was asked, and whose claim was handed back after that."""
    for key, asks in record.asks.items():
        lost = [why for _, why in lost_claims(record, key)]
        if len(asks) - any(plan.type != "error" for plan in record.plans[key]) > len(lost) - lost.count("handed back"):
            yield f"run {key[0]} step {key[1]}: given back after the model was asked"


def leaving(record, attack):
    left = [death for death in attack.deaths if death.what == "left"]
    gone = {d.incarnation for d in left if record.workers.get(d.incarnation) and record.workers[d.incarnation].state == "gone"}
    broken = [f"call {call}" for call, rows in record.calls.items() for row in rows if row.worker in gone and row.status == "unknown"]
    broken += [f"run {key[0]} step {key[1]} version {claim.version}" for key in list(record.claims)
               for claim, why in lost_claims(record, key) if claim.worker in gone and why == "left"]
    broken += given_back_late(record)
    codes = Counter(code for name, code, what in attack.exits if what == "leave")
    yield Line("P7", "left in order (SIGTERM), by exit code", spread(codes), set(codes) <= {0})
    yield Line("P7", "sent away before they had registered", sum(what == "leave at the start" for _, _, what in attack.exits))
    yield wrong("P7", "calls of theirs interrupted", broken)


def judge(record, attack, late, began_at, ended_at):
    return [
        *accepted(record), *failures(record), *announced(record),
        *planning(record), *claims(record, late),
        *executions(record), *outcomes(record), *keys(record),
        *progress(record, ended_at, began_at), *leaving(record, attack),
    ]
