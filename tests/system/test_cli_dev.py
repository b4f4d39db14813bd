"""`pawl dev`: what starts, what is started again, what stays, what stops."""
import os
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import psycopg2
import pytest
from dev_stack import PAWL, DevStack
from waiting import wait_until

@pytest.fixture
def stack():
    yield from one_stack(fresh=False)


@pytest.fixture
def fresh_stack():
    """Without a cluster yet."""
    yield from one_stack(fresh=True)


def one_stack(fresh):
    found = DevStack(fresh)
    yield found
    found.stop()
    if (found.directory / "state.json").exists():  # what a supervisor that was killed has left behind
        for process in found.state()["processes"]:
            if is_alive(process["pid"]):
                os.kill(process["pid"], signal.SIGKILL)
    found.remove()


def is_alive(pid):
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


EMPTY = ("--planners", "0", "--executors", "0")


def test_a_second_start_is_refused_and_says_how_to_stop_the_first(stack):
    stack.start(*EMPTY)
    second = stack.run("dev")
    assert second.returncode == 1 and "pawl dev down" in second.stderr
    assert "running in" in stack.pawl("dev", "status")
    assert "stopped" in stack.pawl("dev", "down")
    assert stack.process.wait(5) == 0
    assert stack.run("dev", "status").returncode == 1
    assert "pawl dev" in stack.run("run", "list").stderr
    assert stack.run("dev", "down").returncode == 1


def test_what_dies_is_started_again_at_the_same_address(stack):
    stack.start(*EMPTY)
    before = stack.state()
    for name in ("broker", "postgres"):
        pid = stack.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda n=name, p=pid: stack.pid(n) not in (p, 0), f"new {name}")
    after = wait_until(lambda: [p for p in stack.state()["processes"] if p["restarts"] == 1] and stack.state(), "state of both")
    assert [p["address"] for p in after["processes"]] == [p["address"] for p in before["processes"]]
    wait_until(lambda: stack.run("run", "list").returncode == 0, "answer of Postgres")
    port = before["kafka_port"]
    wait_until(lambda: listens(port), "answer of the broker")
    assert "was killed by signal 9" in stack.output()


def test_data_and_addresses_stay_from_start_to_start(stack):
    stack.start(*EMPTY)
    stack.sql("CREATE TABLE kept AS SELECT 1234 AS number")
    first = stack.state()
    stack.stop()
    stack.start(*EMPTY)
    assert stack.sql("SELECT number FROM kept") == 1234
    for key in ("postgres_port", "kafka_port"):
        assert stack.state()[key] == first[key]
    assert "applied" not in stack.output()


def test_a_supervisor_that_was_killed_leaves_nothing_in_the_way(stack):
    stack.start(*EMPTY)
    postgres, broker = stack.pid("postgres"), stack.pid("broker")
    stack.process.kill()
    stack.process.wait()
    wait_until(lambda: not is_alive(broker), "end of the broker")
    assert is_alive(postgres)
    stack.start(*EMPTY)
    assert "left behind" in stack.output()
    wait_until(lambda: not is_alive(postgres), "end of the Postgres that was left behind")
    stack.process.kill()
    stack.process.wait()
    assert "left behind" in stack.pawl("dev", "down")
    postgres = stack.pid("postgres")
    wait_until(lambda: not is_alive(postgres), "end of the second one")


def test_only_this_machine_and_only_this_user_may_connect(stack):
    stack.start(*EMPTY)
    state = stack.state()
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=False).stdout
    for port in (state["postgres_port"], state["kafka_port"]):
        addresses = {line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{port}")}
        assert addresses <= {f"127.0.0.1:{port}"}
    for name in ("pawl.yaml", "planner.yaml", "executor.yaml", "operator.pgpass"):
        assert stat.S_IMODE((stack.directory / name).stat().st_mode) == 0o600
    over_tcp = f"host=127.0.0.1 port={state['postgres_port']} dbname=pawl"
    for user in ("pawl", "pawl_planner", "pawl_executor"):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(f"{over_tcp} user={user} password=x")
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(f"{over_tcp} user=pawl_operator password=wrong")
    psycopg2.connect(f"{over_tcp} user=pawl_operator passfile={stack.directory}/operator.pgpass").close()
    if os.getuid() == 0:  # another user of this machine, over the socket
        as_nobody = ["setpriv", "--reuid=nobody", "--clear-groups", "psql", "-X", "-c", "SELECT 1", stack.dsn("pawl_operator")]
        assert subprocess.run(as_nobody, capture_output=True, check=False).returncode != 0


def test_durability_is_not_traded_for_speed(stack):
    stack.start(*EMPTY)
    assert [stack.sql(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3


def test_ctrl_c_stops_everything_in_order(stack):
    stack.start(*EMPTY)
    pids = [p["pid"] for p in stack.state()["processes"]]
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(20) == 0
    assert not [pid for pid in pids if is_alive(pid)]
    log = (stack.directory / "log" / "postgres.log").read_text()
    assert "received fast shutdown request" in log and "database system is shut down" in log


def test_what_cannot_start_says_so_and_stops_the_rest(fresh_stack, tmp_path):
    lonely = tmp_path / "bin"
    lonely.mkdir()
    program = lonely / "pawl"
    program.write_bytes(PAWL.read_bytes())
    program.chmod(0o755)
    done = subprocess.run([str(program), "dev"], env=fresh_stack.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "planner" in done.stderr
    assert fresh_stack.run("dev", "status").returncode == 1 and not is_alive(fresh_stack.pid("postgres"))
    missing = fresh_stack.run("dev", env={"PAWL_POSTGRES_BIN": "/nowhere"})
    assert missing.returncode == 1 and "PAWL_POSTGRES_BIN" in missing.stderr


def test_a_long_path_still_has_a_socket(fresh_stack):
    fresh_stack.directory = fresh_stack.home / ("d" * 90)
    fresh_stack.environment["PAWL_DEV_DIR"] = str(fresh_stack.directory)
    fresh_stack.start(*EMPTY)
    socket_directory = Path(fresh_stack.state()["socket"])
    try:
        assert fresh_stack.json("run", "list") == [] and socket_directory.parent == Path("/tmp")
        fresh_stack.stop()
        fresh_stack.start(*EMPTY)
        assert fresh_stack.state()["socket"] == str(socket_directory)
    finally:
        fresh_stack.stop()
        socket_directory.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root's Postgres is another user's")
def test_roots_closed_home_is_no_obstacle(fresh_stack):
    fresh_stack.home.chmod(0o700)
    fresh_stack.start(*EMPTY)
    data = Path(fresh_stack.state()["data"])
    try:
        assert fresh_stack.json("run", "list") == [] and data.parent == Path("/var/lib/pawl-dev")
        fresh_stack.sql("CREATE TABLE kept AS SELECT 1234 AS number")
        fresh_stack.stop()
        fresh_stack.start(*EMPTY)
        assert fresh_stack.sql("SELECT number FROM kept") == 1234
    finally:
        fresh_stack.stop()
        shutil.rmtree(data)
