"""Postgres fails under load: restarts, broken connections, time-outs that others set, a full disk."""

import os
import shutil
import signal
import subprocess
import time

import psycopg2
import pytest

from cluster import LOGINS
from failover import processes_in
from infra import LONG, Load, long_only

# At the same time where only the outcome counts; one by one where the times are measured.
beside = pytest.mark.skipif(False, reason="") if LONG else pytest.mark.beside


def terminate_all(stack):
    """All connections of pawl to its database, but not the judge's."""
    return len(stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                         "AND application_name LIKE 'pawl-%%' AND pid <> pg_backend_pid()"))


@beside
def test_infra_connections_killed_again_and_again(stack):
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    killed = 0
    with load.fault("all connections to Postgres killed, every 0.5 s") as row:
        end = time.monotonic() + (20 if LONG else 5)
        while time.monotonic() < end:
            killed += terminate_all(stack)
            time.sleep(0.5)  # the pace of the fault
        row["remarks"].append(f"{killed} connections killed")
    assert killed > 30
    # A model may be asked while its claim is on the way to the disk: a claim that is lost there has its answer thrown
    # away, and the model is asked again.  How often stands in the table.
    load.end(repeated=None)


@beside
def test_infra_time_outs_set_by_others(stack):
    """An administrator's time-outs for everybody: too short for pawl, which sets its own where it must."""
    for name, value in (("statement_timeout", "2ms"), ("lock_timeout", "1ms"), ("idle_session_timeout", "200ms"),
                        ("idle_in_transaction_session_timeout", "10ms")):
        for role in (LOGINS["planner"], LOGINS["executor"]):
            stack.sql(f"ALTER ROLE {role} IN DATABASE {stack.database} SET {name} = '{value}'")
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    with load.fault("`statement_timeout` 2 ms, `lock_timeout` 1 ms, `idle_session_timeout` 200 ms, "
                    "`idle_in_transaction_session_timeout` 10 ms set for the roles"):
        load.go_on(200 if LONG else 60)
    load.end()


@long_only
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_infra_restarts_under_load(stack, mode):
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    with load.fault(f"Postgres restarted, `{mode}`"):
        stack.cluster.restart(mode)
    load.end()


@long_only
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_infra_postgres_away_for_half_a_minute(stack, mode):
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    with load.fault(f"Postgres stopped, `{mode}`, started after 30 s"):
        stack.cluster.stop(mode)
        time.sleep(30)  # the length of the fault
        stack.cluster.start()
    load.end()


@long_only
@pytest.mark.parametrize("seconds", [6, 20])
def test_infra_postgres_frozen(stack, seconds):
    """As when its machine is moved: everybody's statements hang, connections are given up, and then all is
    there again, old sessions and their locks as well."""
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    pids = processes_in(stack.cluster.data)
    with load.fault(f"Postgres frozen for {seconds} s"):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)  # the length of the fault
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    load.end()


# --- the disk is full ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(scratch):
    """small_disk(megabytes): a file system of its own, of limited size."""
    directory = scratch / "disk"

    def mount(megabytes):
        directory.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", directory],
                              stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            directory.rmdir()
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        shutil.chown(directory, "postgres")
        return directory

    yield mount
    if directory.exists():
        subprocess.run(["umount", "-l", directory], check=True)
        directory.rmdir()


def fill(disk):
    """Until not one byte more can be written."""
    ballast = disk / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
    return ballast


def postmaster_runs(cluster):
    return subprocess.run([*cluster.as_user, f"{cluster.bin}/pg_ctl", "-D", cluster.data, "status"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def use_up_wal(stack):
    """Postgres keeps some written files of its log to write over them, so that a while may pass."""
    try:
        connection = stack.cluster.connect("postgres")
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 500000))")
        finally:
            connection.close()
    except psycopg2.Error:
        pass  # as the load fares, so do we


@long_only
@pytest.mark.parametrize("what", ["tables", "wal"])
def test_infra_disk_full(small_disk, make_own, what):
    disk = small_disk(200 if what == "tables" else 40)
    # Few buffers, so that it needs the disk all the time; the log of transactions is kept small.
    options = ("shared_buffers=4MB", "max_wal_size=8MB", "min_wal_size=2MB", "checkpoint_timeout=30s")
    stack = make_own(options=options, **({"data": disk / "data", "wal": "wal"} if what == "tables" else {"wal": disk / "wal"}))
    stack.up(planners=2, executors=2)
    load = Load(stack).begin()
    with load.fault(f"disk full ({'tables' if what == 'tables' else '`pg_wal`'}), freed after 20 s") as row:
        ballast = fill(disk)
        end = time.monotonic() + 20  # the length of the fault
        while time.monotonic() < end:
            fill(disk)  # what Postgres itself gives free is taken too
            use_up_wal(stack)
            time.sleep(0.2)
        log = (stack.cluster.directory / "log").read_text(errors="replace")
        row["remarks"].append(f"{log.count('No space left on device')} errors in the log of Postgres")
        down = not postmaster_runs(stack.cluster)
        ballast.unlink()
        if down:
            row["remarks"].append("Postgres had ended, and was started again")
            stack.cluster.start()
    assert "No space left on device" in log
    load.end()
