"""walk_tasks.py -- what the daemons of walk.py do: their statements, and what they make of the answers.

Each statement is built first and run later, so that the walk can run two of them at once. Whatever
the database answers is shown to the judge; the process may lose the answer all the same, and asks
again with the same token.
"""

import hashlib
from dataclasses import dataclass
from typing import Callable

from walk_world import TOOLS, Request


@dataclass
class Statement:
    text: str
    sql: str
    args: tuple
    apply: Callable  # (rows, lost), after the judge's look
    tasks: list
    note: Callable = None  # (task, row), before it


def of(things, *names):
    """The members of this name of all, as an array; for more names more arrays."""
    columns = [[getattr(thing, name) for thing in things] for name in names]
    return columns[0] if len(names) == 1 else columns


def digest(args):
    return hashlib.sha256(args.encode()).digest() if args else None


# ---------------------------------------------------------------------------- planning


def claim_plans(world, judge, process, tasks):
    for task in tasks:
        task.token = task.token or world.token()

    def apply(rows, lost):
        for row in rows:
            task = tasks[row.item]
            judge.plan_claimed(task, row)
            if lost:
                continue
            if row.answer == "dead":
                process.told = True
            if row.answer != "yours":
                world.drop_task(task)
                continue
            task.state, task.claim, task.step = "held", row, row.step
            known = process.known.get((task.run, row.epoch), 0) if world.chance(0.5) else 0
            known = min(known, row.step - 1)
            task.claim_known = known
            judge.prompt_read(task, known, world.ask("SELECT * FROM pawl.read_steps(%s::uuid[],%s)", [task.run], [known]))

    return Statement("claim " + " ".join(map(str, tasks)), "SELECT * FROM pawl.claim_plans(%s,%s::uuid[],%s::uuid[],%s)",
                     (process.worker, *of(tasks, "token", "run"), tasks[0].alone), apply, tasks)


def think(world, task, ending=False):
    """The model's answer."""
    dice, step = world.random.random(), task.claim.step
    if task.stopping or dice < 0.04:
        return task.end("handed_back")
    if dice < 0.10 and not ending:
        return task.end("retry", code="overloaded", retry_ms=world.random.choice([0, 700, 4000, 90000]))
    if dice < 0.11 and not ending:
        return task.end("fail", code="refused_by_model")
    text = {"type": "text", "content": f"{task.run} {step} {task.token}"}
    if world.chance(0.7 if ending else world.final * step):
        task.items = [text]
        return task.end("final")
    task.items = [text] if world.chance(0.2) else []
    for _ in range(world.random.choice(world.calls)):
        tool = world.random.choice(world.tools)
        args = world.random.choice(world.args)
        task.items.append({"type": "function_call", "tool": tool, "args": args, "digest": digest(args), "revision": world.revisions[tool],
                           "call": f"{task.token}.{len(task.items)}", "refused": "not allowed" if world.chance(0.08) else None})
    return task.end("calls")


def plan_rings(world, task, row):
    """The doorbells after a commit."""
    if row.open_calls:
        world.doorbells += [(task.run, task.claim.step, i) for i, item in enumerate(task.items)
                            if item["type"] == "function_call" and not item["refused"]]
    if row.next_step:
        world.doorbells.append((task.run, row.next_step, -1))


def item_columns(tasks):
    rows = [(n, i, item) for n, t in enumerate(tasks) for i, item in enumerate(t.items)]
    names = ("type", "content", "raw", "call", "tool", "revision", "args", "digest", "refused")
    return [[r[0] for r in rows], [r[1] for r in rows]] + [[r[2].get(name) for r in rows] for name in names]


def commit_plans(world, judge, process, tasks):
    def apply(answers, lost):
        for row in answers:
            task = tasks[row.item]
            judge.plan_committed(task, row)
            task.committed = True
            if lost:
                continue
            world.drop_task(task)
            if row.answer in ("ok", "done"):
                plan_rings(world, task, row)
                if task.outcome == "calls":
                    process.known[(task.run, task.claim.epoch)] = task.claim.step

    n = len(tasks)
    args = (process.worker, *of(tasks, "token", "run"), *of(of(tasks, "claim"), "step", "epoch", "version"),
            *of(tasks, "outcome", "retry_ms", "code", "code"), ["m"] * n, [1] * n, [1] * n, [1] * n, [1] * n, [1] * n, *item_columns(tasks))
    return Statement("commit " + " ".join(f"{t}={t.outcome}" for t in tasks),
                     "SELECT * FROM pawl.commit_plans(%s,%s::uuid[],%s::uuid[],%s,%s,%s,%s,%s::bigint[],%s::text[],%s::text[],%s,"
                     "%s::bigint[],%s::bigint[],%s::bigint[],%s::bigint[],%s,%s::int[],%s::int[],%s::text[],%s::text[],%s::text[],"
                     "%s::text[],%s::text[],%s::bigint[],%s::text[],%s::bytea[],%s::text[])", args, apply, tasks, judge.plan_noted)


