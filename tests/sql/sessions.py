"""sessions.py -- several real sessions that meet at a lock, for encounters.py.

    first.begin(); first.ask(...)        holds its locks until it commits
    late = second.start(...)             runs in a thread of its own
    second.waits_for(first)              Postgres itself says so: pg_blocking_pids
    first.commit(); late.rows()

Nothing here waits for time: a session that never comes to wait, or never ends, fails after LIMIT.
"""

import threading
import time
import uuid

import psycopg2
import psycopg2.extras

psycopg2.extras.register_uuid()
LIMIT = 60
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")


def answers(results):
    return [rows[0].answer for rows in results]


class Missed(Exception):
    """What was to happen between the sessions did not."""


class Late:
    """A statement that is under way in another thread."""

    def __init__(self, session, sql, args):
        self.result = self.error = None
        self.thread = threading.Thread(target=self.run, args=(session, sql, args), daemon=True)
        self.thread.start()

    def run(self, session, sql, args):
        try:
            self.result = session.ask(sql, *args)
        except psycopg2.Error as error:
            self.error = error

    @property
    def ended(self):
        return not self.thread.is_alive()

    def rows(self):
        self.thread.join(LIMIT)
        if not self.ended:
            raise Missed("a statement did not end")
        if self.error:
            raise self.error
        return self.result


class Session:
    """One connection. Outside of begin() and commit() each statement is a transaction."""

    watcher = None  # a session that only looks at the others

    def __init__(self, dsn):
        self.db = psycopg2.connect(dsn)
        self.db.autocommit = True
        self.cur = self.db.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor)
        self.pid = self.db.get_backend_pid()

    def ask(self, sql, *args):
        self.cur.execute(sql, args)
        return self.cur.fetchall() if self.cur.description else []

    def begin(self):
        self.cur.execute("BEGIN")

    def commit(self):
        self.cur.execute("COMMIT")

    def roll_back(self):
        self.cur.execute("ROLLBACK")

    def start(self, sql, *args):
        return Late(self, sql, args)

    def waits_for(self, late, *others):
        """Returns once this session's statement stands in the way's queue behind one of the others."""
        pids = {other.pid for other in others}
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            if late.ended:
                raise Missed("a statement that should wait did not")
            if pids & set(Session.watcher.ask("SELECT pg_blocking_pids(%s) AS by", self.pid)[0].by):
                return
            time.sleep(0.002)
        raise Missed("a statement never came to wait")


