-- 0006_worker.sql -- who is alive.
--
-- An incarnation is one start of one process.  It beats twice a second over a
-- connection that also holds a session advisory lock (1885435756, its
-- number).  Others declare it dead when its beat stood still for 10 s of
-- their own clocks, or when its lock is free at two looks, it had taken the
-- lock on this very server, and had been beating until then.

-- Which server is this?  A lock that was taken on another one, or before a
-- restart, says nothing.
CREATE FUNCTION pawl.server_identity() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    SELECT (SELECT system_identifier FROM pg_control_system())::text || '/'
           || (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text
$$;

-- Is its lock free?  Asked in share mode, so that observers do not meet each
-- other; false where the lock of that worker does not count here.
CREATE FUNCTION pawl.lock_is_free(p_worker bigint, p_lock_server text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF p_lock_server IS DISTINCT FROM server_identity() THEN
        RETURN false;
    END IF;
    IF pg_try_advisory_lock_shared(1885435756, p_worker::int) THEN
        PERFORM pg_advisory_unlock_shared(1885435756, p_worker::int);
        RETURN true;
    END IF;
    RETURN false;
END
$$;

-- Enters a new incarnation.  A predecessor with the same instance name whose
-- lock is free is declared dead at once, so that a restarted process takes up
-- its own work without waiting.
CREATE FUNCTION pawl.register(p_instance text, p_kind text, p_class text, p_program text, p_pid int, p_capacity int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
DECLARE
    v_worker bigint;
    v_old    record;
BEGIN
    FOR v_old IN SELECT w.incarnation, w.lock_server, w.beat FROM workers w
                 WHERE w.instance = p_instance AND w.kind = p_kind AND w.state IN ('alive', 'leaving') LOOP
        IF lock_is_free(v_old.incarnation, v_old.lock_server) THEN
            PERFORM declare_dead(NULL, ARRAY[v_old.incarnation], ARRAY[v_old.beat]);
        END IF;
    END LOOP;
    INSERT INTO workers (instance, kind, class, program, pid, capacity)
    VALUES (p_instance, p_kind, p_class, p_program, p_pid, p_capacity)
    RETURNING incarnation INTO v_worker;
    RETURN v_worker;
END
$$;

-- Takes the session lock on this connection; called after every connect of
-- the heartbeat.  False: another session holds it (the old connection is not
-- yet gone): ask again.  Until then no free lock says anything about us: it
-- would be that session's end, not ours.
CREATE FUNCTION pawl.take_lock(p_worker bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_lock(1885435756, p_worker::int) THEN
        UPDATE workers w SET lock_server = NULL WHERE w.incarnation = p_worker AND w.lock_server IS NOT NULL;
        RETURN false;
    END IF;
    UPDATE workers w SET lock_server = server_identity() WHERE w.incarnation = p_worker AND w.state IN ('alive', 'leaving');
    IF NOT FOUND THEN
        PERFORM pg_advisory_unlock(1885435756, p_worker::int);
    END IF;
    RETURN true;
END
$$;

-- Makes partitions in time.  It needs a lock that everybody else's statements would
-- queue up behind, so it waits for it only a moment; there will be another hour,
-- and until then the default partition takes what comes.
CREATE FUNCTION pawl.keep_partitions() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', '200ms', true);
    PERFORM ensure_partitions();
EXCEPTION WHEN lock_not_available OR check_violation THEN
    RAISE LOG 'pawl: partitions could not be made now: %', SQLERRM;
END
$$;

-- Looks at what a worker holds, by index scans: in passing they mark the
-- entries of all that is over, so that later looks skip them.  Vacuum comes
-- when a fifth of a table is dead: without this, who declares a busy worker
-- dead reads all it did since then, for seconds, with its row locked.
CREATE FUNCTION pawl.tidy(p_worker bigint, p_kind text) RETURNS void
LANGUAGE plpgsql SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off AS $$
BEGIN
    IF p_kind = 'planner' THEN
        PERFORM 1 FROM agent_runs r WHERE r.ended_at IS NULL AND r.claim_by = p_worker;
    ELSE
        PERFORM 1 FROM agent_actions a WHERE a.status = 'running' AND a.claim_by = p_worker;
        PERFORM 1 FROM agent_actions a WHERE a.probe_by = p_worker;
    END IF;
END
$$;

-- One beat.  Rows:
--   self    state is ours ('dead': stop and come back as a new incarnation);
--           catalog = number of publications so far: another one than before, read again
--   peer    another live worker: its beat, and whether its lock is free.  Who has
--           not beaten for some seconds did not just die: a network or a full
--           disk may have kept everybody away, and the first who is back must
--           give the others time.
--   cancel  a claim of ours whose run has ended
CREATE FUNCTION pawl.heartbeat(p_worker bigint, p_in_flight int)
RETURNS TABLE (what text, worker bigint, state text, beat bigint, lock_free boolean, catalog bigint, run_id uuid, step int, index int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_beat bigint;
    v_kind text;
BEGIN
    UPDATE workers w SET beat = w.beat + 1, beat_at = clock_timestamp(), in_flight = p_in_flight
    WHERE w.incarnation = p_worker AND w.state IN ('alive', 'leaving')
    RETURNING w.beat, w.kind INTO v_beat, v_kind;

    IF v_beat % 20 = 0 THEN -- every ten seconds
        PERFORM tidy(p_worker, v_kind);
    END IF;

    IF v_beat % 7200 = 120 THEN -- about a minute after the start, then once an hour
        PERFORM keep_partitions();
    END IF;

    RETURN QUERY
    SELECT 'self', w.incarnation, w.state, w.beat, false, (SELECT catalog_changes FROM settings), NULL::uuid, 0, 0
    FROM workers w WHERE w.incarnation = p_worker
    UNION ALL
    SELECT 'peer', w.incarnation, w.state, w.beat,
           w.beat_at > clock_timestamp() - interval '5 s' AND lock_is_free(w.incarnation, w.lock_server), 0, NULL, 0, 0
    FROM workers w WHERE w.state IN ('alive', 'leaving') AND w.incarnation <> p_worker
    UNION ALL
    SELECT 'cancel', k.incarnation, NULL, 0, false, 0, k.run_id, k.step, k.index
    FROM cancellations k WHERE k.incarnation = p_worker;
END
$$;

-- Declares workers dead whose beat still is what the observer saw, and deals
-- with what they left: plans are free again, calls get the outcome `unknown`
-- by the rules of their tools.  Answers per worker: dead, alive (it has beaten
-- meanwhile), gone (it had ended already).
CREATE FUNCTION pawl.declare_dead(p_observer bigint, p_worker bigint[], p_beat bigint[])
RETURNS TABLE (worker bigint, answer text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_dead bigint[];
BEGIN
    PERFORM 1 FROM workers w WHERE w.incarnation = ANY (p_worker) ORDER BY w.incarnation FOR UPDATE;

    SELECT array_agg(w.incarnation) INTO v_dead
    FROM unnest(p_worker, p_beat) AS u (worker, beat)
    JOIN workers w ON w.incarnation = u.worker AND w.beat = u.beat AND w.state IN ('alive', 'leaving');

    IF v_dead IS NOT NULL THEN
        UPDATE workers w SET state = 'dead', ended_at = clock_timestamp(), ended_by = p_observer, in_flight = 0
        WHERE w.incarnation = ANY (v_dead);
        PERFORM bury(v_dead);
    END IF;

    RETURN QUERY
    SELECT u, CASE WHEN u = ANY (v_dead) THEN 'dead' WHEN w.state IN ('alive', 'leaving') THEN 'alive' ELSE 'gone' END
    FROM unnest(p_worker) u LEFT JOIN workers w ON w.incarnation = u;
END
$$;

-- Frees what these incarnations hold.  The caller holds their rows' locks.
-- Whatever statistics say, by the small indexes: they may be from a moment at
-- which most calls were running.
CREATE FUNCTION pawl.bury(p_worker bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_deaths_max bigint := (SELECT x.deaths_max FROM settings x);
    v_backoff    bigint := (SELECT x.death_backoff_ms FROM settings x);
    v_lo         uuid;
    v_hi         uuid;
    v_limited    boolean;
    v_plans      uuid[];
    v_killers    uuid[];
    v_calls      uuid[];
    v_moved      uuid[];
BEGIN
    SELECT array_agg(r.run_id) INTO v_plans FROM agent_runs r WHERE r.ended_at IS NULL AND r.claim_by = ANY (p_worker);
    SELECT array_agg(DISTINCT c.run_id) INTO v_calls
    FROM (SELECT a.run_id FROM agent_actions a WHERE a.status = 'running' AND a.claim_by = ANY (p_worker)
          UNION ALL
          SELECT a.run_id FROM agent_actions a WHERE a.probe_by = ANY (p_worker)) c;
    SELECT l.lo, l.hi, l.limited INTO v_lo, v_hi, v_limited FROM lock_runs(coalesce(v_plans, '{}') || coalesce(v_calls, '{}')) l;
    IF v_limited THEN -- what the model calls in flight cost nobody will tell
        PERFORM settle_budgets(v_plans, NULL, NULL, p_worker, v_lo, v_hi);
    END IF;

    UPDATE agent_runs r
    SET claim_by = NULL, claim_token = NULL, deaths = r.deaths + 1, wasted_calls = coalesce(r.wasted_calls, 0) + 1,
        not_before = CASE WHEN r.deaths > 0 THEN clock_timestamp() + v_backoff * interval '1 ms' END,
        due_at = least(CASE WHEN r.deaths > 0 THEN soon(v_backoff) ELSE clock_timestamp() END, r.deadline)
    WHERE r.run_id = ANY (v_plans) AND r.claim_by = ANY (p_worker) AND r.ended_at IS NULL;

    SELECT array_agg(r.run_id) INTO v_killers FROM agent_runs r
    WHERE r.run_id = ANY (v_plans) AND r.deaths >= v_deaths_max AND r.ended_at IS NULL AND r.claim_by IS NULL;
    IF v_killers IS NOT NULL THEN
        PERFORM end_runs(v_killers, array_fill('failed'::text, ARRAY[cardinality(v_killers)]),
                         array_fill('killed_workers'::text, ARRAY[cardinality(v_killers)]),
                         array_fill(format('%s planners died while they planned this step; look at their logs, then retry the run',
                                           v_deaths_max), ARRAY[cardinality(v_killers)]), NULL, v_lo, v_hi);
    END IF;

    SELECT array_agg(s.run_id) FILTER (WHERE s.next_step > 0) INTO v_moved
    FROM (SELECT array_agg(a.run_id) AS run, array_agg(a.step) AS step, array_agg(a.index) AS index, array_agg(a.version) AS version,
                 array_agg('unknown'::text) AS outcome, array_agg(NULL::text) AS nothing,
                 array_agg('worker_died'::text) AS code,
                 array_agg('the process that made this call died before it had an answer'::text) AS error,
                 array_agg(0::bigint) AS retry, array_agg(NULL::int) AS took
          FROM agent_actions a WHERE a.status = 'running' AND a.claim_by = ANY (p_worker)) z,
         settle_calls(z.run, z.step, z.index, z.version, z.outcome, z.nothing, z.code, z.error, z.retry, z.took, true, v_lo, v_hi) s
    WHERE z.run IS NOT NULL;
    IF v_moved IS NOT NULL THEN -- their next step is nobody's to ring for
        UPDATE agent_runs r SET due_at = least(clock_timestamp(), r.deadline) WHERE r.run_id = ANY (v_moved) AND r.ended_at IS NULL;
    END IF;

    PERFORM settle_calls(z.run, z.step, z.index, z.version, z.outcome, z.nothing, z.code, z.error, z.retry, z.took, true, v_lo, v_hi)
    FROM (SELECT array_agg(a.run_id) AS run, array_agg(a.step) AS step, array_agg(a.index) AS index, array_agg(a.version) AS version,
                 array_agg('probe_failed'::text) AS outcome, array_agg(NULL::text) AS nothing, array_agg(a.error_code) AS code,
                 array_agg(a.error) AS error, array_agg(0::bigint) AS retry, array_agg(NULL::int) AS took
          FROM agent_actions a WHERE a.probe_by = ANY (p_worker) AND a.open) z
    WHERE z.run IS NOT NULL;

    WITH theirs AS MATERIALIZED ( -- in the order of announce()
        SELECT n.id FROM announcements n WHERE n.taken_by = ANY (p_worker) ORDER BY n.id FOR UPDATE)
    UPDATE announcements n SET taken_until = least(n.taken_until, clock_timestamp()) FROM theirs t WHERE n.id = t.id;

    DELETE FROM cancellations k WHERE k.incarnation = ANY (p_worker);
END
$$;

-- SIGTERM: no new claims are expected; those in flight are finished.
CREATE FUNCTION pawl.leave(p_worker bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    UPDATE workers w SET state = 'leaving' WHERE w.incarnation = p_worker AND w.state = 'alive'
$$;

-- The last word of an incarnation.  What it still holds is treated as after a
-- crash.
CREATE FUNCTION pawl.hand_back(p_worker bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET jit = off AS $$
BEGIN
    PERFORM 1 FROM workers w WHERE w.incarnation = p_worker FOR UPDATE;
    UPDATE workers w SET state = 'gone', ended_at = clock_timestamp(), in_flight = 0
    WHERE w.incarnation = p_worker AND w.state IN ('alive', 'leaving');
    IF FOUND THEN
        PERFORM bury(ARRAY[p_worker]);
    END IF;
END
$$;

-- The newest migration here: daemons refuse an older one than they need.
CREATE FUNCTION pawl.schema_version() RETURNS int
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
BEGIN
    RETURN (SELECT max(m.number) FROM schema_migrations m);
END
$$;
