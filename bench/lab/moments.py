"""Where a process was when it was killed or stopped, by what it held then and what the ledger had seen of it.
Each moment with the fault point that is nearest."""

from collections import Counter, defaultdict

PLAN = ("planner", "plan claimed, model not asked yet", "planner_after_plan_claim")
THINKS = ("planner", "in the model call", "planner_during_model_call")
THOUGHT = ("planner", "model has answered, plan not committed", "planner_after_model_call")
CLAIMED = ("executor", "call claimed, not sent yet", "executor_after_claim")
SENT = ("executor", "call sent, no answer yet", "executor_during_call")
ANSWERED = ("executor", "tool has answered, result not committed", "executor_after_call")
NOTHING = "nothing in hand"
ORDER = (PLAN, THINKS, THOUGHT, CLAIMED, SENT, ANSWERED)


def of_plan(record, death, run, step, version):
    number = record.number.get(run)
    claimed_at = max((c.at.timestamp() for c in record.claims[(number, step)] if c.version == version), default=0)
    asks = [ask for ask in record.asks[(number, step)] if claimed_at - 0.01 <= ask.at <= death.at]
    if not asks:
        return PLAN
    answered_at = asks[-1].answered_at
    return THOUGHT if answered_at and answered_at <= death.at else THINKS


def of_call(record, death, run, step, index, key):
    done = [e for e in record.executions[(record.number.get(run), step, index)] if e.key == key and e.at <= death.at]
    if not done:
        return CLAIMED
    return ANSWERED if done[-1].answered_at and done[-1].answered_at <= death.at else SENT


def moments(record):
    """{moment: (how many kills and stops met it, how many steps or calls were there)}, and a count of the rest."""
    met, items, idle = defaultdict(set), Counter(), Counter()
    for at, death in enumerate(record.deaths):
        if death.what not in ("killed", "stopped"):
            continue
        found = [of_plan(record, death, *plan) for plan in death.plans]
        found += [of_call(record, death, run, step, index, key) for run, step, index, _, key in death.calls]
        for moment in found:
            met[moment].add(at)
            items[moment] += 1
        if not found:
            idle[death.name.partition("-")[0]] += 1
    return [(moment, len(met[moment]), items[moment]) for moment in ORDER], idle
