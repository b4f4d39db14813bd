#!/usr/bin/python3
"""race.py DSN [ITEMS] -- the protocol under contention, judged afterwards.

Eight sessions claim and commit plans and calls of the same runs in batches of
64 in random order, mixed with bad items, deaths, cancels and looks for due
work.  Then the tables are asked whether every promise held.  Prints TAP.
"""
import random
import sys
import threading
import uuid

import psycopg2
import psycopg2.extras

DSN = sys.argv[1]
ITEMS = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
SESSIONS, BATCH, RUNS, PLACES, STEPS, CALLS = 8, 64, 1200, 1000, 8, 2
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 30)

psycopg2.extras.register_uuid()
items = 0
errors = []
ledger = []  # (run, step, index) of every call "sent": a claim answered `yours`
lock = threading.Lock()


class Session(threading.Thread):
    def __init__(self, number):
        super().__init__()
        self.random = random.Random(SEED * 100 + number)
        self.number = number
        self.db = psycopg2.connect(DSN)
        self.db.autocommit = True
        self.cur = self.db.cursor()
        self.generation = 0
        self.born()

    def ask(self, sql, *args):
        self.cur.execute(sql, args)
        return self.cur.fetchall()

    def born(self):
        self.generation += 1
        name = f"race/{self.number}.{self.generation}"
        self.planner = self.ask("SELECT pawl.register(%s,'planner','race','t',1,1)", name)[0][0]
        self.executor = self.ask("SELECT pawl.register(%s,'executor','race','t',1,1)", name)[0][0]

    def die(self):
        """Another session declares this one's workers dead."""
        self.ask("SELECT pawl.declare_dead(NULL, ARRAY[%s,%s]::bigint[], ARRAY[0,0]::bigint[])", self.planner, self.executor)
        self.born()

    def plans(self):
        runs = self.random.sample(self.all, BATCH - 2) + [uuid.uuid4(), None]  # two that do not exist
        self.random.shuffle(runs)
        tokens = [uuid.uuid4() for _ in runs]
        answers = self.ask("SELECT item, answer, step, epoch, version FROM pawl.claim_plans(%s,%s::uuid[],%s::uuid[],false)",
                           self.planner, tokens, runs)
        mine = [a for a in answers if a[1] == "yours"]
        if self.random.random() < 0.02:
            self.die()
            return len(runs)
        self.commit_plans(mine, tokens, runs)
        return len(runs) + len(mine)

    def plan_rows(self, mine):
        """(place, index, type) of the items of these plans; sometimes one that no row can take."""
        rows = []
        for place, claim in enumerate(mine):
            last = claim[2] >= STEPS
            rows += [[place, k, "text" if last else "function_call"] for k in range(1 if last else CALLS)]
        if self.random.random() < 0.2:
            self.random.choice(rows)[2] = "nonsense"
        return rows

    def commit_plans(self, mine, tokens, runs):
        if not mine:
            return
        n, rows = len(mine), self.plan_rows(mine)
        column = lambda i: [a[i] for a in mine]  # noqa: E731
        filled = lambda value: [value] * len(rows)  # noqa: E731
        place, index, kind = zip(*rows)
        self.ask(
            "SELECT * FROM pawl.commit_plans(%s,%s::uuid[],%s::uuid[],%s,%s,%s,%s,%s::bigint[],%s::text[],%s::text[],%s::text[],"
            "%s::bigint[],%s::bigint[],%s::bigint[],%s::bigint[],%s::int[],%s,%s,%s,%s::text[],%s::text[],%s::text[],%s::text[],"
            "%s::bigint[],%s::text[],%s::bytea[],%s::text[])",
            self.planner, [tokens[i] for i in column(0)], [runs[i] for i in column(0)], column(2), column(3), column(4),
            ["final" if step >= STEPS else "calls" for step in column(2)], *[[None] * n] * 4, *[[1] * n] * 5,
            list(place), list(index), list(kind), filled("text"), filled(None), filled("c"), filled("look"), filled(self.tool),
            filled("{}"), filled(b"d"), filled(None))

    def claim_calls(self, spots, tokens):
        runs, steps, indexes = zip(*spots)
        answers = self.ask(
            "SELECT item, answer, version, kind FROM pawl.claim_actions(%s,%s::uuid[],%s::uuid[],%s::int[],%s::int[],false,'{}')",
            self.executor, tokens, list(runs), list(steps), list(indexes))
        mine = [a for a in answers if a[1] == "yours" and a[3] == "call"]
        with lock:
            ledger.extend((spots[a[0]], a[2]) for a in mine)
        return mine

    def commit_calls(self, mine, spots, tokens):
        n = len(mine)
        runs, steps, indexes = zip(*[spots[a[0]] for a in mine])
        outcome = [self.random.choice(["succeeded"] * 12 + ["failed_before_effect", "nonsense"]) for _ in mine]
        commit = ("SELECT item, answer FROM pawl.commit_actions(%s,%s::uuid[],%s::uuid[],%s,%s,%s,%s,%s,%s::text[],%s::text[],"
                  "%s::bigint[],%s)")
        args = (self.executor, [tokens[a[0]] for a in mine], list(runs), list(steps), list(indexes), [a[2] for a in mine],
                outcome, ["result"] * n, [None] * n, [None] * n, [0] * n, [1] * n)
        self.ask(commit, *args)
        if self.random.random() < 0.1:  # the answer was lost: asked again, and the bad ones mended
            outcome[:] = ["succeeded" if o == "nonsense" else o for o in outcome]
            self.ask(commit, *args)

    def calls(self):
        spots = [(r, s, k) for r, s in self.random.sample(self.where, min(BATCH // 2, len(self.where))) for k in range(CALLS)]
        self.random.shuffle(spots)
        tokens = [uuid.uuid4() for _ in spots]
        mine = self.claim_calls(spots, tokens)
        if self.random.random() < 0.02:
            self.die()
            return len(spots)
        if mine:
            self.commit_calls(mine, spots, tokens)
        return len(spots) + len(mine)

    def run(self):
        global items
        try:
            while items < ITEMS:
                dice = self.random.random()
                if dice < 0.02:
                    self.ask("SELECT * FROM pawl.claim_due(%s,%s,'race',64)", self.executor, self.random.choice(["planner", "executor"]))
                    done = 64
                elif dice < 0.03:
                    done = len(self.ask("SELECT * FROM pawl.admit('race', 64)"))
                elif dice < 0.035:
                    self.ask("SELECT * FROM pawl.cancel(%s::uuid[],'race',NULL)", self.random.sample(self.all, 3))
                    done = 3
                else:
                    self.where = self.ask("SELECT run_id, step FROM pawl.agent_runs WHERE open_calls > 0 LIMIT 400")
                    done = self.calls() if self.where and self.random.random() < 0.6 else self.plans()
                with lock:
                    items += done
        except Exception as e:  # noqa: BLE001 -- any error at all is a finding
            errors.append(f"session {self.number}: {type(e).__name__}: {e}")
            items = ITEMS


def prepare():
    db = psycopg2.connect(DSN)
    db.autocommit = True
    cur = db.cursor()
    cur.execute("SELECT seq FROM pawl.publish('tool','look',repeat('e',64),'{}','race',NULL,NULL,'idempotent','tell_model',1000,5,1)")
    tool = cur.fetchone()[0]
    cur.execute("SELECT * FROM pawl.publish('agent','race',repeat('f',64),'{}','race',3600000,16,NULL,NULL,NULL,NULL,NULL)")
    cur.execute("UPDATE pawl.settings SET deaths_max = 1000000, death_backoff_ms = 0, class_places = %s", (PLACES,))
    return cur, tool


def more_runs(cur, n):
    ids = [str(uuid.uuid4()) for _ in range(n)]
    cur.execute("SELECT run_id FROM pawl.accept(NULL,%s,%s,%s::bytea[],%s,%s,%s,%s,%s::text[],%s::timestamptz[],%s::timestamptz[],'race',0)",
                (["race"] * n, ids, [b"x"] * n, ["race"] * n, random.choices("tu", k=n), ["race"] * n, ['"go"'] * n, [None] * n, [None] * n, [None] * n))
    return [r[0] for r in cur.fetchall()]


CHECKS = [
    ("no item has two final results", "SELECT count(*) FROM (SELECT 1 FROM pawl.agent_actions WHERE status = 'succeeded' "
     "GROUP BY run_id, step, index, epoch, plan_version HAVING count(*) > 1) x"),
    ("one key per logical call", "SELECT count(*) FROM (SELECT 1 FROM pawl.agent_actions GROUP BY run_id, step, index, epoch, plan_version "
     "HAVING count(DISTINCT key) > 1) x"),
    ("nothing is sent after its success", "SELECT count(*) FROM pawl.agent_actions a JOIN pawl.agent_actions b USING (run_id, step, index, epoch, plan_version) "
     "WHERE a.status = 'succeeded' AND b.version > a.version"),
    ("open_calls counts the calls without a final result",
     "SELECT count(*) FROM pawl.agent_runs r WHERE r.ended_at IS NULL AND r.open_calls > 0 AND r.open_calls <> ("
     "SELECT count(*) FROM pawl.agent_step_content c WHERE c.run_id = r.run_id AND c.step = r.step AND c.version = r.version "
     "AND c.type = 'function_call' AND NOT EXISTS (SELECT FROM pawl.agent_actions x WHERE x.run_id = c.run_id AND x.step = c.step "
     "AND x.index = c.index AND x.plan_version = c.version AND NOT x.open AND x.version = (SELECT max(y.version) FROM pawl.agent_actions y "
     "WHERE y.run_id = x.run_id AND y.step = x.step AND y.index = x.index)))"),
    ("no step was advanced without its results",
     "SELECT count(*) FROM pawl.agent_runs r JOIN pawl.agent_step_content c ON c.run_id = r.run_id AND c.step < r.step AND c.type = 'function_call' "
     "AND c.version = (SELECT max(v.version) FROM pawl.agent_step_content v WHERE v.run_id = c.run_id AND v.step = c.step) "
     "WHERE NOT EXISTS (SELECT FROM pawl.agent_actions x WHERE x.run_id = c.run_id AND x.step = c.step AND x.index = c.index AND x.plan_version = c.version AND NOT x.open)"),
    ("what anybody could take is due", "SELECT count(*) FROM pawl.agent_runs r WHERE r.status = 'running' AND r.open_calls = 0 AND r.claim_by IS NULL "
     "AND coalesce(r.due_at > clock_timestamp() + interval '4 s', true)"),
    ("and so are calls that nobody holds", "SELECT count(*) FROM pawl.agent_runs r JOIN pawl.agent_step_content c ON c.run_id = r.run_id AND c.step = r.step "
     "AND c.version = r.version AND c.type = 'function_call' WHERE r.open_calls > 0 AND coalesce(r.due_at > clock_timestamp() + interval '4 s', true) "
     "AND NOT EXISTS (SELECT FROM pawl.agent_actions x WHERE x.run_id = c.run_id AND x.step = c.step AND x.index = c.index AND x.plan_version = c.version "
     "AND (x.status = 'running' OR NOT x.open) AND x.version = (SELECT max(y.version) FROM pawl.agent_actions y "
     "WHERE y.run_id = x.run_id AND y.step = x.step AND y.index = x.index))"),
    ("what waits for a place falls due with its deadline",
     "SELECT count(*) FROM pawl.agent_runs r WHERE r.status = 'queued' AND r.due_at IS DISTINCT FROM r.deadline"),
    ("places are counted as they are held",
     "SELECT count(*) FROM (SELECT class, tenant, count(*) FILTER (WHERE status = 'running') AS r, count(*) FILTER (WHERE status = 'queued') AS q "
     "FROM pawl.agent_runs GROUP BY 1, 2) a FULL JOIN pawl.tenant_load b USING (class, tenant) "
     "WHERE (coalesce(a.r, 0), coalesce(a.q, 0)) <> (coalesce(b.running, 0), coalesce(b.queued, 0))"),
    # a full class still gives to who has less than its share: there are two tenants
    ("no more runs hold places than there are, and one share beyond them",
     f"SELECT greatest(0, count(*) - {PLACES + PLACES // 2}) FROM pawl.agent_runs WHERE status = 'running' AND class = 'race'"),
    ("every end is announced", "SELECT count(*) FROM pawl.agent_runs r WHERE r.ended_at IS NOT NULL AND NOT EXISTS "
     "(SELECT FROM pawl.announcements n WHERE n.run_id = r.run_id AND n.type = r.status)"),
]


def main():
    cur, tool = prepare()
    sessions = [Session(i) for i in range(SESSIONS)]
    Session.all, Session.tool = more_runs(cur, RUNS), tool
    for s in sessions:
        s.start()
    while any(s.is_alive() for s in sessions):
        cur.execute("SELECT count(*) FROM pawl.agent_runs WHERE ended_at IS NULL AND agent = 'race'")
        if cur.fetchone()[0] < RUNS // 2:  # keep them busy
            Session.all = Session.all[RUNS // 2:] + more_runs(cur, RUNS // 2)
        sessions[0].join(0.05)
    results = [(f"{ITEMS} items in batches of {BATCH} from {SESSIONS} sessions: no deadlock, no error (seed {SEED})", not errors)]
    results.append(("no claim was given twice", len(ledger) == len(set(ledger)) and len(ledger) > 0))
    for name, sql in CHECKS:
        cur.execute(sql)
        results.append((name, cur.fetchone()[0] == 0))
    print(f"1..{len(results)}")
    for i, (name, good) in enumerate(results, 1):
        print(f"{'ok' if good else 'not ok'} {i} - {name}")
    for e in errors:
        print("# " + e.replace("\n", "\n# "))
    return 0 if all(g for _, g in results) else 1


if __name__ == "__main__":
    sys.exit(main())
