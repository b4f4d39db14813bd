#!/usr/bin/python3
"""walk.py DSN [SEED [WORLDS [EVENTS]]] -- random walks through the protocol, judged by its promises.

A world has a few planners, executors, tools of every policy, people and runs. At every step one
event happens: a doorbell comes, twice or never; a statement goes through and its answer is lost; a
tool runs before or after its caller gave up; a process dies, or is declared dead while it lives; a
person cancels, retries, decides, lies. After each the judge looks at everything. At the end all
faults stop, time passes, and every run must end as promised.

Prints TAP. World n of seed S is world 0 of seed S + n, so that what failed is walked again alone:
walk.py DSN SEED 1. With SQL_WALK_TRACE=1 every event of it is printed.
"""

import collections
import os
import random
import sys
import threading
import time

import psycopg2

import walk_tasks
from walk_judge import Broken, Judge, logical
from walk_world import AGENTS, ASK, BEGINNING, SLOTS, TOOLS, Task, World, drop, load

DSN = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
WORLDS = int(sys.argv[3]) if len(sys.argv) > 3 else 24
EVENTS = int(sys.argv[4]) if len(sys.argv) > 4 else 250
SECONDS = 25  # then no further world is begun, unless their number was asked for
RUNS, SECONDS_TO_END = 5, 400


