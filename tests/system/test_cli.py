"""`pawl` as people type it: help, exit codes, tables, JSON.

Runs against a stack without planner and executor; what they would have done is done by the
functions of the schema, so that every state of a run can be shown.
"""
import json
import os
import pty
import subprocess
import threading

import pytest
from dev_stack import PAWL, ROOT, DevStack
from waiting import wait_until
USAGE, UNAVAILABLE, CONFIG = 64, 69, 78


@pytest.fixture(scope="module")
def stack():
    found = DevStack()
    try:
        found.start("--planners", "0", "--executors", "0")
        found.load(ROOT / "tests" / "sql" / "fixture.psql")
        yield found
    finally:
        found.stop()
        found.remove()


def bare(*arguments, **environment):
    """pawl where no stack is."""
    clean = {"PATH": os.environ["PATH"], "PAWL_DEV_DIR": "/nowhere", **environment}
    return subprocess.run([str(PAWL), *arguments], env=clean, capture_output=True, text=True, check=False, timeout=30)


class Run:
    """A run that is moved by hand, by the helpers of tests/sql/fixture.psql."""

    def __init__(self, stack):
        self.stack = stack
        self.planner = stack.sql("SELECT t.worker('planner', 'here/planner')")
        self.executor = stack.sql("SELECT t.worker('executor', 'here/executor')")
        self.id = stack.sql("SELECT t.start()::text")

    def plan(self, token, *tools, **more):
        self.stack.sql("SELECT t.claim_plan(%s, %s, %s)", self.planner, self.id, token)
        refused = more.get("refused")
        self.stack.sql(
            "SELECT t.commit_plan(%s, %s, %s, %s::text[], NULL, %s::text[], %s::text[])",
            self.planner, self.id, token, list(tools), more.get("arguments"), refused,
        )

    def claim(self, call, token):
        return self.stack.sql("SELECT t.claim(%s, %s, %s, %s)", self.executor, self.id, call, token)

    def commit(self, step, call, version, token, outcome, result="result"):
        return self.stack.sql(
            "SELECT t.commit(%s, %s, %s, %s, %s, %s, %s, NULL, %s)",
            self.executor, self.id, step, call, version, token, outcome, result,
        )

    def kill_executor(self):
        self.stack.sql("SELECT t.kill(%s)", self.executor)
        self.executor = self.stack.sql("SELECT t.worker('executor', 'here/executor')")

    def kill_planner(self):
        self.stack.sql("SELECT t.kill(%s)", self.planner)
        self.planner = self.stack.sql("SELECT t.worker('planner', 'here/planner')")

    def show(self):
        return self.stack.pawl("run", "show", self.id)

    def line(self, *words):
        """The line of the picture that has all these words."""
        picture = self.show()
        lines = [line for line in picture.splitlines() if all(word in line for word in words)]
        assert len(lines) == 1, f"{words} stand in {len(lines)} lines of\n{picture}"
        return lines[0]


# ------------------------------------------------------------------ words and help


@pytest.mark.parametrize(
    "words, code",
    [
        ([], USAGE), (["--version"], 0), (["--help"], 0), (["help"], 0), (["run"], USAGE), (["run", "--help"], 0),
        (["nonsense"], USAGE), (["run", "strat"], USAGE), (["run", "show"], USAGE), (["run", "list", "--limit", "0"], USAGE),
        (["run", "list", "--nope"], USAGE), (["run", "list", "--limit"], USAGE), (["workers", "--all=yes"], USAGE),
        (["run", "decide", "x", "1", "0", "maybe"], USAGE), (["workers"], CONFIG), (["config", "check"], CONFIG),
    ],
)
def test_exit_codes_without_a_stack(words, code):
    done = bare(*words)
    assert done.returncode == code, done.stderr
    assert code == 0 or done.stderr or done.stdout.startswith(("pawl", "Usage"))


