-- 0005_due.sql -- what idle processes look for: work that nobody moved in time.

-- Hands out work that is due, as doorbells would: the caller claims it by
-- claim_plans or claim_actions like any other.  What is handed out here falls
-- due again a little later, so that work which nobody can serve backs off and
-- two idle processes do not look at the same.
--
-- what: plan   plan the run's step
--       act    call (step, index)
--       moved  something was done for the run here (a deadline, a default end)
-- alone: the item was in the hands of processes that died: take it with
--        nothing else in flight
CREATE FUNCTION pawl.claim_due(p_worker bigint, p_kind text, p_class text, p_limit int)
RETURNS TABLE (what text, run_id uuid, step int, index int, alone boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_now     timestamptz := clock_timestamp();
    v_lonely  bigint;
    v_grace   bigint;
    v_lo      uuid;
    v_hi      uuid;
    v_due     uuid[];
    v_late    uuid[];
    v_expired uuid[];
BEGIN
    SELECT x.deaths_max - 1, x.ring_grace_ms INTO v_lonely, v_grace FROM settings x;
    SELECT array_agg(d.run_id ORDER BY d.run_id) INTO v_due
    FROM (SELECT r.run_id FROM agent_runs r
          WHERE r.class = p_class AND r.due_at <= v_now
            AND (r.deadline <= v_now OR (r.open_calls > 0) = (p_kind = 'executor'))
          ORDER BY r.due_at LIMIT greatest(p_limit, 1) FOR NO KEY UPDATE SKIP LOCKED) d;
    IF v_due IS NULL THEN
        RETURN;
    END IF;
    v_lo := v_due[1];
    v_hi := v_due[cardinality(v_due)];

    -- out of time
    SELECT array_agg(r.run_id) INTO v_late
    FROM unnest(v_due) u JOIN agent_runs r ON r.run_id = u WHERE r.deadline <= v_now AND r.ended_at IS NULL;
    IF v_late IS NOT NULL THEN
        RETURN QUERY SELECT 'moved', e.run_id, 0, 0, false
        FROM (SELECT array_agg(r.run_id) AS run, array_agg('failed'::text) AS status,
                     array_agg(CASE WHEN b.waits THEN r.error_code ELSE 'deadline_exceeded' END) AS code,
                     array_agg(CASE WHEN b.waits THEN r.error ELSE 'the run took longer than its limit' END) AS error
              FROM unnest(v_late) u JOIN agent_runs r ON r.run_id = u
              CROSS JOIN LATERAL (SELECT r.status = 'suspended' AND r.open_calls = 0 AS waits) b) z, -- for its budget, to the end
             end_runs(z.run, z.status, z.code, z.error, NULL, v_lo, v_hi) e;
    END IF;

    -- suspensions whose time is over get their default end
    SELECT array_agg(DISTINCT a.run_id) INTO v_expired
    FROM unnest(v_due) u JOIN agent_runs r ON r.run_id = u AND r.waiting_calls > 0
    JOIN agent_actions a ON a.run_id = r.run_id AND a.step = r.step AND a.open AND a.wait_until <= v_now;
    IF v_expired IS NOT NULL THEN
        RETURN QUERY SELECT 'moved', s.run_id, 0, 0, false
        FROM (SELECT array_agg(a.run_id) AS run, array_agg(a.step) AS step, array_agg(a.index) AS index, array_agg(a.version) AS version,
                     array_agg('told_unknown'::text) AS outcome, array_agg(NULL::text) AS nothing,
                     array_agg('decision_timeout'::text) AS code, array_agg('nobody decided in time'::text) AS error,
                     array_agg(NULL::bigint) AS retry, array_agg(NULL::int) AS took
              FROM unnest(v_expired) u JOIN agent_runs r ON r.run_id = u
              JOIN agent_actions a ON a.run_id = r.run_id AND a.step = r.step AND a.open AND a.wait_until <= v_now) z,
             settle_calls(z.run, z.step, z.index, z.version, z.outcome, z.nothing, z.code, z.error, z.retry, z.took, false, v_lo, v_hi) s;
    END IF;

    -- a tenant's new day: those that had spent the last one's budget go on
    IF EXISTS (SELECT FROM unnest(v_due) u JOIN LATERAL run_at(u, v_lo, v_hi) r ON r.status = 'suspended' AND r.open_calls = 0) THEN
        PERFORM wake_for_budget(v_due, true);
    END IF;

    RETURN QUERY
    WITH calls AS MATERIALIZED ( -- every call of these runs that has no final result, and from when it can be taken
        SELECT r.run_id, r.step, c.index, a.version,
               CASE WHEN a.version IS NULL THEN '-infinity'::timestamptz
                    WHEN a.status = 'running' OR a.probe_by IS NOT NULL THEN 'infinity'
                    ELSE coalesce(a.retry_at, a.probe_after, 'infinity') END AS free_at,
               a.wait_until, coalesce(a.deaths, 0) >= v_lonely AS alone,
               r.parallel - running_calls(r.run_id, r.step, v_lo, v_hi) AS places
        FROM unnest(v_due) u
        JOIN LATERAL run_at(u, v_lo, v_hi) r ON r.open_calls > 0 AND r.ended_at IS NULL
        JOIN LATERAL items_of(r.run_id, r.step, r.version, v_lo, v_hi) c ON c.type = 'function_call' AND c.refused IS NULL
        LEFT JOIN LATERAL newest_action(r.run_id, r.step, c.index, v_lo, v_hi) a ON a.plan_version = r.version AND a.epoch = r.epoch
        WHERE a.version IS NULL OR a.open
    ), takeable AS MATERIALIZED (
        SELECT * FROM (SELECT c.*, row_number() OVER (PARTITION BY c.run_id ORDER BY c.index) AS nth FROM calls c WHERE c.free_at <= v_now) x
        WHERE x.nth <= x.places
    ), looked AS (
        UPDATE agent_runs r
        SET due_at = CASE
            WHEN r.open_calls = 0 THEN
                CASE WHEN r.claim_by IS NOT NULL THEN r.deadline
                     WHEN r.not_before > v_now THEN least(soon_at(r.not_before), r.deadline)
                     ELSE least(soon(v_grace), r.deadline) END
            WHEN EXISTS (SELECT FROM takeable t WHERE t.run_id = r.run_id) THEN least(soon(v_grace), r.deadline)
            ELSE least((SELECT min(least(CASE WHEN c.free_at > v_now THEN c.free_at END, c.wait_until))
                        FROM calls c WHERE c.run_id = r.run_id), r.deadline) END
        FROM unnest(v_due) u WHERE r.run_id = u AND r.ended_at IS NULL
        RETURNING r.run_id, r.step, r.open_calls, r.claim_by, r.not_before, r.deaths, r.status
    )
    SELECT 'plan', l.run_id, l.step, -1, l.deaths >= v_lonely
    FROM looked l
    WHERE p_kind = 'planner' AND l.open_calls = 0 AND l.claim_by IS NULL AND l.status = 'running'
      AND coalesce(l.not_before <= v_now, true)
    UNION ALL
    SELECT 'act', t.run_id, t.step, t.index, t.alone FROM takeable t WHERE p_kind = 'executor';
END
$$;
