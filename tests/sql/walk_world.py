"""walk_world.py -- the small world of walk.py: its time, its tools, its processes.

Time is ours: the schema is loaded with walk.now() in place of the clock, so that hours pass in a
moment and a seed gives the same walk again. Tools keep a ledger of what was really executed.
Processes have slots and tasks like the daemons: a task claims, works and commits, in steps of its
own; what happens between two steps is up to the walk.
"""

import hashlib
import random
import re
import uuid
from datetime import datetime, timezone
from pathlib import Path

import psycopg2
import psycopg2.extras

psycopg2.extras.register_uuid()

MIGRATIONS = Path(__file__).resolve().parents[2] / "schema" / "migrations"
BEGINNING = 1_800_000_000.0  # 2027, as a walk sees it
SLOTS = 5
SEND_BY, MARGIN, GRACE, BACKOFF, ASK = 5.0, 1.0, 2.0, 5.0, 60.0

# effect, on_unknown, timeout in seconds
TOOLS = {
    "look": ("read_only", "tell_model", 4), "put": ("idempotent", "tell_model", 20), "send": ("once", "tell_model", 30),
    "wire": ("once", "ask", 10), "pay": ("once", "probe", 10),
}
AGENTS = {"plain": (3600, 16), "narrow": (3600, 1), "pair": (3600, 2), "brief": (25, 16)}  # seconds, parallel calls
TABLES = ("agent_runs, agent_run_inputs, agent_step_content, agent_actions, requests, workers, unknown_calls, cancellations, "
          "announcements, audit, suspect_records, revisions, current_revisions, places, place_notes, tenants")

CLOCK = """
DROP SCHEMA IF EXISTS walk CASCADE;
CREATE SCHEMA walk;
CREATE SEQUENCE walk.ids;
CREATE FUNCTION walk.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT current_setting('walk.now')::timestamptz $$;
CREATE FUNCTION walk.id() RETURNS uuid LANGUAGE sql VOLATILE AS $$ SELECT md5(current_setting('walk.seed') || nextval('walk.ids'))::uuid $$;
"""


def load(dsn, name):
    """Makes the database `name`, with the schema on our clock."""
    db = psycopg2.connect(dsn)
    db.autocommit = True
    db.cursor().execute(f"DROP DATABASE IF EXISTS {name}")
    db.cursor().execute(f"CREATE DATABASE {name}")
    db.close()
    text = "".join(p.read_text() for p in sorted(MIGRATIONS.glob("[0-9]*.sql")))
    text = re.sub(r"\b(clock_timestamp|now)\(\)", "walk.now()", text).replace("gen_random_uuid()", "walk.id()")
    db = psycopg2.connect(dsn, dbname=name)
    cur = db.cursor()
    cur.execute(f"SET walk.now = '{stamp(BEGINNING)}'; SET walk.seed = 'x'" + ";" + CLOCK)
    cur.execute("CREATE SCHEMA pawl; CREATE TABLE pawl.schema_migrations (number int PRIMARY KEY, name text, digest text, applied_at timestamptz)")
    cur.execute(text)
    db.commit()
    return db


def drop(dsn, name):
    db = psycopg2.connect(dsn)
    db.autocommit = True
    db.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    db.close()


