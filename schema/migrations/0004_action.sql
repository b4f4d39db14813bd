-- 0004_action.sql -- the claims and commits of the hands.

-- How many of these runs are this one.
CREATE FUNCTION pawl.count_of(p_run uuid, p_among uuid[]) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT count(*)::int FROM unnest(p_among) x WHERE x = p_run);

-- Whether the nth of these calls is one of those before it.
CREATE FUNCTION pawl.asked_before(p_run uuid[], p_step int[], p_index int[], p_nth int) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM unnest(p_run[1:p_nth - 1], p_step, p_index) AS x (run, step, index)
               WHERE x.run = p_run[p_nth] AND x.step = p_step[p_nth] AND x.index = p_index[p_nth]);

-- Claims calls of stable plans.
--
-- answers: yours  kind `call`: send it before send_by_ms are over (counted
--                 from before this statement was sent), with this key
--                 (asked again with the same token: what is left of them);
--                 kind `probe`: ask the tool's read-back URL about this key
--          busy   another live claim
--          done   the call has its final result
--          later  not yet: back-off, the run's limit of parallel calls, or an
--                 item that is taken alone
--          no     nothing to do (other step, refused call, suspended, ended)
--          dead   this incarnation was declared dead: restart
-- p_cannot: revisions of tools that this process cannot serve (a secret is
--           missing here): left due for others.
-- ring_plan: > 0 when this very claim completed the step (a success of an
--            earlier epoch was copied): the step to be planned next.
CREATE FUNCTION pawl.claim_actions(
    p_worker bigint, p_token uuid[], p_run uuid[], p_step int[], p_index int[], p_alone boolean, p_cannot bigint[]
) RETURNS TABLE (item int, answer text, kind text, epoch int, version int, key uuid, tool text, revision bigint,
                 arguments text, timeout_ms int, send_by_ms int, attempt int, agent text, tenant text, left_ms bigint,
                 meta text, call_id text, ring_plan int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_set     pawl.settings;
    v_lock    record;
    v_lo      uuid;
    v_hi      uuid;
    v_run     uuid;
    v_step    int;
    v_index   int;
    v_last    int;
    v_does    text;
BEGIN
    IF NOT hold_worker(p_worker) THEN
        RETURN QUERY SELECT (n - 1)::int, 'dead', NULL::text, NULL::int, NULL::int, NULL::uuid, NULL::text, NULL::bigint,
                            NULL::text, NULL::int, NULL::int, NULL::int, NULL::text, NULL::text, NULL::bigint, NULL::text,
                            NULL::text, NULL::int
                     FROM unnest(p_run) WITH ORDINALITY u (run, n);
        RETURN;
    END IF;
    SELECT * INTO v_set FROM settings;
    v_lock := lock_runs(p_run);
    v_lo := v_lock.lo;
    v_hi := v_lock.hi;
    IF v_lock.retried THEN
        PERFORM copy_successes(p_run, p_step);
    END IF;
    IF EXISTS (SELECT FROM unknown_calls) THEN
        PERFORM hold_twins(p_run, p_step, p_index);
    END IF;

    FOR item, answer, kind, epoch, version, key, tool, revision, arguments, timeout_ms, send_by_ms, attempt, agent, tenant, left_ms, meta,
        call_id, ring_plan, v_run, v_step, v_index, v_last, v_does IN
    WITH seen AS MATERIALIZED (
        SELECT (u.n - 1)::int AS item, u.token, u.run, u.step, u.index, r.epoch, r.version AS plan_version, r.agent, r.tenant,
               r.deadline, r.step AS now_step, c.tool, c.revision, c.arguments, c.digest, c.call_id, v.effect, v.on_unknown, v.timeout_ms,
               v.attempts, a.version AS last_version, a.status, a.open, a.key, a.cut, a.failures, a.deaths,
               a.send_by,
               CASE WHEN r.run_id IS NULL THEN 'no'
                    WHEN r.ended_at IS NOT NULL OR r.step > u.step THEN 'done'
                    WHEN r.step < u.step OR r.open_calls = 0 OR c.run_id IS NULL OR c.type <> 'function_call'
                         OR c.refused IS NOT NULL THEN 'no'
                    WHEN NOT a.live THEN 'call'
                    WHEN NOT a.open THEN 'done'
                    WHEN a.status = 'running' THEN
                        CASE WHEN a.claim_by = p_worker AND a.claim_token = u.token THEN 'same' ELSE 'busy' END
                    WHEN a.status LIKE 'awaiting_%' THEN 'no'
                    WHEN a.probe_by IS NOT NULL THEN
                        CASE WHEN a.probe_by = p_worker AND a.probe_token = u.token THEN 'same_probe' ELSE 'busy' END
                    WHEN coalesce(a.retry_at, a.probe_after) > clock_timestamp() THEN 'later'
                    WHEN a.deaths >= v_set.deaths_max - 1 AND NOT p_alone THEN 'later'
                    WHEN a.probe_after IS NOT NULL THEN 'probe'
                    ELSE 'call' END AS may,
               -- asked for twice in here?  The look-ups of two alone are cheap, and nearly always say no
               array_position(p_run, u.run) < u.n AND array_position(p_index, u.index) < u.n
                   AND asked_before(p_run, p_step, p_index, u.n::int) AS again,
               r.parallel, CASE WHEN r.open_calls > r.parallel THEN
                   running_calls(r.run_id, r.step, v_lo, v_hi) + count_of(u.run, p_run[1:u.n]) ELSE 0 END AS nth
        FROM unnest(p_token, p_run, p_step, p_index) WITH ORDINALITY AS u (token, run, step, index, n)
        LEFT JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
        LEFT JOIN LATERAL item_at(r.run_id, u.step, u.index, r.version, v_lo, v_hi) c ON true
        LEFT JOIN revisions v ON v.seq = c.revision
        LEFT JOIN LATERAL (SELECT x.*, (x.plan_version = r.version AND x.epoch = r.epoch) AS live
                           FROM newest_action(u.run, u.step, u.index, v_lo, v_hi) x) a ON true
    ), judged AS NOT MATERIALIZED (
        SELECT s.*, CASE WHEN s.may NOT IN ('call', 'probe') THEN s.may -- also what is ours already
                         WHEN s.again THEN 'busy'
                         WHEN s.deadline <= clock_timestamp() OR s.effect IS NULL OR s.revision = ANY (p_cannot) THEN 'later'
                         WHEN s.may = 'call' AND s.nth > s.parallel THEN 'later' ELSE s.may END AS does
        FROM seen s
    ), called AS (
        INSERT INTO agent_actions (run_id, step, index, version, epoch, plan_version, tool, revision, digest, key, effect,
                                   on_unknown, timeout_ms, attempts, claim_by, claim_token, send_by, status, open, cut,
                                   failures, deaths)
        SELECT j.run, j.step, j.index, coalesce(j.last_version, 0) + 1, j.epoch, j.plan_version, j.tool, j.revision, j.digest,
               CASE WHEN j.open THEN j.key ELSE gen_random_uuid() END, j.effect, j.on_unknown, j.timeout_ms, j.attempts,
               p_worker, j.token, clock_timestamp() + v_set.send_by_ms * interval '1 ms', 'running', true,
               coalesce(j.open AND j.cut, false), CASE WHEN j.open THEN j.failures ELSE 0 END,
               CASE WHEN j.open THEN j.deaths ELSE 0 END
        FROM judged j WHERE j.does = 'call'
        RETURNING agent_actions.run_id, agent_actions.step, agent_actions.index, agent_actions.version, agent_actions.key,
                  agent_actions.failures
    )
    SELECT j.item, CASE WHEN j.does IN ('call', 'same', 'probe', 'same_probe') THEN 'yours' ELSE j.does END,
           CASE WHEN j.does IN ('call', 'same') THEN 'call' WHEN j.does IN ('probe', 'same_probe') THEN 'probe' END,
           j.epoch, coalesce(k.version, j.last_version), coalesce(k.key, j.key), j.tool, j.revision, j.arguments, j.timeout_ms,
           CASE j.does WHEN 'same' THEN greatest(0, extract(epoch FROM j.send_by - clock_timestamp()) * 1000)::int
                       ELSE v_set.send_by_ms::int END,
           coalesce(k.failures, j.failures) + 1, j.agent, j.tenant,
           (extract(epoch FROM j.deadline - clock_timestamp()) * 1000)::bigint, i.meta::text, j.call_id,
           CASE WHEN j.does = 'done' AND j.now_step = j.step + 1 THEN j.now_step ELSE 0 END,
           j.run, j.step, j.index, j.last_version, CASE WHEN j.does = 'call' AND j.open THEN 'again' ELSE j.does END
    FROM judged j
    LEFT JOIN called k ON j.does = 'call' AND k.run_id = j.run AND k.step = j.step AND k.index = j.index
    LEFT JOIN LATERAL input_at(j.run, v_lo, v_hi) i ON j.does IN ('call', 'same')
    LOOP
        IF v_does = 'again' THEN -- a new version has taken the place of the one that waited
            UPDATE agent_actions a SET open = false, retry_at = NULL
            WHERE a.run_id = v_run AND a.step = v_step AND a.index = v_index AND a.version = v_last;
        ELSIF v_does = 'probe' THEN
            UPDATE agent_actions a SET probe_by = p_worker, probe_token = p_token[item + 1], probes = a.probes + 1
            WHERE a.run_id = v_run AND a.step = v_step AND a.index = v_index AND a.version = v_last;
        END IF;
        RETURN NEXT;
    END LOOP;

    IF EXISTS (SELECT FROM cancellations) THEN -- who asks again for a claim whose run has ended does not hold that call
        DELETE FROM cancellations k
        USING unnest(p_token, p_run, p_step, p_index) AS u (token, run, step, index)
        JOIN LATERAL newest_action(u.run, u.step, u.index, v_lo, v_hi) a ON a.claim_by = p_worker AND a.claim_token = u.token
        WHERE k.incarnation = p_worker AND k.run_id = u.run AND k.step = u.step AND k.index = u.index;
    END IF;
END
$$;

-- After a retry: a success of the same tool with the same arguments in that
-- step, from an earlier epoch, is the result.  Each success serves one call.
CREATE FUNCTION pawl.copy_successes(p_run uuid[], p_step int[]) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v record;
BEGIN
    FOR v IN
        WITH calls AS (
            SELECT r.run_id, r.step, r.epoch, r.version AS plan_version, c.index, c.tool, c.revision, c.digest,
                   row_number() OVER (PARTITION BY r.run_id, c.tool, c.digest ORDER BY c.index) AS nth
            FROM (SELECT DISTINCT run, step FROM unnest(p_run, p_step) AS x (run, step)) u
            JOIN agent_runs r ON r.run_id = u.run AND r.step = u.step AND r.epoch > 1 AND r.open_calls > 0
            JOIN agent_step_content c ON c.run_id = r.run_id AND c.step = r.step AND c.version = r.version
                 AND c.type = 'function_call' AND c.refused IS NULL AND c.digest IS NOT NULL
        ), successes AS (
            SELECT a.*, row_number() OVER (PARTITION BY a.run_id, a.tool, a.digest ORDER BY a.index, a.version) AS nth
            FROM (SELECT DISTINCT k.run_id, k.step, k.epoch FROM calls k) k
            JOIN agent_actions a ON a.run_id = k.run_id AND a.step = k.step AND a.status = 'succeeded' AND a.epoch < k.epoch
                 AND a.copied_from IS NULL
        )
        SELECT k.*, s.version AS from_version, s.index AS from_index, s.key, s.effect, s.on_unknown, s.timeout_ms, s.attempts,
               s.result, s.duration_ms,
               (SELECT coalesce(max(x.version), 0) + 1 FROM agent_actions x
                WHERE x.run_id = k.run_id AND x.step = k.step AND x.index = k.index) AS new_version
        FROM calls k JOIN successes s ON s.run_id = k.run_id AND s.tool = k.tool AND s.digest = k.digest AND s.nth = k.nth
        WHERE NOT EXISTS (SELECT FROM agent_actions x WHERE x.run_id = k.run_id AND x.step = k.step AND x.index = k.index
                          AND x.plan_version = k.plan_version AND x.epoch = k.epoch)
    LOOP
        INSERT INTO agent_actions (run_id, step, index, version, epoch, plan_version, tool, revision, digest, key, effect,
                                   on_unknown, timeout_ms, attempts, status, open, result, copied_from, copied_index,
                                   duration_ms, finished_at)
        VALUES (v.run_id, v.step, v.index, v.new_version, v.epoch, v.plan_version, v.tool, v.revision, v.digest, v.key, v.effect,
                v.on_unknown, v.timeout_ms, v.attempts, 'succeeded', false, v.result, v.from_version, v.from_index,
                v.duration_ms, clock_timestamp());
        PERFORM count_calls(ARRAY[v.run_id], ARRAY[1], ARRAY[0], ARRAY[NULL::timestamptz], v.run_id, v.run_id);
    END LOOP;
END
$$;

-- A call that is not repeatable is not sent while another one with the same
-- tool and arguments, in the same tree of runs, is unknown: it waits for a
-- person.
CREATE FUNCTION pawl.hold_twins(p_run uuid[], p_step int[], p_index int[]) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v record;
BEGIN
    FOR v IN
        SELECT r.run_id, r.step, r.epoch, r.version AS plan_version, c.index, c.tool, c.revision, c.digest, w.on_unknown,
               w.timeout_ms, w.attempts, a.version AS last_version, a.key, coalesce(a.open, false) AS open,
               clock_timestamp() + coalesce(w.ask_timeout_ms, 604800000) * interval '1 ms' AS wait_until
        FROM (SELECT DISTINCT * FROM unnest(p_run, p_step, p_index) AS x (run, step, index)) u
        JOIN agent_runs r ON r.run_id = u.run AND r.step = u.step AND r.open_calls > 0
        JOIN agent_step_content c ON c.run_id = r.run_id AND c.step = r.step AND c.index = u.index AND c.version = r.version
             AND c.type = 'function_call' AND c.refused IS NULL
        JOIN revisions w ON w.seq = c.revision AND w.effect = 'once'
        LEFT JOIN LATERAL (SELECT x.* FROM agent_actions x WHERE x.run_id = r.run_id AND x.step = r.step AND x.index = c.index
                           ORDER BY x.version DESC LIMIT 1) a ON true
        WHERE EXISTS (SELECT FROM unknown_calls k WHERE k.root_id = r.root_id AND k.tool = c.tool
                      AND k.digest = coalesce(c.digest, '')
                      AND (k.run_id, k.step, k.index) IS DISTINCT FROM (r.run_id, r.step, CASE WHEN a.plan_version = r.version AND a.epoch = r.epoch THEN c.index END))
          AND (a.version IS NULL OR a.plan_version <> r.version OR a.epoch <> r.epoch
               OR (a.open AND a.status = 'failed_before_effect'))
    LOOP
        INSERT INTO agent_actions (run_id, step, index, version, epoch, plan_version, tool, revision, digest, key, effect,
                                   on_unknown, timeout_ms, attempts, status, open, wait_until, error_code, error)
        VALUES (v.run_id, v.step, v.index, coalesce(v.last_version, 0) + 1, v.epoch, v.plan_version, v.tool, v.revision,
                v.digest, CASE WHEN v.open THEN v.key ELSE gen_random_uuid() END, 'once', v.on_unknown, v.timeout_ms, v.attempts,
                'awaiting_decision', true, v.wait_until, 'twin_unknown',
                'the same call was sent before and nobody knows whether it happened; this one was not sent');
        UPDATE agent_actions a SET open = false, retry_at = NULL
        WHERE v.open AND a.run_id = v.run_id AND a.step = v.step AND a.index = v.index AND a.version = v.last_version;
        PERFORM count_calls(ARRAY[v.run_id], ARRAY[0], ARRAY[1], ARRAY[v.wait_until], v.run_id, v.run_id);
    END LOOP;
END
$$;

-- Takes notice, in the run rows, of calls that got their final result
-- (p_closed), that began or ended to wait (p_waiting, may be negative), and of
-- moments at which somebody must look again (p_due).  The only place where a
-- step completes by its calls, and where a run becomes suspended or wakes.
-- One element per run; the caller holds the locks.
CREATE FUNCTION pawl.count_calls(p_run uuid[], p_closed int[], p_waiting int[], p_due timestamptz[], v_lo uuid, v_hi uuid)
RETURNS TABLE (run_id uuid, next_step int, open_calls int, parallel int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_grace bigint := (SELECT x.ring_grace_ms FROM settings x);
    v_woke  boolean;
BEGIN
    FOR run_id, next_step, open_calls, parallel, v_woke IN
        UPDATE agent_runs r
        SET open_calls = r.open_calls - u.closed,
            waiting_calls = r.waiting_calls + u.waiting,
            step = r.step + CASE WHEN r.open_calls = u.last THEN 1 ELSE 0 END, -- these were the last: the step is complete
            version = CASE WHEN r.open_calls = u.last THEN 0 ELSE r.version END,
            failures = CASE WHEN r.open_calls = u.last THEN 0 ELSE r.failures END,
            deaths = CASE WHEN r.open_calls = u.last THEN 0 ELSE r.deaths END,
            status = CASE WHEN r.open_calls > u.closed AND r.waiting_calls + u.waiting = r.open_calls - u.closed
                          THEN 'suspended' WHEN r.open_calls = 0 THEN r.status ELSE 'running' END, -- a late result: it may wait for a budget
            due_at = least(CASE WHEN r.open_calls = u.last THEN soon(v_grace)
                                WHEN r.open_calls > r.parallel THEN clock_timestamp() -- a place is free for the next call
                                ELSE least(r.due_at, u.due) END, r.deadline),
            change = r.change + 1
        FROM (SELECT x.*, nullif(x.closed, 0) AS last
              FROM unnest(p_run, p_closed, p_waiting, p_due) AS x (run, closed, waiting, due)) u
        WHERE r.run_id = u.run AND r.ended_at IS NULL
        RETURNING r.run_id,
                  CASE WHEN r.open_calls = 0 AND u.closed > 0 THEN r.step
                       -- every open call waits now, and before not every one did
                       WHEN r.status = 'suspended' AND r.waiting_calls - u.waiting < r.open_calls + u.closed THEN -1
                       ELSE 0 END, r.open_calls::int, r.parallel,
                  r.status = 'running' AND r.open_calls + u.closed > 0 AND r.waiting_calls - u.waiting = r.open_calls + u.closed
    LOOP
        IF v_woke OR next_step < 0 THEN -- who waits for the world holds no place
            PERFORM note_places(ARRAY[count_calls.run_id], CASE WHEN v_woke THEN 1 ELSE -1 END, v_lo, v_hi);
        END IF;
        IF next_step < 0 THEN
            INSERT INTO announcements (run_id, epoch, step, type, taken_until)
            SELECT r.run_id, r.epoch, r.step, 'waiting', clock_timestamp() FROM run_at(count_calls.run_id, v_lo, v_hi) r;
            next_step := 0;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- The same for one success each of these runs, named as often as it has one.
CREATE FUNCTION pawl.count_successes(p_run uuid[], v_lo uuid, v_hi uuid)
RETURNS TABLE (run_id uuid, next_step int, open_calls int, parallel int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_run    uuid[] := ARRAY[v_lo]; -- all of one run
    v_closed int[] := ARRAY[cardinality(p_run)];
BEGIN
    IF v_lo <> v_hi THEN
        SELECT array_agg(g.run), array_agg(g.closed) INTO v_run, v_closed
        FROM (SELECT x AS run, count(*)::int AS closed FROM unnest(p_run) x GROUP BY x) g;
    END IF;
    RETURN QUERY SELECT c.* FROM count_calls(v_run, v_closed, array_fill(0, ARRAY[cardinality(v_run)]),
                                             array_fill(NULL::timestamptz, ARRAY[cardinality(v_run)]), v_lo, v_hi) c;
END
$$;

-- Gives attempts their outcome by the rules of design section 6.  The caller
-- holds the locks and has checked that the attempts are open and whose they
-- are.  p_death: the process died with them.
--
-- outcomes: succeeded, failed, failed_before_effect, unknown, handed_back
--           (claimed, not sent), happened, did_not_happen, unsure (of a probe),
--           probe_failed, told_unknown (the default end of a decision)
-- p_retry_ms: NULL = this outcome is not to be tried again
-- returned per attempt: its place in the arrays, from 1; its status; when it may
-- be tried again (-1: not); whether the run has ended; and of its run the step to
-- be planned next (0: the step is not complete), open calls and calls at a time.
CREATE FUNCTION pawl.settle_calls(
    p_run uuid[], p_step int[], p_index int[], p_version int[], p_outcome text[], p_result text[], p_code text[], p_error text[],
    p_retry_ms bigint[], p_duration_ms int[], p_death boolean, v_lo uuid, v_hi uuid
) RETURNS TABLE (ref int, run_id uuid, status text, retry_ms bigint, ended boolean, next_step int, open_calls int, parallel int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now        timestamptz := clock_timestamp();
    v_set        pawl.settings;
    v_once       boolean;
    v_ref        int[];
    v_of         uuid[];
    v_status     text[];
    v_retry      bigint[];
    v_ended      boolean[];
    v_run        uuid[];
    v_closed     int[];
    v_waiting    int[];
    v_due        timestamptz[];
BEGIN
    SELECT * INTO v_set FROM settings;
    WITH was AS MATERIALIZED (
        SELECT a.*, u.ref, u.outcome, u.result AS new_result, u.code, u.error AS new_error, u.retry_ms, u.took, r.root_id,
               r.ended_at AS run_ended, (r.step = a.step AND r.epoch = a.epoch AND r.ended_at IS NULL) AS counts,
               a.deaths + CASE WHEN p_death THEN 1 ELSE 0 END AS new_deaths,
               w.ask_timeout_ms,
               -- may this attempt be followed by another one?
               a.open AND a.failures + 1 < a.attempts AND u.retry_ms IS NOT NULL AS again
        FROM unnest(p_run, p_step, p_index, p_version, p_outcome, p_result, p_code, p_error, p_retry_ms, p_duration_ms)
             WITH ORDINALITY AS u (run, step, index, version, outcome, result, code, error, retry_ms, took, ref)
        JOIN LATERAL action_at(u.run, u.step, u.index, u.version, v_lo, v_hi) a ON true
        JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
        LEFT JOIN revisions w ON w.seq = a.revision
    ), ruled AS MATERIALIZED (
        SELECT w.*,
               CASE w.outcome
                   WHEN 'succeeded' THEN 'end_succeeded'
                   WHEN 'happened' THEN 'end_succeeded'
                   WHEN 'failed' THEN CASE WHEN w.again AND w.effect <> 'once' THEN 'again_failed' ELSE 'end_failed' END
                   WHEN 'handed_back' THEN CASE WHEN w.cut AND w.effect <> 'read_only' AND NOT w.open THEN 'end_unknown' ELSE 'again_unsent' END
                   WHEN 'failed_before_effect' THEN
                       CASE WHEN w.again THEN 'again_unsent'
                            WHEN w.cut AND w.effect <> 'read_only' THEN 'end_unknown' ELSE 'end_unsent' END
                   WHEN 'did_not_happen' THEN CASE WHEN w.failures < w.attempts THEN 'again_unsent' ELSE 'end_unsent' END
                   WHEN 'unsure' THEN 'ask'
                   WHEN 'probe_failed' THEN CASE WHEN w.probes >= v_set.probes_max THEN 'ask' ELSE 'probe' END
                   WHEN 'told_unknown' THEN CASE WHEN w.error_code = 'twin_unknown' AND NOT w.cut THEN 'end_unsent' ELSE 'end_unknown' END
                   ELSE -- unknown
                       CASE WHEN w.effect <> 'once' AND w.new_deaths < v_set.deaths_max AND (w.again OR p_death) THEN 'again_unknown'
                            WHEN w.effect = 'read_only' THEN 'end_failed'
                            WHEN w.effect = 'idempotent' OR w.on_unknown = 'tell_model' THEN 'end_unknown'
                            WHEN w.on_unknown = 'ask' THEN 'ask'
                            ELSE 'probe' END
               END AS rule
        FROM was w
    ), done AS (
        UPDATE agent_actions a
        SET status = CASE WHEN NOT w.counts AND w.rule IN ('again_unsent', 'end_unsent') AND a.status IN ('unknown', 'cancelled') THEN 'cancelled'
                          WHEN w.rule = 'end_succeeded' THEN 'succeeded'
                          WHEN w.rule IN ('end_failed', 'again_failed') THEN 'failed'
                          WHEN w.rule IN ('end_unsent', 'again_unsent') THEN 'failed_before_effect'
                          WHEN w.rule = 'ask' THEN 'awaiting_decision'
                          ELSE 'unknown' END,
            open = w.counts AND w.rule NOT LIKE 'end_%',
            cut = CASE w.outcome WHEN 'did_not_happen' THEN false WHEN 'unknown' THEN true ELSE a.cut END,
            failures = a.failures + CASE WHEN w.outcome IN ('failed', 'failed_before_effect') THEN 1
                                         WHEN w.outcome = 'unknown' AND (w.effect = 'once' OR NOT p_death) THEN 1 ELSE 0 END,
            deaths = w.new_deaths,
            retry_at = CASE WHEN w.counts AND w.rule LIKE 'again_%' THEN
                v_now + CASE WHEN w.new_deaths > 1 AND p_death THEN v_set.death_backoff_ms ELSE coalesce(w.retry_ms, 0) END * interval '1 ms' END,
            probe_after = CASE WHEN w.counts AND w.rule = 'probe' THEN
                CASE WHEN w.outcome = 'probe_failed' THEN v_now + coalesce(w.retry_ms, 1000) * interval '1 ms'
                     ELSE greatest(v_now, a.send_by + (a.timeout_ms + v_set.probe_margin_ms) * interval '1 ms') END END,
            probe_by = NULL, probe_token = NULL,
            wait_until = CASE WHEN w.counts AND w.rule = 'ask' THEN v_now + coalesce(w.ask_timeout_ms, 604800000) * interval '1 ms' END,
            result = CASE WHEN w.rule = 'end_succeeded' OR w.outcome = 'failed' THEN w.new_result ELSE a.result END,
            error_code = CASE WHEN w.rule = 'end_succeeded' THEN NULL ELSE coalesce(w.code, a.error_code) END,
            error = CASE WHEN w.rule = 'end_succeeded' THEN NULL ELSE coalesce(left(w.new_error, 2000), a.error) END,
            duration_ms = coalesce(w.took, a.duration_ms),
            finished_at = v_now
        FROM ruled w
        WHERE a.run_id = w.run_id AND a.step = w.step AND a.index = w.index AND a.version = w.version
        RETURNING a.run_id, a.step, a.index, a.version, a.status, a.open, a.effect, a.tool, a.digest, a.retry_at, a.probe_after,
                  a.wait_until, w.open AS was_open, w.status AS old_status, w.counts, w.ref, w.run_ended
    )
    SELECT o.once, o.ref, o.run, o.status, o.retry, o.ended, t.run, t.closed, t.waiting, t.due
    INTO v_once, v_ref, v_of, v_status, v_retry, v_ended, v_run, v_closed, v_waiting, v_due
    FROM (SELECT bool_or(d.effect = 'once') AS once, array_agg(d.ref::int) AS ref, array_agg(d.run_id) AS run, array_agg(d.status::text) AS status,
                 array_agg(CASE WHEN d.retry_at IS NULL THEN -1
                                ELSE greatest(0, (extract(epoch FROM d.retry_at - v_now) * 1000)::bigint) END) AS retry,
                 array_agg(d.run_ended IS NOT NULL) AS ended
          FROM done d) o,
         (SELECT array_agg(t.run_id) AS run, array_agg(t.closed) AS closed, array_agg(t.waiting) AS waiting, array_agg(t.due) AS due
          FROM (SELECT d.run_id, count(*) FILTER (WHERE d.was_open AND NOT d.open)::int AS closed,
                 (count(*) FILTER (WHERE d.status LIKE 'awaiting_%' AND d.open)
                  - count(*) FILTER (WHERE d.old_status LIKE 'awaiting_%' AND d.was_open))::int AS waiting,
                 min(least(CASE WHEN d.retry_at <= v_now THEN v_now ELSE soon_at(d.retry_at) END, soon_at(d.probe_after),
                           soon_at(d.wait_until))) AS due
          FROM done d WHERE d.counts GROUP BY d.run_id) t) t;

    IF v_once THEN
        PERFORM note_unknown(p_run, p_step, p_index, p_version, v_lo, v_hi);
    END IF;
    RETURN QUERY
    SELECT o.ref, o.run, o.status, o.retry, o.ended, coalesce(c.next_step, 0), coalesce(c.open_calls, 0), coalesce(c.parallel, 0)
    FROM unnest(v_ref, v_of, v_status, v_retry, v_ended) AS o (ref, run, status, retry, ended)
    LEFT JOIN count_calls(v_run, v_closed, v_waiting, v_due, v_lo, v_hi) c ON c.run_id = o.run;
END
$$;

-- Keeps the list of calls that hold up their twins: those that are not
-- repeatable and whose outcome nobody knows.
CREATE FUNCTION pawl.note_unknown(p_run uuid[], p_step int[], p_index int[], p_version int[], p_lo uuid, p_hi uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unknown_calls (root_id, tool, digest, run_id, step, index, version)
    SELECT r.root_id, a.tool, coalesce(a.digest, ''), a.run_id, a.step, a.index, a.version
    FROM unnest(p_run, p_step, p_index, p_version) AS u (run, step, index, version)
    JOIN LATERAL action_at(u.run, u.step, u.index, u.version, p_lo, p_hi) a ON a.effect = 'once' AND a.status IN ('unknown', 'awaiting_decision')
    JOIN LATERAL run_at(u.run, p_lo, p_hi) r ON true
    ON CONFLICT DO NOTHING;

    DELETE FROM unknown_calls k
    USING unnest(p_run, p_step, p_index, p_version) AS u (run, step, index, version)
    JOIN LATERAL action_at(u.run, u.step, u.index, u.version, p_lo, p_hi) a ON a.effect = 'once' AND a.status NOT IN ('unknown', 'awaiting_decision')
    JOIN LATERAL run_at(u.run, p_lo, p_hi) r ON true
    WHERE k.root_id = r.root_id AND k.tool = a.tool AND k.digest = coalesce(a.digest, '')
      AND k.run_id = a.run_id AND k.step = a.step AND k.index = a.index AND k.version = a.version;
END
$$;

-- The nth call of a step that nobody has claimed yet; -1: there is none.
CREATE FUNCTION pawl.free_call(p_run uuid, p_nth int, p_lo uuid, p_hi uuid) RETURNS int
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((
        SELECT c.index FROM run_at(p_run, p_lo, p_hi) r
        JOIN LATERAL items_of(r.run_id, r.step, r.version, p_lo, p_hi) c ON c.type = 'function_call' AND c.refused IS NULL
        WHERE NOT EXISTS (SELECT FROM newest_action(c.run_id, c.step, c.index, p_lo, p_hi) x
                          WHERE x.plan_version = r.version AND x.epoch = r.epoch)
        ORDER BY c.index OFFSET p_nth - 1 LIMIT 1), -1);
END
$$;

CREATE FUNCTION pawl.soon_at(p_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_timestamp(ceil(extract(epoch FROM p_at)));

-- Where a run has more calls than may be made at a time: the one that takes
-- the place of the nth of those that just ended; else -1.
CREATE FUNCTION pawl.next_free_call(p_run uuid, p_nth int, p_ended int, p_open int, p_parallel int, p_lo uuid, p_hi uuid) RETURNS int
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_open > 0 AND p_open + p_ended > p_parallel THEN pawl.free_call(p_run, p_nth, p_lo, p_hi) ELSE -1 END
$$;

-- The other outcomes that are committed, and the successes that are not plain:
-- late ones, and those of an ended run.  p_settled: the items, from 0, that have their answer.
CREATE FUNCTION pawl.commit_judged(
    p_settled int[], p_worker bigint, p_token uuid[], p_run uuid[], p_step int[], p_index int[], p_version int[], p_outcome text[],
    p_result text[], p_code text[], p_error text[], p_retry_ms bigint[], p_duration_ms int[], v_lo uuid, v_hi uuid
) RETURNS TABLE (item int, answer text, status text, retry_ms bigint, ring_plan int, ring_index int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_item   int[]; -- the accepted ones, in their order
    v_no     int[]; -- the others
    v_answer text[];
    v_status text[];
BEGIN
    SELECT array_agg(j.item ORDER BY j.item) FILTER (WHERE j.answer IN ('ok', 'stored')),
           array_agg(j.item) FILTER (WHERE j.answer NOT IN ('ok', 'stored')),
           array_agg(j.answer) FILTER (WHERE j.answer NOT IN ('ok', 'stored')),
           array_agg(j.status) FILTER (WHERE j.answer NOT IN ('ok', 'stored'))
    INTO v_item, v_no, v_answer, v_status
    FROM (
        SELECT (u.n - 1)::int AS item,
            CASE WHEN a.run_id IS NULL THEN 'stale'
                 WHEN coalesce(u.outcome, '') NOT IN ('succeeded', 'failed', 'failed_before_effect', 'unknown', 'handed_back',
                      'happened', 'did_not_happen', 'unsure', 'probe_failed') THEN 'bad'
                 WHEN row_number() OVER (PARTITION BY u.run, u.step, u.index, u.version ORDER BY u.n) > 1 THEN 'stale'
                 WHEN u.outcome IN ('happened', 'did_not_happen', 'unsure', 'probe_failed') THEN
                      CASE WHEN a.probe_by = p_worker AND a.probe_token = u.token AND a.open AND r.ended_at IS NULL THEN 'ok' ELSE 'stale' END
                 WHEN a.claim_by IS DISTINCT FROM p_worker OR a.claim_token IS DISTINCT FROM u.token THEN 'stale'
                 -- ours, and its place not taken: also after our death was declared
                 WHEN a.status = 'running' AND r.ended_at IS NULL AND r.step = a.step AND r.epoch = a.epoch THEN 'ok'
                 -- the run has ended: the truth about the call is stored all the same
                 WHEN r.ended_at IS NOT NULL AND a.status IN ('unknown', 'cancelled')
                      AND u.outcome IN ('succeeded', 'failed', 'failed_before_effect', 'handed_back')
                      AND (a.error_code = 'run_ended'
                           -- or we were declared dead before that
                           OR (u.outcome IN ('succeeded', 'failed') AND r.epoch = a.epoch AND r.step = a.step
                               AND NOT EXISTS (SELECT FROM newest_action(a.run_id, a.step, a.index, v_lo, v_hi) x
                                               WHERE x.version > a.version))) THEN 'stored'
                 -- a late result: in place of `unknown`, while it is the last version and nobody has read it
                 WHEN a.status IN ('unknown', 'awaiting_decision') AND u.outcome IN ('succeeded', 'failed')
                      AND r.ended_at IS NULL AND r.epoch = a.epoch
                      AND (r.step = a.step OR (r.step = a.step + 1 AND r.version = 0 AND r.claim_by IS NULL))
                      AND NOT EXISTS (SELECT FROM newest_action(a.run_id, a.step, a.index, v_lo, v_hi) x
                                      WHERE x.version > a.version) THEN 'ok'
                 WHEN a.status <> 'running' THEN
                      CASE WHEN a.status = u.outcome OR (u.outcome = 'handed_back' AND a.status = 'failed_before_effect') THEN 'done'
                           ELSE 'stale' END
                 ELSE 'stale' END AS answer, a.status::text AS status
        FROM unnest(p_token, p_run, p_step, p_index, p_version, p_outcome) WITH ORDINALITY AS u (token, run, step, index, version, outcome, n)
        LEFT JOIN LATERAL action_at(u.run, u.step, u.index, u.version, v_lo, v_hi) a ON true
        LEFT JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true) j
    WHERE j.item <> ALL (p_settled);

    RETURN QUERY
    SELECT v_item[s.ref], CASE WHEN s.ended THEN 'stored' ELSE 'ok' END, s.status, s.retry_ms, s.next_step,
           next_free_call(s.run_id, (row_number() OVER (PARTITION BY s.run_id ORDER BY s.ref))::int,
                          (count(*) OVER (PARTITION BY s.run_id))::int, s.open_calls, s.parallel, v_lo, v_hi)
    FROM (SELECT array_agg(p_run[i + 1]) AS run, array_agg(p_step[i + 1]) AS step, array_agg(p_index[i + 1]) AS index,
                 array_agg(p_version[i + 1]) AS version, array_agg(p_outcome[i + 1]) AS outcome, array_agg(p_result[i + 1]) AS result,
                 array_agg(p_code[i + 1]) AS code, array_agg(p_error[i + 1]) AS error, array_agg(p_retry_ms[i + 1]) AS retry,
                 array_agg(p_duration_ms[i + 1]) AS took
          FROM unnest(v_item) AS v (i)) z,
         settle_calls(z.run, z.step, z.index, z.version, z.outcome, z.result, z.code, z.error, z.retry, z.took, false, v_lo, v_hi) s;

    RETURN QUERY
    SELECT n.item, n.answer, n.status, -1::bigint, 0, -1 FROM unnest(v_no, v_answer, v_status) AS n (item, answer, status);
END
$$;

-- Stores what tools answered and says what is next.
--
-- outcomes: see settle_calls, but told_unknown.
-- answers:  ok      stored; retry_ms >= 0 when the call is open again: from
--                   then on anybody may claim it
--           stored  stored, and advances nothing: the run has ended
--           done    this very commit went through before
--           stale   the claim is gone and its place is taken
--           bad     no such outcome
-- ring_plan: > 0 when this commit completed the step: the step to plan next
-- ring_index: >= 0: the next call of this run that waits for a free place
CREATE FUNCTION pawl.commit_actions(
    p_worker bigint, p_token uuid[], p_run uuid[], p_step int[], p_index int[], p_version int[], p_outcome text[],
    p_result text[], p_code text[], p_error text[], p_retry_ms bigint[], p_duration_ms int[]
) RETURNS TABLE (item int, answer text, status text, retry_ms bigint, ring_plan int, ring_index int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_lock   record;
    v_lo     uuid;
    v_hi     uuid;
    v_item   int[];  -- plain successes
    v_run    uuid[]; -- and their runs
BEGIN
    v_lock := lock_runs(p_run);
    v_lo := v_lock.lo;
    v_hi := v_lock.hi;

    -- Nearly always the holder of a running claim brings a success, and the run
    -- stands where it stood.  The CASE keeps the index of running claims out of
    -- this: with it, each result would be looked for among all calls in flight.
    WITH done AS (
        UPDATE agent_actions a
        SET status = 'succeeded', open = false, result = u.result, duration_ms = coalesce(u.took, a.duration_ms), finished_at = v_now
        FROM unnest(p_token, p_run, p_step, p_index, p_version, p_outcome, p_result, p_duration_ms)
                 WITH ORDINALITY AS u (token, run, step, index, version, outcome, result, took, n)
        JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON r.step = u.step AND r.ended_at IS NULL
        WHERE u.outcome = 'succeeded' AND a.run_id = u.run AND a.step = u.step AND a.index = u.index AND a.version = u.version
          AND CASE a.status WHEN 'running' THEN a.claim_by END = p_worker AND a.claim_token = u.token AND a.epoch = r.epoch
        RETURNING (u.n - 1)::int AS item, a.run_id
    )
    SELECT array_agg(d.item), array_agg(d.run_id) INTO v_item, v_run FROM done d;

    IF v_item IS NOT NULL THEN
        RETURN QUERY
        SELECT i.item, 'ok', 'succeeded', -1::bigint, c.next_step,
               CASE WHEN c.open_calls > 0 AND c.open_calls + cardinality(v_run) > c.parallel -- else there are not so many
                    THEN next_free_call(c.run_id, count_of(c.run_id, v_run[1:i.n]), count_of(c.run_id, v_run), c.open_calls, c.parallel,
                                        v_lo, v_hi) ELSE -1 END
        FROM count_successes(v_run, v_lo, v_hi) c JOIN unnest(v_item, v_run) WITH ORDINALITY AS i (item, run, n) ON i.run = c.run_id;
    END IF;
    IF coalesce(cardinality(v_item), 0) < cardinality(p_run) THEN
        RETURN QUERY SELECT j.* FROM commit_judged(coalesce(v_item, '{}'), p_worker, p_token, p_run, p_step, p_index, p_version, p_outcome,
                                                   p_result, p_code, p_error, p_retry_ms, p_duration_ms, v_lo, v_hi) j;
    END IF;

    IF EXISTS (SELECT FROM cancellations) THEN
    DELETE FROM cancellations k USING unnest(p_run, p_step, p_index) AS u (run, step, index)
    WHERE k.incarnation = p_worker AND k.run_id = u.run AND k.step = u.step AND k.index = u.index;
    END IF;
END
$$;