class Walk:
    def __init__(self, name, seed):
        self.world = World(DSN, name, seed)
        self.judge = Judge(self.world)
        self.random = self.world.random
        self.count = collections.Counter()
        self.ending = False
        self.requests, self.agents = 0, {}
        self.weights = {what: weight * self.random.choice([0.3, 1, 1, 3]) for what, weight in (
            (self.step, 46), (self.ring, 14), (self.look_for_due, 8), (self.time_passes, 9), (self.accept, 4), (self.beat, 4), (self.death, 4),
            (self.restart, 5), (self.decide, 3), (self.announce, 2), (self.admit, 3), (self.retry, 1.5), (self.cancel, 2.5), (self.publish, 0.5))}
        for slot in range(self.random.choice([2, 3])):
            self.world.start("planner", slot)
        for slot in range(self.random.choice([2, 3])):
            self.world.start("executor", slot)

    # ------------------------------------------------------------------ statements

    def do(self, statement, lost=None):
        """One statement; its answer may be lost on the way back."""
        world = self.world
        lost = not self.ending and world.chance(world.lose) if lost is None else lost
        world.say(statement.text + (" (answer lost)" if lost else ""))
        rows = world.ask(statement.sql, *statement.args)
        self.told(statement, rows, lost)
        return rows

    def told(self, statement, rows, lost):
        self.world.say("  -> " + " ".join(f"{getattr(r, 'answer', '')}" for r in rows))
        for row in rows if statement.note else ():
            statement.note(statement.tasks[row.item], row)
        self.judge.look()
        statement.apply(rows, lost)

    def together(self, one, two):
        """Two sessions at once: the second begins before the first commits."""
        world, got = self.world, []
        world.say("together: " + one.text + " | " + two.text)
        world.ask("BEGIN; SELECT 1")
        rows = world.ask(one.sql, *one.args)
        self.told(one, rows, False)

        def other():
            try:
                got.append(world.ask(two.sql, *two.args, session=1))
            except psycopg2.Error as e:
                got.append(e)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.004)
        world.sessions[0][1].execute("COMMIT")
        thread.join()
        if isinstance(got[0], psycopg2.Error):
            raise got[0]
        self.told(two, got[0], False)

    def simply(self, text, sql, *args):
        """A statement whose answer concerns nobody's task."""
        self.world.say(text)
        rows = self.world.ask(sql, *args)
        self.judge.look()
        return rows

    # ------------------------------------------------------------------ requests and people

    def accept(self):
        if self.requests >= RUNS and not self.world.chance(0.05):
            return
        fresh = self.requests == 0 or (self.requests < RUNS and self.world.chance(0.8))
        n = self.requests if fresh else self.random.randrange(self.requests)
        self.requests += fresh
        agent = self.agents.setdefault(n, self.random.choice(["plain", "plain", "narrow", "pair", "brief"]))
        ids = [str(n)] * self.random.choice([1, 1, 2])
        k = len(ids)
        rows = self.simply(f"accept {ids}", "SELECT * FROM pawl.accept(NULL,%s,%s,%s::bytea[],%s,%s,%s,%s,%s::text[],%s::timestamptz[],"
                           "%s::timestamptz[],'walk',2000)", ["walk"] * k, ids, [b"x"] * k, [agent] * k, ["tu"[n % 2]] * k, ["default"] * k,
                           ['"go"'] * k, [None] * k, [None] * k, [None] * k)
        answers = sorted(r.answer.replace("queued", "accepted") for r in rows)
        if answers != sorted((["accepted"] if fresh else ["duplicate"]) + ["duplicate"] * (k - 1)):
            raise Broken(f"accept of {ids} answers {answers}")
        if len({r.run_id for r in rows} | {self.judge.accepted.setdefault(n, rows[0].run_id)}) != 1:
            raise Broken(f"accept of {ids} made two runs")
        self.world.doorbells.append((rows[0].run_id, 1, -1))

    def admit(self):
        """A planner gives free places to runs that wait for one."""
        for row in self.simply("admit", "SELECT * FROM pawl.admit('default', %s)", self.random.choice([1, 2, 100])):
            if row.run_id:
                self.world.say(f"  -> {str(row.run_id)[-4:]}")
                self.world.doorbells.append((row.run_id, row.step, -1))

    def pick_run(self, live):
        runs = [r for r in self.judge.runs.values() if (r.ended_at is None) == live]
        return self.random.choice(sorted(runs, key=lambda r: r.run_id)) if runs else None

    def cancel(self):
        run = self.pick_run(live=True)
        if run and self.world.chance(0.5):
            self.simply(f"cancel {str(run.run_id)[-4:]}", "SELECT * FROM pawl.cancel(%s::uuid[],'ann',NULL)", [run.run_id, run.run_id])

    def retry(self):
        run = self.pick_run(live=False)
        if not run:
            return
        step = self.random.choice([None, *range(1, run.step + 1)])
        self.judge.retried = {run.run_id}
        row = self.simply(f"retry {str(run.run_id)[-4:]} from {step}", "SELECT * FROM pawl.retry(%s,%s,'ann')", run.run_id, step)[0]
        self.world.say("  -> " + row.answer)
        if row.answer == "retried":
            self.world.doorbells.append((run.run_id, row.step, -1))

    def decide(self):
        """A person looks at the tool's books and says what is true at this moment, or lies."""
        world, judge = self.world, self.judge
        waiting = [a for a in judge.newest.values() if a.open and a.status == "awaiting_decision"]
        if not waiting:
            return
        a = self.random.choice(sorted(waiting, key=lambda x: (x.run_id, x.index)))
        call, doubts = logical(a), set()
        judge.before_actions = judge.actions
        doubts = judge.doubts(a.run_id, a.tool, judge.args_of(call))
        keys = {a.key} | {judge.newest[d].key for d in doubts}
        truth = any(world.executions(k) for k in (keys if a.claim_by is None else {a.key}))
        happened = truth if world.chance(0.93) or self.ending else not truth
        row = self.simply(f"decide {str(a.run_id)[-4:]} {a.step}.{a.index}: {happened}",
                          "SELECT * FROM pawl.decide(%s,%s,%s,%s,'person','ann')", a.run_id, a.step, a.index, happened)[0]
        world.say(f"  -> {row.answer} {row.detail}")
        if row.answer != "decided":
            if happened or row.answer != "early":
                raise Broken(f"decide: {row}")
            return
        if happened != truth:
            world.lies |= keys
        judge.decided(call, happened, doubts)
        world.doorbells.append((a.run_id, a.step, a.index))
        if row.next_step:
            world.doorbells.append((a.run_id, row.next_step, -1))

    def publish(self):
        kind = self.random.choice(["tool", "agent"])
        name = self.random.choice(sorted(TOOLS if kind == "tool" else AGENTS))
        self.world.say(f"publish {kind} {name}")
        self.world.publish(kind, name)

    def announce(self):
        """Somebody announces what is due to be; sometimes it dies before the broker's answer is noted."""
        world = self.world
        ids = [r[0] for r in world.ask("SELECT * FROM pawl.take_announcements(NULL, %s)", self.random.choice([1, 3, 100]))]
        if not ids:
            return
        world.say(f"announce {ids}")
        for row in world.ask("SELECT id, run_id, type, epoch, error_code, answer FROM pawl.read_announcements(%s::bigint[])", ids):
            self.judge.announced(row)
        if self.ending or world.chance(0.8):
            world.ask("SELECT pawl.announce(%s::bigint[])", ids)

    # ------------------------------------------------------------------ work

    def begin(self, process, run, step, index, alone=False):
        """A process takes up a doorbell, if it has a place for it."""
        if (process.kind == "planner") != (index < 0) or not process.open or len(process.tasks) >= SLOTS:
            return
        if any(t.alone for t in process.tasks) or (alone and process.tasks):
            return
        if index < 0 and any(t.run == run for t in process.tasks):
            return
        process.tasks.append(Task(process, run, step, index, alone))

    def ring(self):
        world = self.world
        if not world.doorbells:
            return
        n = self.random.randrange(len(world.doorbells))
        bell = world.doorbells[n]
        if world.chance(0.9):  # else it comes once more
            world.doorbells.pop(n)
        if world.chance(0.1):
            return world.say(f"doorbell {bell} is lost")
        processes = world.living("planner" if bell[2] < 0 else "executor")
        if processes:
            self.begin(self.random.choice(processes), *bell)

    def look_for_due(self, process=None):
        world = self.world
        if process is None:
            process = self.random.choice(world.living() or [None])
        if process is None or not process.open:
            return
        limit = self.random.choice([1, 2, 100])
        rows = self.simply(f"{process.name} looks for due work", "SELECT * FROM pawl.claim_due(%s,%s,'default',%s)",
                           process.worker, process.kind, limit)
        world.say("  -> " + " ".join(f"{r.what} {str(r.run_id)[-4:]}:{r.step}.{r.index}{' alone' if r.alone else ''}" for r in rows))
        for r in rows:
            if r.what != "moved":
                self.begin(process, r.run_id, r.step, r.index, r.alone)

    def step(self, task=None):
        """One task goes one step on."""
        tasks = self.world.tasks()
        if not tasks:
            return None
        task = task or self.random.choice(tasks)
        if task.state == "held":
            return self.work(task)
        if task.state == "sent":
            return walk_tasks.answer(self.world, task)
        if task.process.told and task.state == "ask":
            return self.world.drop_task(task)
        return self.talk(task, tasks)

    def work(self, task):
        """What is between the claim and the commit."""
        world = self.world
        if task.index < 0 and task.process.told:
            return world.drop_task(task)
        task.stopping = task.stopping or task.process.told
        if task.index < 0:
            walk_tasks.think(world, task, self.ending)
        else:
            walk_tasks.send(world, self.judge, task)
        return world.say(f"{task}: {task.outcome}")

    def talk(self, task, tasks):
        """A claim or a commit, with others of its process in one batch, sometimes against those of another."""
        world, judge = self.world, self.judge
        others = [t for t in task.process.tasks if t is not task and (t.state, t.alone) == (task.state, task.alone)]
        if not self.ending:
            others = self.random.sample(others, self.random.randrange(len(others) + 1))
        mine = walk_tasks.statement_of(world, judge, task, others)
        rivals = [t for t in tasks if t.process is not task.process and t.state in ("ask", "commit") and t.run == task.run]
        if rivals and world.chance(0.25):
            self.count["together"] += 1
            return self.together(mine, walk_tasks.statement_of(world, judge, self.random.choice(rivals)))
        return self.do(mine)

    # ------------------------------------------------------------------ life and death

    def bury(self, process):
        rows = self.simply(f"{process.name} is declared dead{' though it lives' if process.alive else ''}",
                           "SELECT * FROM pawl.declare_dead(NULL, ARRAY[%s]::bigint[], ARRAY[(SELECT beat FROM pawl.workers WHERE incarnation = %s)])",
                           process.worker, process.worker)
        process.buried = True
        if rows[0].answer not in ("dead", "gone"):
            raise Broken(f"declare_dead answers {rows}")

    def death(self):
        world, dice = self.world, self.random.random()
        busy = [t.process for t in world.tasks() if t.state in ("held", "sent")]
        process = self.random.choice(busy if busy and world.chance(0.6) else world.processes[-8:])
        if not process.alive:
            return None if process.buried else self.bury(process)
        if dice < 0.4:
            world.say(f"{process.name} dies with {process.tasks}")
            return world.kill(process)
        if dice < 0.85 and not process.buried:
            return self.bury(process)
        return self.leave(process) if not process.buried else None

    def leave(self, process):
        if not process.leaving and not process.buried:
            self.world.say(f"{process.name} is asked to leave")
            self.world.ask("SELECT pawl.leave(%s)", process.worker)
        process.leaving = True
        if not process.tasks or (not self.ending and self.world.chance(0.3)):
            self.simply(f"{process.name} leaves with {process.tasks}", "SELECT pawl.hand_back(%s)", process.worker)
            process.buried = True
            self.world.kill(process)

    def restart(self):
        """Whoever has fallen is started again, as a new incarnation in its place."""
        world = self.world
        places = {(p.kind, p.slot): p for p in world.processes}
        for process in places.values():
            if process.alive and process.leaving and not process.tasks:
                self.leave(process)
            if process.told and not process.tasks:
                world.kill(process)
            if not process.alive:
                world.say(f"{world.start(process.kind, process.slot).name} starts")

    def beat(self, process=None):
        world = self.world
        process = process or self.random.choice(world.living() or [None])
        if process is None:
            return
        rows = world.ask("SELECT * FROM pawl.heartbeat(%s,%s)", process.worker, len(process.tasks))
        for row in rows:
            if row.what == "self" and row.state in ("dead", "gone"):
                process.told = True
            if row.what == "cancel":
                self.cancelled(process, row)

    def cancelled(self, process, row):
        world, mine = self.world, False
        for task in list(process.tasks):
            if (task.run, task.step, task.index) == (row.run_id, row.step, row.index) and task.state in ("held", "sent", "commit"):
                world.say(f"{task} is told of its cancel")
                walk_tasks.stop(world, task)
                mine = True
        if row.index < 0 and not mine:  # a commit of nothing takes it away
            world.ask("SELECT 1 FROM pawl.commit_plans(%s,ARRAY[%s]::uuid[],ARRAY[%s]::uuid[],ARRAY[%s],ARRAY[0],ARRAY[0],ARRAY['handed_back'],"
                      "'{0}','{x}','{x}','{x}','{0}','{0}','{0}','{0}','{0}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}')",
                      process.worker, world.token(), row.run_id, row.step)

    def time_passes(self):
        if self.world.chance(0.1) and any(r.status == "suspended" for r in self.judge.runs.values()):
            return self.world.pass_time(ASK)
        return self.world.pass_time(self.random.choice([0.05, 0.3, 0.3, 1.0, 1.0, 2.5, 6.0]) if self.world.chance(0.97) else
                                    self.random.choice([20.0, ASK, 700.0]))

    # ------------------------------------------------------------------ the walk

    def event(self):
        what = self.random.choices(list(self.weights), self.weights.values())[0]
        self.count[what.__name__] += 1
        self.world.time += self.random.random() * 0.05
        what()

    def run(self, events):
        for _ in range(events):
            self.event()
        self.calm()
        self.judge.finish()

    def calm(self):
        """No fault happens any more and no doorbell rings: the runs must end all the same."""
        world = self.world
        self.ending = True
        world.say("---- calm")
        sleepy = world.chance(0.3)  # nobody decides
        end = world.time + SECONDS_TO_END
        self.calm_second(sleepy)
        while world.time < end and not self.is_over():
            self.calm_second(sleepy)
        self.judge.look()
        for run in self.judge.runs.values():
            self.nothing_is_held(run)
        world.pass_time(11)
        while world.ask("SELECT 1 FROM pawl.announcements"):
            self.announce()
            world.pass_time(1)

    def is_over(self):
        return not self.world.tasks() and not self.world.wire and all(r.ended_at for r in self.judge.runs.values())

    def calm_second(self, sleepy):
        world = self.world
        world.doorbells.clear()
        for process in world.processes:
            if not process.alive and not process.buried:
                self.bury(process)
        for process in world.living():
            self.beat(process)
        for _ in range(12):
            for task in world.tasks():
                if task in task.process.tasks:
                    self.step(task)
        self.restart()
        self.admit()
        for process in world.living():
            self.look_for_due(process)
        if not sleepy:
            self.decide()
        world.pass_time(1.0)

    def nothing_is_held(self, run):
        """An ended run could be retried: no call of it counts as still running."""
        world = self.world
        world.ask("BEGIN; SELECT 1")
        row = world.ask("SELECT * FROM pawl.retry(%s,NULL,'ann')", run.run_id)[0]
        world.sessions[0][1].execute("ROLLBACK")
        if run.ended_at and row.answer != "retried":
            raise Broken(f"all is quiet, but a retry of {run} answers {row}")


