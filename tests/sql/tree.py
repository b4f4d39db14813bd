#!/usr/bin/python3
"""tree.py DSN [SEED] -- a budget of money stops a tree of runs within one call of its limit.

A root and twenty children under one budget, claimed and committed by six sessions at once, each
with planners that die now and then and answers that are lost. A call costs what its model says, which
is within a quarter of what such calls cost before. In each world: what was paid stays below the
limit by less than a call, or passes it by at most one; the books agree with what was paid; all
that is left is suspended; a raised budget lets all go on. Prints TAP.
"""

import random
import sys
import threading
import uuid

import psycopg2
import psycopg2.extras

DSN = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
SESSIONS, CHILDREN, WORLDS, CALL = 6, 20, 2, 1000
psycopg2.extras.register_uuid()

ACCEPT = ("SELECT run_id FROM pawl.accept(NULL,ARRAY['tree'],ARRAY[gen_random_uuid()::text],ARRAY['x'::bytea],ARRAY[%s],ARRAY['t'],ARRAY['tree'],"
          "ARRAY['\"go\"'],ARRAY[NULL],ARRAY[NULL]::timestamptz[],ARRAY[NULL]::timestamptz[],'tree',0,p_micros_max => ARRAY[%s])")
CHILD = ("INSERT INTO pawl.agent_runs (run_id, root_id, parent_id, parent_step, parent_index, revision, agent, tenant, class, due_at, deadline, budgeted) "
         "SELECT pawl.uuid7_at(r.created_at), r.root_id, r.run_id, 1, n, r.revision, r.agent, r.tenant, r.class, clock_timestamp(), r.deadline, r.budgeted "
         "FROM pawl.agent_runs r, generate_series(1, %s) n WHERE r.run_id = %s RETURNING run_id")
COMMIT = ("SELECT item, answer FROM pawl.commit_plans(%s,%s::uuid[],%s::uuid[],%s,%s,%s,%s,%s::bigint[],%s::text[],%s::text[],%s::text[],%s::bigint[],"
          "%s::bigint[],%s::bigint[],%s::bigint[],%s::int[],%s,%s,%s,%s::text[],%s::text[],%s::text[],%s::text[],%s::bigint[],%s::text[],%s::bytea[],%s::text[])")