def stamp(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


class Task:
    """One piece of work in the hands of a process: a step to plan (index -1) or a call."""

    def __init__(self, process, run, step, index, alone):
        self.process, self.run, self.step, self.index, self.alone = process, run, step, index, alone
        self.token = None
        self.state = "ask"  # ask -> held -> (sent ->) commit -> gone
        self.asked_at = None
        self.claim = None  # what the claim answered
        self.outcome = None
        self.result = self.code = self.retry_ms = None
        self.items = []
        self.request = None
        self.stopping = False
        self.committed = False  # the statement went through at least once; its answer may be lost

    def __repr__(self):
        what = f"call {self.step}.{self.index}" if self.index >= 0 else f"plan {self.step}"
        return f"{self.process.name}:{what} of {str(self.run)[-4:]} {self.state}"

    def end(self, outcome, result=None, code=None, retry_ms=None):
        self.state, self.outcome, self.result, self.code, self.retry_ms = "commit", outcome, result, code, retry_ms


class Process:
    def __init__(self, name, kind, worker):
        self.name, self.kind, self.worker = name, kind, worker
        self.alive = True
        self.buried = False  # declared dead, or handed back
        self.told = False  # ... and it knows
        self.leaving = False
        self.tasks = []
        self.known = {}  # planner: (run, epoch) -> steps it has in its cache

    @property
    def open(self):
        return self.alive and not self.told and not self.leaving


class Request:
    """A call on its way to a tool: it arrives, or is lost, before `latest`."""

    def __init__(self, tool, args, key, now):
        self.tool, self.args, self.key, self.sent_at = tool, args, key, now
        self.latest = now + TOOLS[tool][2] + MARGIN - 0.001
        self.executed = None  # number in the ledger


class World:
    def __init__(self, dsn, name, seed):
        self.random = random.Random(seed)
        self.time = BEGINNING
        # each world has a mood of its own: what is rare in one happens all the time in another
        mood = self.random.choice
        self.final, self.refuse, self.tear = mood([0.02, 0.1, 0.2]), mood([0.02, 0.12, 0.4]), mood([0.05, 0.2, 0.5])
        self.error, self.lose = mood([0.05, 0.3]), mood([0, 0.08, 0.2])
        self.tools = self.random.sample(sorted(TOOLS), mood([1, 2, 3, 5, 5]))
        self.args = mood(["a", "aab", "ab"])
        self.calls = mood([[1], [1, 2], [1, 2, 2, 3, 4]])
        self.attempts, self.deaths_max = mood([2, 3, 5]), mood([2, 3])
        self.places = mood([1, 2, 100, None])
        self.sessions = []
        for _ in range(2):
            db = psycopg2.connect(dsn, dbname=name)
            db.autocommit = True
            cur = db.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor)
            cur.execute(f"SET walk.seed = '{seed}'; SET client_min_messages = warning; SET synchronous_commit = off")
            self.sessions.append((db, cur))
        self.ask("SELECT 1")
        self.sessions[0][1].execute(f"TRUNCATE {', '.join('pawl.' + t.strip() for t in TABLES.split(','))} RESTART IDENTITY; "
                                    "ALTER SEQUENCE walk.ids RESTART")
        self.ask("UPDATE pawl.settings SET ring_grace_ms = %s, send_by_ms = %s, probe_margin_ms = %s, probes_max = 2, "
                 "death_backoff_ms = %s, deaths_max = %s, class_places = %s RETURNING 1", *(int(s * 1000) for s in (GRACE, SEND_BY, MARGIN, BACKOFF)),
                 self.deaths_max, self.places)
        self.ledger = []  # (tool, args, key, time)
        self.wire = []
        self.doorbells = []
        self.processes = []
        self.births = 0
        self.lies = set()  # keys and calls about which somebody said what was not true
        self.trace = []
        self.revisions = {}
        self.publications = 0
        for kind in ("tool", "agent"):
            for item in (TOOLS if kind == "tool" else AGENTS):
                self.publish(kind, item)

    def close(self):
        for db, _ in self.sessions:
            db.close()

    def say(self, text):
        self.trace.append(f"{self.time - BEGINNING:8.3f} {text}")

    def ask(self, sql, *args, session=0):
        cur = self.sessions[session][1]
        cur.execute(f"SET walk.now = '{stamp(self.time)}'; " + sql, args)
        return cur.fetchall()

    def chance(self, p):
        return self.random.random() < p

    def token(self):
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    # ---- definitions

    def publish(self, kind, name):
        self.publications += 1
        digest = hashlib.sha256(f"{name}{self.publications}".encode()).hexdigest()
        if kind == "tool":
            effect, on_unknown, timeout = TOOLS[name]
            args = (kind, name, digest, None, None, effect, on_unknown, timeout * 1000, self.attempts, int(ASK * 1000))
        else:
            args = (kind, name, digest, AGENTS[name][0] * 1000, AGENTS[name][1], None, None, None, None, None)
        rows = self.ask("SELECT seq FROM pawl.publish(%s,%s,%s,'{}','walk',%s,%s,%s,%s,%s,%s,%s)", *args)
        self.revisions[name] = rows[0][0]

    # ---- processes

    def start(self, kind, slot):
        self.births += 1
        name = f"{kind[0]}{slot}.{self.births}"
        worker = self.ask("SELECT pawl.register(%s,%s,'default','walk',1,%s)", f"{kind}/{slot}", kind, SLOTS)[0][0]
        process = Process(name, kind, worker)
        process.slot = slot
        self.processes.append(process)
        return process

    def living(self, kind=None):
        return [p for p in self.processes if p.alive and (kind is None or p.kind == kind)]

    def tasks(self, state=None):
        return [t for p in self.processes if p.alive for t in p.tasks if state is None or t.state == state]

    def drop_task(self, task):
        if task in task.process.tasks:
            task.process.tasks.remove(task)

    def kill(self, process):
        process.alive = False
        process.tasks = []

    # ---- tools

    def arrive(self, request):
        """The tool runs: a call that is not repeatable has its effect each time; an idempotent one knows its key."""
        if request.executed is None:
            request.executed = len(self.ledger)
            self.ledger.append((request.tool, request.args, request.key, self.time))
            self.say(f"tool {request.tool}({request.args}) runs: exec:{request.executed} key {str(request.key)[:4]}")

    def executions(self, key):
        return [n for n, e in enumerate(self.ledger) if e[2] == key]

    def pass_time(self, seconds):
        """Time passes; what is on the wire arrives or is lost in time, and callers give up in time."""
        until = self.time + seconds
        while self.wire:
            waiting = {t.request: t for t in self.tasks("sent")}
            request = min(self.wire, key=lambda r: r.sent_at + TOOLS[r.tool][2] if r in waiting else r.latest)
            over = request.sent_at + TOOLS[request.tool][2] if request in waiting else request.latest
            if over >= until:
                break
            self.time = max(self.time, over)
            if request not in waiting or TOOLS[request.tool][1] == "ask" or self.chance(0.7):
                if self.chance(0.5):
                    self.arrive(request)
                self.wire.remove(request)
            if request in waiting:
                self.cut(waiting[request])
        self.time = until

    def cut(self, task):
        """The caller has no answer: nobody knows."""
        self.say(f"{task} is cut")
        once, reads = TOOLS[task.request.tool][0] == "once", TOOLS[task.request.tool][0] == "read_only"
        retry = None if once else self.random.choice([0, 300, 1500, None])
        task.end("failed" if reads and self.chance(0.7) else "unknown", None, "timeout", retry)