def test_the_overview_names_every_command_and_each_explains_itself():
    overview = bare("--help").stdout
    section = overview.partition("Commands\n")[2].partition("\n\n")[0]
    commands = [line[2:20].split() for line in section.splitlines()]
    assert ["run", "start"] in commands and ["dev"] in commands and len(commands) > 15
    for words in commands:
        told = bare(*words, "--help")
        assert told.returncode == 0 and "Usage" in told.stdout and "Examples" in told.stdout, words


def test_the_manual_is_the_table_of_commands():
    manual = (ROOT / "docs" / "cli.md").read_text()
    assert manual.partition("## Commands\n\n")[2].strip() == bare("manual", "cli").stdout.strip(), (
        "write the second half of docs/cli.md anew: pawl manual cli"
    )


def test_a_slip_of_the_pen_is_answered_with_the_right_word():
    assert "did you mean `start`?" in bare("run", "strat").stderr
    assert "did you mean --limit?" in bare("run", "list", "--limt", "3").stderr


def test_without_postgres_the_error_says_what_to_do():
    assert "pawl dev" in bare("run", "list").stderr
    gone = bare("run", "list", PAWL_POSTGRES_DSN="host=127.0.0.1 port=1 user=x password=geheim connect_timeout=2")
    assert gone.returncode == UNAVAILABLE and "geheim" not in gone.stderr


# ------------------------------------------------------------------------- schema


def test_migrations_are_applied_once_and_stay_what_they_are(stack):
    rows = stack.json("migrate", "status")
    assert [r["number"] for r in rows] == list(range(1, len(rows) + 1))
    assert {r["state"] for r in rows} == {"applied"}
    owner = ["--postgres-dsn", stack.dsn()]
    assert "up to date" in stack.pawl("migrate", "up", *owner)
    before = stack.sql("UPDATE pawl.schema_migrations SET digest = repeat('0', 64) WHERE number = 3 RETURNING name")
    try:
        done = stack.run("migrate", "up", *owner)
        assert done.returncode == 1 and f"0003_{before}" in done.stderr and "another form" in done.stderr
        status = stack.run("migrate", "status")
        assert status.returncode == 1 and "changed" in status.stdout
    finally:
        sql = (ROOT / "schema" / "migrations" / f"0003_{before}.sql").read_bytes()
        stack.sql("UPDATE pawl.schema_migrations SET digest = encode(sha256(%s), 'hex') WHERE number = 3", sql)
    assert stack.run("migrate", "status").returncode == 0


def test_a_schema_that_is_older_than_the_program_is_refused(stack):
    stack.sql("CREATE DATABASE empty")
    dsn = stack.dsn().replace("dbname=pawl", "dbname=empty")
    done = stack.run("run", "list", "--postgres-dsn", dsn)
    assert done.returncode == 1 and "pawl migrate up" in done.stderr
    status = stack.run("migrate", "status", "--postgres-dsn", dsn)
    assert status.returncode == 1 and "pending" in status.stdout
    fresh = stack.json("migrate", "up", "--postgres-dsn", dsn)
    assert len(fresh) == len(stack.json("migrate", "status"))
    stack.sql("DROP DATABASE empty WITH (FORCE)")


def test_people_have_no_rights_on_the_tables(stack):
    with stack.connect("pawl_operator") as cursor:
        cursor.execute("SELECT count(*) FROM pawl.runs")
        for table in ("agent_runs", "agent_actions", "audit", "workers", "revisions", "schema_migrations"):
            with pytest.raises(Exception, match="permission denied"):
                cursor.execute(f"SELECT * FROM pawl.{table}")


# ------------------------------------------------------------------------- agents

DEFINITIONS = """
models:
  m: {dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", model: x}
tools:
  look:
    description: Looks.
    parameters: {type: object, properties: {n: {type: integer}}}
    http: {method: POST, url: "http://127.0.0.1:1/look"}
    read_only: true
agents:
  looker:
    instructions: |
      Look.
      Then answer.
    model: m
    tools: [look]
"""