class Session(threading.Thread):
    def __init__(self, world, number):
        super().__init__()
        self.world, self.number, self.births = world, number, 0
        self.random = random.Random(f"{SEED}/{world.number}/{number}")
        self.db = psycopg2.connect(DSN)
        self.db.autocommit = True
        self.cur = self.db.cursor()
        self.born()

    def ask(self, sql, *args):
        self.cur.execute(sql, args)
        return self.cur.fetchall()

    def born(self):
        self.births += 1
        self.planner = self.ask("SELECT pawl.register(%s,'planner','tree','t',1,1)", f"tree/{self.world.number}/{self.number}.{self.births}")[0][0]

    def look(self):
        """Claims some runs of the tree; answers what there was."""
        runs = self.random.sample(self.world.runs, 4)
        tokens = [uuid.uuid4() for _ in runs]
        claims = self.ask("SELECT item, answer, step, epoch, version FROM pawl.claim_plans(%s,%s::uuid[],%s::uuid[],true)", self.planner, tokens, runs)
        mine = [c for c in claims if c[1] == "yours"]
        if not mine:
            return
        self.world.asked(len(mine))
        if self.random.random() < self.world.deaths:  # nobody will ever know what these cost
            self.ask("SELECT pawl.declare_dead(NULL, ARRAY[%s], ARRAY[0])", self.planner)
            self.born()
            return
        self.commit(mine, runs, tokens)

    def commit(self, mine, runs, tokens):
        n = len(mine)
        costs = [self.random.randint(CALL * 4 // 5, CALL) for _ in mine]
        outcome = [self.random.choice(["calls"] * 5 + ["retry", "handed_back"]) for _ in mine]
        costs = [0 if o == "handed_back" else c for o, c in zip(outcome, costs)]
        column = lambda i: [c[i] for c in mine]  # noqa: E731
        filled = lambda value: [value] * n  # noqa: E731
        args = (self.planner, [tokens[i] for i in column(0)], [runs[i] for i in column(0)], column(2), column(3), column(4), outcome, filled(0), filled("c"),
                filled("e"), filled("m"), costs, filled(0), filled(0), costs, filled(1), list(range(n)), filled(0), filled("function_call"), filled("text"),
                filled(None), filled("c"), filled("look"), filled(None), filled("{}"), filled(b"d"), filled("refused: plan again"))
        answers = [a for _, a in sorted(self.ask(COMMIT, *args))]
        if self.random.random() < 0.2:  # the answer was lost, and is asked for again
            self.ask(COMMIT, *args)
        self.world.paid([c for c, a in zip(costs, answers) if a == "ok"])

    def run(self):
        try:
            while not self.world.over():
                self.look()
        except Exception as e:  # noqa: BLE001 -- any error at all is a finding
            self.world.errors.append(f"session {self.number}: {type(e).__name__}: {e}")


class World:
    def __init__(self, cur, number):
        self.cur, self.number, self.lock = cur, number, threading.Lock()
        self.random = random.Random(f"{SEED}/{number}")
        self.limit = self.random.randint(25, 40) * CALL + self.random.randint(0, CALL)
        self.deaths = [0.05, 0][number % 2]
        self.total, self.calls, self.errors = 0, 0, []
        digest = uuid.uuid5(uuid.NAMESPACE_OID, f"{SEED}/{number}").hex * 2
        self.ask("SELECT * FROM pawl.publish('agent',%s,%s,'{}','tree',3600000,16,NULL,NULL,NULL,NULL,NULL)", f"tree{number}", digest)
        self.root = self.ask(ACCEPT, f"tree{number}", self.limit)[0][0]
        self.runs = [self.root] + [r[0] for r in self.ask(CHILD, CHILDREN, self.root)]

    def ask(self, sql, *args):
        self.cur.execute(sql, args)
        return self.cur.fetchall()

    def asked(self, count):
        with self.lock:
            self.calls += count

    def paid(self, costs):
        with self.lock:
            self.total += sum(costs)

    def over(self):
        """All runs are suspended; those that wait a second for others are let look at once."""
        if self.errors:
            return True
        with self.lock:
            live = self.ask("SELECT count(*) FROM pawl.agent_runs WHERE root_id = %s AND status = 'running'", self.root)[0][0]
            if live:
                self.cur.execute("UPDATE pawl.agent_runs SET not_before = NULL WHERE run_id IN (SELECT run_id FROM pawl.agent_runs "
                                 "WHERE root_id = %s AND not_before IS NOT NULL AND claim_by IS NULL ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED)", (self.root,))
        return live == 0

    def play(self):
        sessions = [Session(self, n) for n in range(SESSIONS)]
        for s in sessions:
            s.start()
        for s in sessions:
            s.join()
            s.db.close()

    def judge(self):
        spent, held, guessed, limit = self.ask("SELECT micros_spent, micros_held, micros_guessed, micros_max FROM pawl.budgets WHERE root_id = %s", self.root)[0]
        largest = CALL * 5 // 4  # what a lost call is taken for
        rows = self.ask("SELECT sum(cost_micros) FROM pawl.agent_runs WHERE root_id = %s", self.root)[0][0]
        wrong = []
        for good, text in ((held == 0, f"{held} are still held"), (spent - guessed == self.total == rows, f"spent {spent} - {guessed}, paid {self.total}, rows {rows}"),
                           (limit <= spent <= limit + largest, f"spent {spent} of {limit}"),
                           (self.ask("SELECT count(*) FROM pawl.agent_runs WHERE root_id = %s AND (status <> 'suspended' OR error_code <> 'budget_exceeded')",
                                     self.root)[0][0] == 0, "not all are suspended")):
            if not good:
                wrong.append(text)
        return wrong + self.errors

    def resume(self):
        self.limit += 10 * CALL
        return self.ask("SELECT answer, runs FROM pawl.resume(%s,NULL,%s,'ann')", self.random.choice(self.runs), self.limit)[0]


def main():
    db = psycopg2.connect(DSN)
    db.autocommit = True
    cur = db.cursor()
    cur.execute("UPDATE pawl.settings SET deaths_max = 1000000, death_backoff_ms = 0")
    print(f"1..{WORLDS}")
    failed = 0
    for number in range(WORLDS):
        world = World(cur, number)
        world.play()
        wrong = world.judge()
        if not wrong:
            answer = world.resume()
            if answer != ("resumed", CHILDREN + 1):
                wrong.append(f"resume: {answer}")
            world.play()
            wrong += world.judge()
        failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number + 1} - {world.calls} calls of {CHILDREN + 1} runs in {SESSIONS} sessions stop within one call of "
              f"{world.limit}, twice (seed {SEED})")
        for text in wrong:
            print(f"# {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