class Meeting:
    """Statements of the protocol, as (sql, args), and a world in which they meet."""

    def __init__(self, dsn):
        Session.watcher = Session(dsn)
        self.one, self.two, self.three = Session(dsn), Session(dsn), Session(dsn)
        self.all = [self.one, self.two, self.three]
        self.births = 0
        self.look = Session.watcher.ask
        self.look("UPDATE pawl.settings SET ring_grace_ms = 0, send_by_ms = 0, probe_margin_ms = 0, death_backoff_ms = 0, deaths_max = 9, "
                  "class_places = 1000000")
        self.tools = {}
        for name, effect in (("put", "idempotent"), ("send", "once"), ("wire", "once")):
            digest = uuid.uuid5(uuid.NAMESPACE_OID, name).hex * 2
            on_unknown = "ask" if name == "wire" else "tell_model"
            self.tools[name] = self.look("SELECT seq FROM pawl.publish('tool',%s,%s,'{}','meet',NULL,NULL,%s,%s,0,9,3600000)", name, digest,
                                         effect, on_unknown)[0].seq
        self.look("SELECT * FROM pawl.publish('agent','meet',repeat('d',64),'{}','meet',3600000,16,NULL,NULL,NULL,NULL,NULL)")

    # ---- order

    def in_order(self, first, second, *more):
        """The first holds its locks, the others come to wait behind it, it commits: all their answers."""
        self.one.begin()
        rows = [self.one.ask(first[0], *first[1])]
        lates = []
        for session, statement in zip(self.all[1:], (second, *more)):
            late = session.start(statement[0], *statement[1])
            session.waits_for(late, self.one, *self.all[1 : 1 + len(lates)])
            lates.append(late)
        self.one.commit()
        return rows + [late.rows() for late in lates]

    def undone(self, first, second):
        """As in_order, but the first is rolled back: its process has died in the statement."""
        self.one.begin()
        self.one.ask(first[0], *first[1])
        late = self.two.start(second[0], *second[1])
        self.two.waits_for(late, self.one)
        self.one.roll_back()
        return late.rows()

    # ---- statements

    @staticmethod
    def accept(source_id, body=b"x"):
        return ("SELECT * FROM pawl.accept(NULL,ARRAY['meet'],ARRAY[%s],ARRAY[%s]::bytea[],ARRAY['meet'],ARRAY['t'],ARRAY['meet'],ARRAY['\"go\"'],"
                "ARRAY[NULL],ARRAY[NULL]::timestamptz[],ARRAY[NULL]::timestamptz[],'meet',0)", (source_id, body))

    @staticmethod
    def claim_plan(worker, run, token):
        return "SELECT * FROM pawl.claim_plans(%s,ARRAY[%s],ARRAY[%s],true)", (worker, token, run)

    def commit_plan(self, worker, run, token, claim, tools=()):
        n = max(len(tools), 1)
        return (
            "SELECT * FROM pawl.commit_plans(%s,ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[0]::bigint[],ARRAY[NULL],"
            "ARRAY[NULL],ARRAY['m'],ARRAY[1]::bigint[],ARRAY[1]::bigint[],ARRAY[1]::bigint[],ARRAY[1]::bigint[],ARRAY[1],"
            "%s::int[],%s::int[],%s::text[],%s::text[],%s::text[],%s::text[],%s::text[],%s::bigint[],%s::text[],%s::bytea[],%s::text[])",
            (worker, token, run, claim.step, claim.epoch, claim.version, "calls" if tools else "final", [0] * n, list(range(n)),
             ["function_call" if tools else "text"] * n, ["text"] * n, [None] * n, ["c"] * n, list(tools) or [None],
             [self.tools[t] for t in tools] or [None], ["{}"] * n, [bytes([i]) for i in range(n)], [None] * n))

    @staticmethod
    def claim_call(worker, run, token, index=0, step=1):
        return "SELECT * FROM pawl.claim_actions(%s,ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[%s],true,'{}')", (worker, token, run, step, index)

    @staticmethod
    def commit_call(worker, run, token, version=1, index=0, outcome="succeeded", result="result"):
        return ("SELECT * FROM pawl.commit_actions(%s,ARRAY[%s],ARRAY[%s],ARRAY[1],ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[%s],ARRAY[NULL],"
                "ARRAY[NULL],ARRAY[NULL]::bigint[],ARRAY[1])", (worker, token, run, index, version, outcome, result))

    @staticmethod
    def cancel(run):
        return "SELECT * FROM pawl.cancel(ARRAY[%s],'ann',NULL)", (run,)

    @staticmethod
    def retry(run):
        return "SELECT * FROM pawl.retry(%s,NULL,'ann')", (run,)

    @staticmethod
    def decide(run, happened):
        return "SELECT * FROM pawl.decide(%s,1,0,%s,'said','ann')", (run, happened)

    @staticmethod
    def declare_dead(worker):
        return "SELECT * FROM pawl.declare_dead(NULL,ARRAY[%s],ARRAY[0])", (worker,)

    # ---- worlds

    def do(self, statement):
        return self.look(statement[0], *statement[1])[0]

    def worker(self, kind):
        self.births += 1
        return self.look("SELECT pawl.register(%s,%s,'meet','t',1,9)", f"meet/{self.births}", kind)[0].register

    def new_run(self):
        return self.do(self.accept(str(uuid.uuid4()))).run_id

    def planned(self, *tools):
        """A run at whose step 1 these calls stand, unclaimed."""
        run, planner, token = self.new_run(), self.worker("planner"), uuid.uuid4()
        claim = self.do(self.claim_plan(planner, run, token))
        self.do(self.commit_plan(planner, run, token, claim, tools))
        return run

    def claimed(self, *tools):
        """The same, and call 0 is claimed: run, its executor, the token."""
        run, worker, token = self.planned(*tools), self.worker("executor"), uuid.uuid4()
        self.do(self.claim_call(worker, run, token))
        return run, worker, token

    def planning(self, tools=()):
        """A run whose first step is being planned: run, its planner, token, claim."""
        run = self.planned(*tools) if tools else self.new_run()
        planner, token = self.worker("planner"), uuid.uuid4()
        return run, planner, token, self.do(self.claim_plan(planner, run, token))

    # ---- what is there

    def run(self, run):
        return self.look("SELECT status, epoch, step, version, open_calls, claim_by, deaths, due_at FROM pawl.agent_runs WHERE run_id = %s", run)[0]

    def calls(self, run):
        return self.look("SELECT * FROM pawl.agent_actions WHERE run_id = %s ORDER BY step, index, version", run)

    def ends(self, run):
        """Announcements of an end."""
        return [a.type for a in self.look("SELECT type FROM pawl.announcements WHERE run_id = %s AND type NOT IN ('accepted','waiting')", run)]