def walk(name, seed):
    """One world; answers how it failed, or None."""
    it = Walk(name, seed)
    failure = None
    try:
        it.run(EVENTS)
    except (Broken, psycopg2.Error) as e:
        failure = f"{type(e).__name__}: {str(e).partition('CONTEXT')[0]}"
    finally:
        if os.environ.get("SQL_WALK_TRACE") or (failure and not os.environ.get("SQL_WALK_QUIET")):
            tail = it.world.trace if os.environ.get("SQL_WALK_TRACE") else it.world.trace[-40:]
            print("\n".join("# " + line[:300] for line in tail))
        it.world.close()
    return failure, it


def main():
    name = f"walk_{os.getpid()}"
    load(DSN, name).close()
    began, failures, events, ends = time.monotonic(), [], 0, collections.Counter()
    worlds = 0
    try:
        for n in range(WORLDS):
            if len(sys.argv) <= 3 and time.monotonic() - began > SECONDS:
                break
            failure, it = walk(name, SEED + n)
            worlds += 1
            events += it.judge.looks
            ends.update(it.judge.ends.values())
            if failure:
                failures.append((SEED + n, failure))
    finally:
        drop(DSN, name)
    print("1..1")
    print(f"{'not ok' if failures else 'ok'} 1 - {worlds} worlds, {events} looks of the judge, {dict(ends)}: every promise was kept (seed {SEED})")
    for seed, failure in failures:
        print(f"# seed {seed}: " + failure.replace("\n", "\n# ")[:2000])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