# ---------------------------------------------------------------------------- calling


def claim_actions(world, judge, process, tasks):
    for task in tasks:
        task.token = task.token or world.token()
        task.asked_at = world.time if task.asked_at is None else task.asked_at

    def apply(rows, lost):
        for row in rows:
            task = tasks[row.item]
            judge.call_claimed(task, row)
            if lost:
                continue
            if row.answer == "dead":
                process.told = True
            if row.answer == "yours":
                task.state, task.claim = "held", row
                task.send_by = world.time + row.send_by_ms / 1000
            else:
                world.drop_task(task)
                if row.ring_plan:
                    world.doorbells.append((task.run, row.ring_plan, -1))

    return Statement("claim " + " ".join(map(str, tasks)),
                     "SELECT * FROM pawl.claim_actions(%s,%s::uuid[],%s::uuid[],%s::int[],%s::int[],%s,'{}')",
                     (process.worker, *of(tasks, "token", "run", "step", "index"), tasks[0].alone), apply, tasks)


def send(world, judge, task):
    """What the holder of a call does: sends it, or finds that it cannot."""
    claim, dice = task.claim, world.random.random()
    if claim.kind == "probe":
        return probe(world, task, dice)
    if task.stopping or world.time >= task.send_by or dice < 0.05:
        return task.end("handed_back", None, "not_sent", 0)
    if dice < 0.05 + world.refuse:
        return task.end("failed_before_effect", None, "not_reached", world.random.choice([0, 500, 2500, None]))
    task.request = Request(claim.tool, claim.arguments, claim.key, world.time)
    world.wire.append(task.request)
    task.state = "sent"
    return judge.sent(task)


def probe(world, task, dice):
    """The tool's read-back URL: the truth at this moment."""
    found = world.executions(task.claim.key)
    if task.stopping or dice < 0.15:
        task.end("probe_failed", None, "probe_failed", world.random.choice([0, 500, 2000]))
    elif dice < 0.25:
        task.end("unsure", None, "probe_unsure")
    elif found:
        task.end("happened", f"exec:{found[0]}")
    else:
        task.end("did_not_happen", None, "did_not_happen", 0)


def answer(world, task):
    """Something becomes of a request: it arrives, it is answered, it is cut."""
    request = task.request
    if request.executed is None and world.chance(0.6):
        return world.arrive(request)
    if request in world.wire:
        world.wire.remove(request)
    if world.chance(world.tear):
        return world.cut(task)
    if request.executed is not None and not world.chance(world.error):
        return task.end("succeeded", f"exec:{request.executed}")
    repeatable = TOOLS[request.tool][0] != "once"
    return task.end("failed", "no such thing", "http_500", world.random.choice([0, 800, None]) if repeatable else None)


def stop(world, task):
    """The run was ended under it, or the process is told to stop."""
    task.stopping = True
    if task.state != "sent":
        return
    if task.request in world.wire:
        world.wire.remove(task.request)
    if TOOLS[task.claim.tool][0] == "read_only":
        task.end("handed_back", None, "cancelled", 0)
    else:
        task.end("unknown", None, "cancelled", None)


def commit_actions(world, judge, process, tasks):
    def apply(rows, lost):
        for row in rows:
            task = tasks[row.item]
            judge.call_committed(task, row)
            task.committed = True
            if lost:
                continue
            world.drop_task(task)
            if row.ring_plan:
                world.doorbells.append((task.run, row.ring_plan, -1))
            if row.ring_index >= 0:
                world.doorbells.append((task.run, task.step, row.ring_index))
            if row.retry_ms >= 0:
                world.doorbells.append((task.run, task.step, task.index))

    args = (process.worker, *of(tasks, "token", "run", "step", "index"), of(of(tasks, "claim"), "version"),
            *of(tasks, "outcome", "result", "code", "code", "retry_ms"), [1] * len(tasks))
    return Statement("commit " + " ".join(f"{t}={t.outcome}" for t in tasks),
                     "SELECT * FROM pawl.commit_actions(%s,%s::uuid[],%s::uuid[],%s,%s,%s,%s,%s::text[],%s::text[],%s::text[],"
                     "%s::bigint[],%s)", args, apply, tasks, judge.call_noted)


def statement_of(world, judge, task, others=()):
    """The statement that this task needs next, with others of its process that need the same."""
    tasks = [task, *others]
    if task.index < 0:
        return (claim_plans if task.state == "ask" else commit_plans)(world, judge, task.process, tasks)
    return (claim_actions if task.state == "ask" else commit_actions)(world, judge, task.process, tasks)

