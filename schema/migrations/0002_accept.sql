-- 0002_accept.sql -- how a request becomes a run, and how a run ends.

-- What a tree of runs may spend: see 0011_budget.sql.  Only for trees that have
-- a limit.
CREATE TABLE pawl.budgets (
    root_id        uuid PRIMARY KEY,
    tokens_max     bigint,                    -- NULL: no limit
    micros_max     bigint,
    tokens_held    bigint NOT NULL DEFAULT 0, -- reserved by claims in flight
    micros_held    bigint NOT NULL DEFAULT 0,
    tokens_spent   bigint NOT NULL DEFAULT 0,
    micros_spent   bigint NOT NULL DEFAULT 0,
    tokens_guessed bigint NOT NULL DEFAULT 0, -- of that: reservations of calls whose usage nobody knows
    micros_guessed bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- ------------------------------------------------------------------ accept

-- Makes runs of requests.  (source, id) is the request's own key: asked
-- again with the same digest it answers `duplicate` and the run it made.
--
-- answers: accepted, queued (accepted too; there is no place for it yet: see
--          0010_admission.sql), duplicate, conflict (same key, other digest),
--          unknown_agent, too_old, past_deadline, bad
-- p_worker: incarnation that will announce it, NULL from the command line.
-- p_ring_ms: how long the doorbell may take before idle planners look.
CREATE FUNCTION pawl.accept(
    p_worker   bigint,
    p_source   text[],
    p_id       text[],
    p_digest   bytea[],
    p_agent    text[],
    p_tenant   text[],
    p_class    text[],
    p_input    text[],         -- JSON
    p_meta     text[],         -- JSON object or NULL
    p_deadline timestamptz[],  -- NULL: only the agent's own limit
    p_record_time timestamptz[],
    p_by       text,
    p_ring_ms  bigint,
    p_timeout_ms bigint[] DEFAULT NULL, -- a deadline counted from now
    p_priority int[] DEFAULT NULL,      -- -9 .. 9
    p_tokens_max bigint[] DEFAULT NULL, -- a budget: it can only lower the agent's
    p_micros_max bigint[] DEFAULT NULL
) RETURNS TABLE (item int, answer text, run_id uuid, event_id bigint, detail text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_oldest timestamptz := now() - (SELECT s.requests_keep_days FROM settings s) * interval '1 day';
    v_class  text[]; -- counters of places that we hold
    v_tenant text[];
    v_room   int[];
    v_made   int[];
    v_goes   boolean[];
    v_run    uuid[];
    v_event  bigint[];
    v_no     int[];  -- refused
    v_why    text[];
BEGIN
    SELECT array_agg(a.item), array_agg(a.why) INTO v_no, v_why
    FROM (
        SELECT (u.n - 1)::int AS item,
               CASE WHEN u.source IS NULL OR u.id IS NULL OR u.digest IS NULL OR u.agent IS NULL OR u.tenant IS NULL
                         OR u.class IS NULL OR u.input IS NULL THEN 'bad'
                    WHEN u.record_time < v_oldest THEN 'too_old'
                    -- what made a run once is answered by it, whatever has changed since
                    WHEN (u.deadline <= clock_timestamp() OR c.seq IS NULL)
                         AND EXISTS (SELECT FROM requests q WHERE q.source = u.source AND q.id = u.id) THEN NULL
                    WHEN u.deadline <= clock_timestamp() THEN 'past_deadline'
                    WHEN c.seq IS NULL THEN 'unknown_agent' END AS why
        FROM unnest(p_source, p_id, p_digest, p_agent, p_tenant, p_class, p_input, p_deadline, p_record_time)
             WITH ORDINALITY AS u (source, id, digest, agent, tenant, class, input, deadline, record_time, n)
        LEFT JOIN current_revisions c ON c.kind = 'agent' AND c.name = u.agent) a
    WHERE a.why IS NOT NULL;

    SELECT array_agg(h.class), array_agg(h.tenant), array_agg(h.room) INTO v_class, v_tenant, v_room FROM hold_places(p_class, p_tenant) h;

    WITH asked AS MATERIALIZED (
        SELECT DISTINCT ON (u.source, u.id) (u.n - 1)::int AS item, u.*, r.seq, r.time_ms, r.parallel_calls,
               least(r.tokens_max, u.asked_tokens) AS tokens_max, least(r.micros_max, u.asked_micros) AS micros_max
        FROM unnest(p_source, p_id, p_digest, p_agent, p_tenant, p_class, p_input, p_meta, p_deadline, p_timeout_ms, p_priority,
                    p_tokens_max, p_micros_max)
             WITH ORDINALITY AS u (source, id, digest, agent, tenant, class, input, meta, deadline, timeout_ms, priority, asked_tokens, asked_micros, n)
        JOIN current_revisions c ON c.kind = 'agent' AND c.name = u.agent
        JOIN revisions r ON r.seq = c.seq
        WHERE (u.n - 1)::int <> ALL (coalesce(v_no, '{}'))
        ORDER BY u.source, u.id, u.n
    ), fresh AS (
        INSERT INTO requests (source, id, digest, run_id)
        SELECT a.source, a.id, a.digest, uuid7_at(clock_timestamp()) FROM asked a
        ORDER BY a.source, a.id -- one order in all sessions: no deadlock
        ON CONFLICT DO NOTHING
        RETURNING requests.source, requests.id, requests.run_id
    ), made AS (
        SELECT a.*, f.run_id, h.room >= row_number() OVER (PARTITION BY a.class, a.tenant ORDER BY a.priority DESC NULLS LAST, a.item) AS goes
        FROM asked a JOIN fresh f ON f.source = a.source AND f.id = a.id
        JOIN unnest(v_class, v_tenant, v_room) AS h (class, tenant, room) ON h.class = a.class AND h.tenant = a.tenant
    ), run AS (
        INSERT INTO agent_runs (run_id, root_id, revision, agent, tenant, class, priority, status, parallel, due_at, deadline, budgeted)
        SELECT m.run_id, m.run_id, m.seq, m.agent, m.tenant, m.class, greatest(-9, least(9, coalesce(m.priority, 0))),
               CASE WHEN m.goes THEN 'running' ELSE 'queued' END, coalesce(m.parallel_calls, 16),
               CASE WHEN NOT m.goes THEN d.at ELSE least(CASE WHEN p_ring_ms = 0 THEN clock_timestamp() ELSE soon(p_ring_ms) END, d.at) END, d.at,
               coalesce(m.tokens_max, m.micros_max) IS NOT NULL
        FROM made m, LATERAL (SELECT least(m.deadline, now() + least(m.timeout_ms, coalesce(m.time_ms, 3600000)) * interval '1 ms') AS at) d
    ), input AS (
        INSERT INTO agent_run_inputs (run_id, input, source, request_id, meta, created_by)
        SELECT m.run_id, m.input::json, m.source, m.id, m.meta::json, p_by FROM made m
    ), budget AS (
        INSERT INTO budgets (root_id, tokens_max, micros_max)
        SELECT m.run_id, m.tokens_max, m.micros_max FROM made m WHERE coalesce(m.tokens_max, m.micros_max) IS NOT NULL
    ), told AS (
        INSERT INTO announcements (run_id, epoch, step, type, taken_until, taken_by)
        SELECT m.run_id, 1, 1, 'accepted', CASE WHEN p_worker IS NULL THEN now() ELSE now() + interval '10 s' END, p_worker
        FROM made m
        RETURNING announcements.id, announcements.run_id
    )
    SELECT array_agg(m.item), array_agg(m.goes), array_agg(m.run_id), array_agg(t.id) INTO v_made, v_goes, v_run, v_event
    FROM made m JOIN told t ON t.run_id = m.run_id;

    PERFORM count_places(c.class, c.tenant, c.running, c.queued)
    FROM (SELECT p_class[m.item + 1] AS class, p_tenant[m.item + 1] AS tenant, (count(*) FILTER (WHERE m.goes))::int AS running,
                 (count(*) FILTER (WHERE NOT m.goes))::int AS queued
          FROM unnest(v_made, v_goes) AS m (item, goes) GROUP BY 1, 2) c;

    RETURN QUERY
    SELECT m.item, CASE WHEN m.goes THEN 'accepted' ELSE 'queued' END, m.run, m.event, NULL::text
    FROM unnest(v_made, v_goes, v_run, v_event) AS m (item, goes, run, event)
    UNION ALL
    SELECT f.item, f.why, NULL, NULL,
           CASE f.why WHEN 'unknown_agent' THEN format('no agent named %L is published', p_agent[f.item + 1])
                      WHEN 'too_old' THEN 'older than requests are kept for de-duplication'
                      WHEN 'past_deadline' THEN '''deadline'' has passed'
                      ELSE 'a required field is missing' END
    FROM unnest(v_no, v_why) AS f (item, why)
    UNION ALL
    -- the rest was seen before, by us or by somebody who committed meanwhile:
    -- only this later statement sees that
    SELECT (u.n - 1)::int, CASE WHEN q.digest = u.digest THEN 'duplicate' ELSE 'conflict' END, q.run_id, NULL,
           CASE WHEN q.digest <> u.digest THEN format('request %s of %s was seen before with another content', u.id, u.source) END
    FROM unnest(p_source, p_id, p_digest) WITH ORDINALITY AS u (source, id, digest, n)
    JOIN requests q ON q.source = u.source AND q.id = u.id
    WHERE (u.n - 1)::int <> ALL (coalesce(v_no, '{}') || coalesce(v_made, '{}'))
    ORDER BY 1;
END
$$;

-- --------------------------------------------------------------------- end

-- Every end of a run goes through here.  The caller holds the rows' locks and
-- tells between which ids they lie (see lock_runs).
-- What is still claimed is closed too: a call that is not read-only and may
-- have been sent is `unknown`, never `cancelled`; its holder is told at its
-- next beat, and what it still brings is stored and advances nothing.
-- p_taker: who is about to announce it; NULL: whoever looks next.
CREATE FUNCTION pawl.end_runs(
    p_run uuid[], p_status text[], p_code text[], p_error text[], p_taker bigint, v_lo uuid, v_hi uuid
) RETURNS TABLE (run_id uuid, event_id bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM unnest(p_run) AS u (run) JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON r.open_calls > 0 OR r.claim_by IS NOT NULL) THEN
        INSERT INTO cancellations (incarnation, run_id, step, index)
        SELECT r.claim_by, r.run_id, r.step, -1 FROM agent_runs r WHERE r.run_id = ANY (p_run) AND r.claim_by IS NOT NULL
        UNION ALL
        SELECT a.claim_by, a.run_id, a.step, a.index
        FROM agent_runs r JOIN agent_actions a ON a.run_id = r.run_id AND a.step = r.step
        WHERE r.run_id = ANY (p_run) AND r.open_calls > 0 AND a.status = 'running'
        ON CONFLICT DO NOTHING;
        PERFORM settle_budgets(p_run, NULL, NULL, NULL, v_lo, v_hi); -- the model's answers do not count any more

        WITH closed AS (
            UPDATE agent_actions a
            SET status = CASE WHEN a.effect = 'read_only' AND a.status IN ('running', 'unknown') THEN 'cancelled'
                              WHEN a.effect <> 'read_only' AND (a.status = 'running' OR a.cut) THEN 'unknown'
                              WHEN a.status LIKE 'awaiting_%' THEN 'cancelled'
                              ELSE a.status END,
                open = false, retry_at = NULL, probe_after = NULL, probe_by = NULL, probe_token = NULL, wait_until = NULL,
                error_code = coalesce(a.error_code, 'run_ended'), error = coalesce(a.error, 'the run ended before this call had a result'),
                finished_at = clock_timestamp()
            FROM agent_runs r
            WHERE r.run_id = ANY (p_run) AND r.open_calls > 0 AND a.run_id = r.run_id AND a.step = r.step AND a.open
            RETURNING r.root_id, a.*
        )
        INSERT INTO unknown_calls (root_id, tool, digest, run_id, step, index, version)
        SELECT c.root_id, c.tool, coalesce(c.digest, ''), c.run_id, c.step, c.index, c.version
        FROM closed c WHERE c.status = 'unknown' AND c.effect = 'once'
        ON CONFLICT DO NOTHING;
    END IF;

    RETURN QUERY
    WITH was AS MATERIALIZED ( -- whose place is free now
        SELECT r.class, r.tenant, r.status FROM unnest(p_run) u JOIN LATERAL run_at(u, v_lo, v_hi) r ON r.status IN ('running', 'queued')
    ), freed AS (
        INSERT INTO place_notes (class, tenant, running, queued)
        SELECT w.class, w.tenant, -count(*) FILTER (WHERE w.status = 'running'), -count(*) FILTER (WHERE w.status = 'queued')
        FROM was w GROUP BY w.class, w.tenant
    ), ended AS (
        UPDATE agent_runs r
        SET status = u.status, error_code = u.code, error = left(u.error, 1000), ended_at = clock_timestamp(),
            claim_by = NULL, claim_token = NULL, open_calls = 0, waiting_calls = 0, due_at = NULL, not_before = NULL,
            wasted_calls = CASE WHEN r.claim_by IS NULL THEN r.wasted_calls ELSE coalesce(r.wasted_calls, 0) + 1 END,
            change = r.change + 1
        FROM unnest(p_run, p_status, p_code, p_error) AS u (run_id, status, code, error)
        WHERE r.run_id = u.run_id
        RETURNING r.run_id, r.epoch, r.step, r.status, r.version, r.error_code, r.error
    )
    INSERT INTO announcements (run_id, epoch, step, type, taken_until, taken_by, version, error_code, error)
    SELECT e.run_id, e.epoch, e.step, e.status, clock_timestamp() + CASE WHEN p_taker IS NULL THEN interval '0' ELSE interval '10 s' END,
           p_taker, e.version, e.error_code, e.error FROM ended e
    RETURNING announcements.run_id, announcements.id;
END
$$;

-- ---------------------------------------------------------------- announce

-- Everything an event says, for the given announcements.
CREATE FUNCTION pawl.read_announcements(p_id bigint[])
RETURNS TABLE (id bigint, run_id uuid, type text, at_ms bigint, epoch int, step int, agent text, digest text, tenant text,
               class text, root_id uuid, parent_id uuid, source text, request_id text, meta text, error_code text, error text,
               answer text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.id, n.run_id, n.type, (extract(epoch FROM n.at) * 1000)::bigint, n.epoch, n.step, r.agent, v.digest, r.tenant,
           r.class, r.root_id, r.parent_id, i.source, i.request_id, i.meta::text,
           n.error_code, n.error,
           CASE WHEN n.type = 'succeeded' THEN
               (SELECT string_agg(c.content, '' ORDER BY c.index) FROM agent_step_content c
                WHERE c.run_id = n.run_id AND c.step = n.step AND c.version = n.version AND c.type = 'text') END
    FROM unnest(p_id) u
    JOIN announcements n ON n.id = u
    JOIN agent_runs r ON r.run_id = n.run_id
    JOIN revisions v ON v.seq = r.revision
    LEFT JOIN agent_run_inputs i ON i.run_id = n.run_id;
END
$$;

-- Announcements that nobody has taken, or whose taker did not manage.
CREATE FUNCTION pawl.take_announcements(p_worker bigint, p_limit int) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    UPDATE announcements n SET taken_until = clock_timestamp() + interval '10 s', taken_by = p_worker
    FROM (SELECT a.id FROM announcements a WHERE a.taken_until <= clock_timestamp()
          ORDER BY a.id LIMIT p_limit FOR UPDATE SKIP LOCKED) due
    WHERE n.id = due.id
    RETURNING n.id;
END
$$;

-- The broker has them.
CREATE FUNCTION pawl.announce(p_id bigint[]) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_count int;
BEGIN
    WITH mine AS MATERIALIZED (SELECT a.id FROM announcements a WHERE a.id = ANY (p_id) ORDER BY a.id FOR UPDATE), -- one order in all sessions
    gone AS (DELETE FROM announcements n USING mine m WHERE n.id = m.id RETURNING 1)
    SELECT count(*) INTO v_count FROM gone;
    RETURN v_count;
END
$$;

-- ---------------------------------------------------- records that kill

-- A planner that takes over partitions after another one died notes each
-- record before it looks at it, alone: answers how often it was begun.  After
-- `deaths_max` the record goes to the DLQ unread.
CREATE FUNCTION pawl.open_record(p_topic text, p_part int, p_record_no bigint) RETURNS int
LANGUAGE sql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    INSERT INTO suspect_records AS s (topic, part, record_no, attempts) VALUES (p_topic, p_part, p_record_no, 1)
    ON CONFLICT (topic, part, record_no) DO UPDATE SET attempts = s.attempts + 1, at = now()
    RETURNING attempts
$$;

CREATE FUNCTION pawl.close_record(p_topic text, p_part int, p_record_no bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    DELETE FROM suspect_records WHERE topic = p_topic AND part = p_part AND record_no = p_record_no
$$;

-- Did a planner of this class die within the last minutes?  Then the records
-- that it may have held are taken one at a time.
CREATE FUNCTION pawl.planner_died_lately(p_class text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    SELECT EXISTS (SELECT FROM workers w WHERE w.kind = 'planner' AND w.class = p_class AND w.state = 'dead'
                   AND w.ended_at > now() - interval '2 min')
$$;