def test_definitions_are_published_compared_and_followed(stack, tmp_path):
    whole, tool = tmp_path / "whole.yaml", tmp_path / "tool.yaml"
    whole.write_text(DEFINITIONS.replace("  look:", "  gaze:").replace("[look]", "[gaze]"))
    tool.write_text(DEFINITIONS.partition("agents:")[0].replace("  look:", "  gaze:").replace("Looks.", "Looks twice."))

    assert stack.run("agent", "diff", whole).returncode == 1
    applied = {(r["kind"], r["name"]): r["change"] for r in stack.json("agent", "apply", whole)}
    assert applied == {("model", "m"): "new", ("tool", "gaze"): "new", ("agent", "looker"): "new"}
    again = stack.json("agent", "apply", whole)
    assert {r["change"] for r in again} == {"same"}
    assert stack.run("agent", "diff", whole).returncode == 0

    difference = stack.run("agent", "diff", tool)
    assert difference.returncode == 1
    assert '- description: "Looks."' in difference.stdout and "agent looker" in difference.stdout
    changed = {(r["kind"], r["name"]): r["change"] for r in stack.json("agent", "apply", tool, "--as", "ada@desk")}
    assert changed[("tool", "gaze")] == "changed" and changed[("agent", "looker")] == "repinned"

    listed = [r for r in stack.json("agent", "list", "--all") if r["name"] == "looker"]
    assert [r["is_current"] for r in listed] == [True, False] and listed[0]["published_by"] == "ada@desk"
    deed = stack.sql("SELECT json_agg(d.who ORDER BY d.at DESC) -> 0 FROM pawl.deeds d WHERE d.verb = 'publish'")
    assert deed == "ada@desk"


