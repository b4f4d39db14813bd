"""What is over leaves dead entries in the small indexes of what is live, until Postgres vacuums; stock autovacuum comes
when a fifth of a table is dead, which may be millions. Declaring a worker dead must not wade through them: here nobody
vacuums at all, and the statistics are from a moment at which everything was live."""

import pytest

from cluster import Sql

MANY = 8000
HEAP = ("SELECT coalesce(sum(s.heap_blks_hit + s.heap_blks_read), 0) FROM pg_statio_user_tables s "
        "WHERE s.relname LIKE %s")


@pytest.fixture
def sql(cluster):
    database = cluster.database()
    sql = Sql(cluster, database)
    yield sql
    sql.close()
    cluster.drop(database)


def register(sql, kind):
    return sql.value("SELECT pawl.register('test/1', %s, 'default', 'test', 1, 10)", kind)


def blocks_read(sql, table, statement, *parameters):
    """Pages of a table that a statement looked at."""

    def count():
        sql("SELECT pg_stat_force_next_flush()")
        sql("SELECT pg_stat_clear_snapshot()")
        return sql.value(HEAP, table + "%")

    before = count()
    sql(statement, *parameters)
    return count() - before


def calls_that_are_over(sql, worker):
    sql("INSERT INTO pawl.agent_actions (run_id, step, index, version, epoch, plan_version, tool, revision, key, effect, on_unknown, "
        "timeout_ms, attempts, claim_by, status, open, result) SELECT pawl.uuid7_at(clock_timestamp()), 1, 0, 1, 1, 1, 'work', 1, "
        "gen_random_uuid(), 'once', 'tell_model', 1000, 3, %s, 'running', true, repeat('x', 500) FROM generate_series(1, %s)", worker, MANY)
    sql("ANALYZE pawl.agent_actions")
    sql("UPDATE pawl.agent_actions SET status = 'succeeded', open = false")


def runs_that_are_over(sql, worker):
    sql("INSERT INTO pawl.agent_runs (run_id, root_id, revision, agent, tenant, class, claim_by, deadline) SELECT u, u, 1, 'a', 't', 'default', %s, "
        "now() + interval '1 hour' FROM (SELECT pawl.uuid7_at(clock_timestamp()) AS u FROM generate_series(1, %s)) x", worker, MANY)
    sql("ANALYZE pawl.agent_runs")
    sql("UPDATE pawl.agent_runs SET status = 'failed', claim_by = NULL, ended_at = now()")


@pytest.mark.parametrize("kind, leave, table", [
    ("executor", calls_that_are_over, "agent_actions"), ("planner", runs_that_are_over, "agent_runs")])
def test_a_death_does_not_wade_through_what_is_over(sql, kind, leave, table):
    worker = register(sql, kind)
    leave(sql, worker)
    for _ in range(60):  # half a minute of its life
        sql("SELECT * FROM pawl.heartbeat(%s, 0)", worker)
    beat = sql.value("SELECT beat FROM pawl.workers WHERE incarnation = %s", worker)
    read = blocks_read(sql, table, "SELECT * FROM pawl.declare_dead(NULL, ARRAY[%s]::bigint[], ARRAY[%s]::bigint[])", worker, beat)
    assert sql.value("SELECT state FROM pawl.workers WHERE incarnation = %s", worker) == "dead"
    assert read < 100