def test_a_bad_definition_publishes_nothing_and_names_the_place(stack, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(DEFINITIONS.replace("tools: [look]", "tools: [lok]"))
    done = stack.run("agent", "apply", bad)
    assert done.returncode == CONFIG and "bad.yaml:" in done.stderr and "lok" in done.stderr
    checked = bare("config", "check", str(bad))
    assert checked.returncode == 0 or "lok" in checked.stderr  # it could be published elsewhere
    bad.write_text(DEFINITIONS.replace("read_only: true", "read_onli: true"))
    checked = bare("config", "check", str(bad))
    assert checked.returncode == CONFIG and "read_only" in checked.stderr


# --------------------------------------------------------------------------- runs


def test_a_request_is_accepted_once(stack):
    first = stack.pawl("run", "start", "--agent", "billing", "--input", "hello", "--id", "one").strip()
    again = stack.run("run", "start", "--agent", "billing", "--input", "hello", "--id", "one")
    assert again.stdout.strip() == first and "accepted before" in again.stderr
    other = stack.run("run", "start", "--agent", "billing", "--input", "goodbye", "--id", "one")
    assert other.returncode == 1 and "conflict" in other.stderr and "pawl-cli" in other.stderr
    run = stack.json("run", "show", first)["run"]
    assert run["input"] == "hello" and run["created_by"] == "tester" and run["source"] == "pawl-cli"


def test_input_comes_from_wherever_it_is(stack, tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("Grüße\nin two lines")
    by_file = stack.pawl("run", "start", "--agent", "billing", "--input-file", path).strip()
    assert stack.json("run", "show", by_file)["run"]["input"] == "Grüße\nin two lines"
    piped = stack.pawl("run", "start", "--agent", "billing", "--input-file", "-", input="piped").strip()
    assert stack.json("run", "show", piped)["run"]["input"] == "piped"
    by_json = stack.pawl("run", "start", "--agent", "billing", "--input-json", '{"n": [1, 2]}', "--tenant", "acme").strip()
    shown = stack.json("run", "show", by_json)["run"]
    assert shown["input"] == {"n": [1, 2]} and shown["tenant"] == "acme"
    assert [r["run_id"] for r in stack.json("run", "list", "--tenant", "acme")] == [by_json]


@pytest.mark.parametrize(
    "words, code, told",
    [
        (["--agent", "nobody", "--input", "x"], 1, "pawl agent list"),
        (["--input", "x"], USAGE, "--agent is missing"),
        (["--agent", "billing"], USAGE, "give the input once"),
        (["--agent", "billing", "--input", "x", "--input-json", "1"], USAGE, "give the input once"),
        (["--agent", "billing", "--input-json", "{"], USAGE, "--input-json"),
        (["--agent", "billing", "--input-json", "null"], 1, "input"),
        (["--agent", "billing", "--input", "x", "--deadline", "2020-01-01T00:00:00Z"], 1, "past"),
        (["--agent", "billing", "--input", "x", "--deadline", "soon"], 1, "deadline"),
        (["--agent", "billing", "--input-file", "/nowhere/x"], USAGE, "/nowhere/x"),
        (["--agent", "billing", "--input", b"\xff\xfe"], USAGE, "UTF-8"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason(stack, words, code, told):
    command = [str(PAWL), "run", "start", *words]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False)
    assert done.returncode == code and told in done.stderr, done.stderr


def test_a_run_is_found_by_its_end_and_by_last(stack):
    run = stack.pawl("run", "start", "--agent", "billing", "--input", "x").strip()
    for name in (run, run.upper(), run[-8:], run[-12:], "last"):
        assert stack.json("run", "show", name)["run"]["run_id"] == run
    assert stack.run("run", "show", "ffffffff").returncode == 1
    assert stack.run("run", "show", "00000000-0000-7000-8000-000000000000").returncode == 1


def test_cancel_and_retry_are_recorded(stack):
    run = stack.pawl("run", "start", "--agent", "billing", "--input", "x").strip()
    assert stack.run("run", "retry", run).returncode == 1
    assert "cancelled" in stack.pawl("run", "cancel", run, "--reason", "wrong one", "--as", "grace")
    assert stack.run("run", "cancel", run).returncode == 1
    shown = stack.pawl("run", "show", run)
    assert "wrong one" in shown and "cancel at" in shown and "by grace" in shown
    assert stack.run("run", "retry", run, "--step", "7").returncode == 1
    assert "epoch 2" in stack.pawl("run", "retry", run, "--step", "1")
    assert stack.json("run", "show", run)["run"]["status"] == "running"
    assert {r["run_id"] for r in stack.json("run", "list", "--live", "--limit", "1000")} >= {run}
    assert run not in {r["run_id"] for r in stack.json("run", "list", "--status", "cancelled")}


# ------------------------------------------------------------------------ timelines


def test_a_straight_run_is_one_line_a_call(stack):
    run = Run(stack)
    run.plan(1, "look", "look")
    for call in (0, 1):
        run.claim(call, 10 + call)
        run.commit(1, call, 1, 10 + call, "succeeded", '{"found": 1}')
    run.plan(2)
    assert "planned" in run.line("step 1") and "2 calls" in run.line("step 1")
    assert "succeeded" in run.line(" 0  look") and '{"found": 1}' in run.line(" 0  look")
    assert f"here/executor #{run.executor}" in run.line(" 1  look")
    assert "answered" in run.line("step 2")
    picture = run.show()
    assert picture.splitlines()[0].startswith(f"run {run.id}  billing  succeeded")
    assert "the answer" in picture and "succeeded after" in picture
    assert stack.json("run", "show", run.id)["answer"] == "the answer"


def test_the_attempt_of_a_dead_planner_is_shown_as_lost(stack):
    run = Run(stack)
    stack.sql("SELECT t.claim_plan(%s, %s, 1)", run.planner, run.id)
    assert "running" in run.line("step 1") and f"#{run.planner}" in run.line("step 1")
    run.kill_planner()
    run.plan(2)
    assert "lost" in run.line("plan 1") and "died with it" in run.line("plan 1")
    assert "answered" in run.line("plan 2")


def test_a_probe_settles_what_nobody_knew(stack):
    run = Run(stack)
    run.plan(1, "pay", "pay")
    for call in (0, 1):
        run.claim(call, 10 + call)
    run.kill_executor()
    for call, verdict in ((0, "happened"), (1, "did_not_happen")):
        wait_until(lambda c=call: "probe" in run.claim(c, 20 + c), "probe that is due", 10)
        run.commit(1, call, 1, 20 + call, verdict, '{"receipt": 7}')
    first = run.line("unknown -> happened")
    assert "its process died with it" in first and "the tool was asked: it happened" in first and "receipt" in first
    assert "the tool was asked: it did not happen" in run.line("unknown -> did not happen")
    assert "v2" in run.claim(1, 31)
    run.commit(1, 1, 2, 31, "succeeded")
    assert "succeeded" in run.line("attempt 2")


def test_a_person_decides(stack):
    run = Run(stack)
    run.plan(1, "wire", "wire")
    for call in (0, 1):
        run.claim(call, 10 + call)
        run.commit(1, call, 1, 10 + call, "unknown")
    assert stack.json("run", "show", run.id)["run"]["status"] == "suspended"
    assert f"pawl run decide {run.id} 1 0 happened|did-not-happen" in run.show()
    assert "waits for a person" in run.show()
    assert "waits for a decision" in stack.pawl("run", "list", "--status", "suspended")
    decide = ("run", "decide", run.id, "1")
    assert stack.run(*decide, "7", "happened").returncode == 1
    assert stack.run(*decide, "1", "did-not-happen", "--result", "x").returncode == USAGE
    assert "goes on" in stack.pawl(*decide, "0", "happened", "--result", '{"ok": true}', "--as", "ada@desk")
    assert "sent again" in stack.pawl(*decide, "1", "did-not-happen", "--as", "ada@desk")
    settled = run.line("unknown -> happened")
    assert "ada@desk said: it happened" in settled and '{"ok": true}' in settled
    assert "ada@desk said: it did not happen" in run.line("unknown -> did not happen")
    assert "decide at" in run.show()


def test_a_retried_step_returns_what_was_done(stack):
    run = Run(stack)
    run.plan(1, "put", "send", arguments=["{}", "{}"])
    run.claim(0, 10)
    run.commit(1, 0, 1, 10, "succeeded", "stored before")
    stack.pawl("run", "cancel", run.id)
    stack.pawl("run", "retry", run.id)
    run.plan(2, "put", "send", arguments=["{}", "{}"])
    run.claim(1, 11)
    copied = run.line("copied")
    assert "returned from storage, not run again" in copied and "stored before" in copied
    assert "plan 1" in run.show() and "plan 2" in run.show() and "epoch 2" in run.show()


def test_refused_calls_say_why(stack):
    run = Run(stack)
    run.plan(1, "look", "look", refused=["no such tool here", None])
    assert "refused" in run.line(" 0  look") and "no such tool here" in run.line(" 0  look")
    assert "waiting" in run.line(" 1  look")


def test_what_strangers_wrote_cannot_move_the_cursor(stack):
    run = stack.pawl("run", "start", "--agent", "billing", "--input", "a\x1b[2Jb\r\x07").strip()
    for words in (["run", "show", run], ["run", "list"]):
        assert "\x1b" not in stack.pawl(*words) and "\x07" not in stack.pawl(*words)
    assert "\\x1b[2J" in stack.pawl("run", "show", run)


# --------------------------------------------------------------------------- watch


def test_watching_prints_each_thing_once_and_ends_with_the_run(stack):
    run = Run(stack)
    command = [str(PAWL), "run", "watch", run.id]
    watcher = subprocess.Popen(command, env=stack.environment, stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(watcher.stdout))
    reader.start()

    def printed(*words):
        return wait_until(lambda: [x for x in lines if all(w in x for w in words)], f"line with {words}", 10)

    run.plan(1, "look", "pay")
    printed("step 1 plan 1", "planned")
    run.claim(0, 10)
    run.claim(1, 11)
    printed("step 1 call 0 look", "running", f"#{run.executor}")
    run.commit(1, 0, 1, 10, "succeeded")
    printed("step 1 call 0 look", "succeeded")
    run.kill_executor()
    printed("step 1 call 1 pay", "unknown")
    wait_until(lambda: "probe" in run.claim(1, 21), "probe that is due", 10)
    run.commit(1, 1, 1, 21, "happened")
    run.plan(2)
    assert watcher.wait(15) == 0
    reader.join()
    assert len([x for x in lines if "step 1 plan 1" in x and "planned" in x]) == 1
    assert "succeeded after" in lines[-1] and "\x1b" not in "".join(lines)


def test_waiting_prints_the_answer_alone(stack):
    run = Run(stack)
    run.plan(1)
    assert "the answer" in stack.pawl("run", "watch", run.id)
    assert stack.json("run", "watch", run.id)["answer"] == "the answer"
    other = Run(stack)
    stack.pawl("run", "cancel", other.id)
    assert stack.run("run", "watch", other.id).returncode == 1


def on_a_terminal(stack, *words, **environment):
    """What a command writes to a terminal."""
    leader, follower = pty.openpty()
    command = [str(PAWL), *words]
    env = {**stack.environment, "TERM": "xterm", **environment}
    process = subprocess.Popen(command, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    written = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(leader)
    process.wait(10)
    return written.decode()


def test_colour_is_for_terminals_that_want_it(stack):
    run = Run(stack)
    run.plan(1)
    assert "\x1b[32msucceeded\x1b[0m" in on_a_terminal(stack, "run", "show", run.id)
    assert "\x1b" not in on_a_terminal(stack, "run", "show", run.id, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(stack, "run", "show", run.id, TERM="dumb")
    assert "\x1b" not in stack.pawl("run", "show", run.id)
    assert " after 0" in on_a_terminal(stack, "run", "watch", run.id)


# ----------------------------------------------------------------- fleet and topics


def test_workers_are_listed(stack):
    number = stack.sql("SELECT t.worker('planner', 'elsewhere/7')")
    row = next(w for w in stack.json("workers") if w["incarnation"] == number)
    assert row["instance"] == "elsewhere/7" and row["state"] == "alive" and row["capacity"] == 100
    assert "elsewhere/7" in stack.pawl("workers")
    stack.sql("SELECT t.kill(%s)", number)
    assert "elsewhere/7" not in stack.pawl("workers")
    assert "dead" in next(x for x in stack.pawl("workers", "--all").splitlines() if "elsewhere/7" in x)


def test_lag_is_shown_per_topic_partition_and_group(stack):
    rows = stack.json("topics", "lag")
    found = {(r["group"], r["topic"]) for r in rows}
    assert found >= {("pawl.planner", "pawl.plans"), ("pawl.executor", "pawl.actions"), ("pawl.planner", "pawl.run-requests")}
    assert {r["partition"] for r in rows if r["topic"] == "pawl.plans"} == {0, 1, 2, 3}
    assert "pawl.actions" in stack.pawl("topics", "lag")


def test_the_configuration_is_shown_with_its_origins(stack):
    shown = stack.pawl("config", "show", "--class", "batch")
    assert "--class" in shown and "pawl.yaml:" in shown
    json.loads(stack.pawl("config", "show", "--json"))
    missing = stack.run("config", "show", "--config", "/nowhere.yaml")
    assert missing.returncode == CONFIG and "/nowhere.yaml" in missing.stderr
