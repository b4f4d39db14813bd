-- 0009_people.sql -- what people read: views, and the documents behind
-- `pawl run show` and `pawl run watch`.  For pawl_operator only; nothing here
-- writes.
--
--   pawl.runs              one row a run
--   pawl.plans             one row per attempt to plan a step
--   pawl.calls             one row per attempt of a call; calls that nobody has
--                          taken yet have one without a version
--   pawl.decisions         calls that wait for a person
--   pawl.outcomes_by_day   cost and outcomes by agent revision, tenant and day
--   pawl.tools_by_day      how tools fared, by tool revision, tenant and day
--   pawl.fleet             incarnations of planners and executors
--   pawl.published         revisions of agents, tools and models
--   pawl.deeds             what people did
--
-- Money stands in `cost` in the currency of the models' prices.  What is `wasted`
-- is of that: attempts that failed, and answers that came too late.  An attempt
-- that a process took with it when it died is counted in calls_wasted alone:
-- what it cost nobody knows, only what it had reserved (`guessed`).

-- -------------------------------------------------------------------- runs

CREATE VIEW pawl.runs AS
SELECT r.run_id, r.agent, v.digest AS agent_digest, r.variant, r.tenant, r.class, r.priority, r.status, r.step, r.epoch,
       CASE WHEN r.ended_at IS NOT NULL THEN NULL
            WHEN r.status = 'queued' THEN 'a place'
            WHEN r.status = 'suspended' AND r.open_calls = 0 THEN 'a budget'
            WHEN r.status = 'suspended' THEN 'a decision'
            WHEN r.claim_by IS NOT NULL THEN 'the model'
            WHEN r.open_calls > 0 THEN 'tools'
            WHEN r.not_before > clock_timestamp() THEN 'the next attempt'
            ELSE 'a planner' END AS waits_for,
       r.open_calls, r.waiting_calls, r.model_calls, r.tokens_in, r.tokens_out, r.tokens_cached,
       round(r.cost_micros / 1000000.0, 6) AS cost,
       coalesce(r.wasted_calls, 0) AS calls_wasted, coalesce(r.wasted_tokens, 0) AS tokens_wasted,
       round(coalesce(r.wasted_micros, 0) / 1000000.0, 6) AS cost_wasted,
       b.tokens_max AS budget_tokens, round(b.micros_max / 1000000.0, 6) AS budget_cost,
       b.tokens_spent AS tree_tokens, round(b.micros_spent / 1000000.0, 6) AS tree_cost,
       b.tokens_held AS tree_tokens_held, round(b.micros_held / 1000000.0, 6) AS tree_cost_held,
       b.tokens_guessed AS tree_tokens_guessed, round(b.micros_guessed / 1000000.0, 6) AS tree_cost_guessed, r.error_code, r.error, r.created_at, r.ended_at,
       coalesce(r.ended_at, clock_timestamp()) - r.created_at AS took, r.deadline, r.due_at,
       r.root_id, r.parent_id, r.parent_step, r.parent_index,
       i.source, i.request_id, i.created_by, i.input, i.meta
FROM pawl.agent_runs r
JOIN pawl.revisions v ON v.seq = r.revision
LEFT JOIN pawl.agent_run_inputs i ON i.run_id = r.run_id
LEFT JOIN pawl.budgets b ON r.budgeted AND b.root_id = r.root_id;

-- The run that people mean: an id, the last characters of a recent one (eight
-- or more), or `last`.  More than one row: it was not clear.
CREATE FUNCTION pawl.find_runs(p_text text) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
DECLARE
    v_hex text := lower(replace(p_text, '-', ''));
BEGIN
    IF p_text = 'last' THEN
        RETURN QUERY SELECT r.run_id FROM agent_runs r ORDER BY r.run_id DESC LIMIT 1;
    ELSIF v_hex ~ '^[0-9a-f]{32}$' THEN
        RETURN QUERY SELECT r.run_id FROM agent_runs r WHERE r.run_id = v_hex::uuid;
    ELSIF v_hex ~ '^[0-9a-f]{8,31}$' THEN
        RETURN QUERY
        SELECT x.run_id FROM (SELECT r.run_id FROM agent_runs r ORDER BY r.run_id DESC LIMIT 10000) x
        WHERE right(replace(x.run_id::text, '-', ''), length(v_hex)) = v_hex LIMIT 2;
    END IF;
END
$$;

-- --------------------------------------------------------- plans and calls

-- A version that left no content is the attempt of a planner that died with
-- it (`lost`), or of one that is at it now (`running`).
CREATE VIEW pawl.plans AS
SELECT r.run_id, s.step, n.version, c.epoch,
       CASE WHEN c.run_id IS NULL AND r.step = s.step AND r.version = n.version AND r.claim_by IS NOT NULL THEN 'running'
            WHEN c.run_id IS NULL THEN 'lost'
            WHEN c.type = 'error' THEN 'error'
            WHEN x.calls > 0 THEN 'calls'
            ELSE 'answer' END AS outcome,
       n.version = s.newest AS stable,
       coalesce(c.incarnation, CASE WHEN r.step = s.step AND r.version = n.version THEN r.claim_by END) AS incarnation,
       w.instance, c.model, c.tokens_in, c.tokens_out, c.tokens_cached, c.tokens_reasoning, round(c.cost_micros / 1000000.0, 6) AS cost, c.duration_ms,
       c.created_at, coalesce(x.calls, 0) AS calls, coalesce(x.refused, 0) AS refused, x.text,
       CASE WHEN c.type = 'error' THEN c.content END AS error
FROM pawl.agent_runs r
CROSS JOIN LATERAL (
    SELECT t.step, greatest(t.newest, CASE WHEN t.step = r.step THEN r.version ELSE 0 END) AS newest
    FROM (SELECT k.step, max(k.version) AS newest FROM pawl.agent_step_content k WHERE k.run_id = r.run_id GROUP BY k.step
          UNION ALL
          SELECT r.step, 0 WHERE NOT EXISTS (SELECT FROM pawl.agent_step_content k WHERE k.run_id = r.run_id AND k.step = r.step)) t) s
CROSS JOIN LATERAL generate_series(1, s.newest) AS n (version)
LEFT JOIN pawl.agent_step_content c ON c.run_id = r.run_id AND c.step = s.step AND c.index = 0 AND c.version = n.version
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE k.type = 'function_call') AS calls, count(k.refused) AS refused,
           string_agg(k.content, '' ORDER BY k.index) FILTER (WHERE k.type = 'text') AS text
    FROM pawl.agent_step_content k WHERE k.run_id = r.run_id AND k.step = s.step AND k.version = n.version) x ON true
LEFT JOIN pawl.workers w
    ON w.incarnation = coalesce(c.incarnation, CASE WHEN r.step = s.step AND r.version = n.version THEN r.claim_by END);

-- status: that of the attempt; `waiting` when nobody has taken the call yet,
-- `refused` when it is not made at all.
-- decided_by: who settled an outcome that nobody knew: `probe`, or a person.
CREATE VIEW pawl.calls AS
SELECT c.run_id, c.step, c.index, c.version AS plan_version, a.version, c.epoch, c.call_id, c.tool, c.arguments, c.refused,
       CASE WHEN c.refused IS NOT NULL THEN 'refused' WHEN a.version IS NULL THEN 'waiting' ELSE a.status END AS status,
       coalesce(a.open, c.refused IS NULL) AS open, a.effect, a.on_unknown, a.key, a.claim_by AS incarnation, w.instance,
       a.claimed_at, a.finished_at, a.duration_ms, a.result, a.error_code, a.error, a.cut, a.failures, a.deaths, a.probes,
       -- the counts go on from attempt to attempt: did a process die with this one?
       a.deaths > coalesce((SELECT b.deaths FROM pawl.agent_actions b
                            WHERE b.run_id = a.run_id AND b.step = a.step AND b.index = a.index AND b.version = a.version - 1
                              AND b.plan_version = a.plan_version AND b.epoch = a.epoch), 0) AS died,
       CASE WHEN d.who IS NOT NULL THEN d.who
            WHEN a.probes > 0 AND a.status IN ('succeeded', 'failed_before_effect') THEN 'probe' END AS decided_by,
       CASE WHEN d.who IS NOT NULL THEN d.happened
            WHEN a.probes > 0 AND a.status IN ('succeeded', 'failed_before_effect') THEN a.status = 'succeeded' END AS happened,
       a.copied_from, a.copied_index, a.retry_at, a.probe_after, a.wait_until
FROM pawl.agent_step_content c
LEFT JOIN pawl.agent_actions a
    ON a.run_id = c.run_id AND a.step = c.step AND a.index = c.index AND a.plan_version = c.version AND a.epoch = c.epoch
LEFT JOIN pawl.workers w ON w.incarnation = a.claim_by
LEFT JOIN LATERAL (
    SELECT u.who, (u.detail ->> 'happened')::boolean AS happened FROM pawl.audit u
    WHERE u.run_id = c.run_id AND u.verb = 'decide' AND (u.detail ->> 'step')::int = c.step
      AND (u.detail ->> 'index')::int = c.index AND (u.detail ->> 'version')::int = a.version
    ORDER BY u.id DESC LIMIT 1) d ON true
WHERE c.type = 'function_call';

CREATE VIEW pawl.decisions AS
SELECT r.run_id, r.agent, r.tenant, c.step, c.index, c.version, c.tool, c.arguments, c.error AS question,
       c.claimed_at AS since, c.wait_until AS until
FROM pawl.agent_runs r
JOIN pawl.calls c ON c.run_id = r.run_id AND c.step = r.step AND c.epoch = r.epoch
WHERE r.waiting_calls > 0 AND r.ended_at IS NULL AND c.open AND c.status = 'awaiting_decision';

-- ---------------------------------------------------------- sums by the day

CREATE VIEW pawl.outcomes_by_day AS
SELECT (r.created_at AT TIME ZONE 'UTC')::date AS day, r.agent, v.digest AS agent_digest, r.variant, r.tenant,
       count(*) AS runs,
       count(*) FILTER (WHERE r.ended_at IS NULL) AS live,
       count(*) FILTER (WHERE r.status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE r.status = 'failed') AS failed,
       count(*) FILTER (WHERE r.status = 'cancelled') AS cancelled,
       sum(r.step) AS steps, sum(r.model_calls) AS model_calls, sum(r.tokens_in) AS tokens_in, sum(r.tokens_out) AS tokens_out,
       sum(r.tokens_cached) AS tokens_cached, round(sum(r.cost_micros) / 1000000.0, 6) AS cost,
       coalesce(sum(r.wasted_calls), 0) AS calls_wasted, coalesce(sum(r.wasted_tokens), 0) AS tokens_wasted,
       round(coalesce(sum(r.wasted_micros), 0) / 1000000.0, 6) AS cost_wasted,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.ended_at - r.created_at)) AS seconds_p50
FROM pawl.agent_runs r JOIN pawl.revisions v ON v.seq = r.revision
GROUP BY 1, 2, 3, 4, 5;

CREATE VIEW pawl.tools_by_day AS
SELECT (a.claimed_at AT TIME ZONE 'UTC')::date AS day, a.tool, v.digest AS tool_digest, r.tenant, count(*) AS attempts,
       count(*) FILTER (WHERE a.status = 'succeeded' AND a.copied_from IS NULL) AS succeeded,
       count(*) FILTER (WHERE a.copied_from IS NOT NULL) AS copied,
       count(*) FILTER (WHERE a.status = 'failed') AS failed,
       count(*) FILTER (WHERE a.status = 'failed_before_effect') AS failed_before_effect,
       count(*) FILTER (WHERE a.status = 'unknown') AS unknown,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY a.duration_ms) AS ms_p50
FROM pawl.agent_actions a
JOIN pawl.agent_runs r ON r.run_id = a.run_id
LEFT JOIN pawl.revisions v ON v.seq = a.revision
GROUP BY 1, 2, 3, 4;

-- ------------------------------------------------------ fleet and catalogue

CREATE VIEW pawl.fleet AS
SELECT w.incarnation, w.instance, w.kind, w.class, w.program, w.pid, w.state, w.in_flight, w.capacity,
       clock_timestamp() - w.beat_at AS beat_age, w.started_at, w.ended_at, w.ended_by
FROM pawl.workers w;

CREATE VIEW pawl.published AS
SELECT r.kind, r.name, r.seq, r.digest, c.seq IS NOT NULL AS is_current, r.body, r.published_at, r.published_by,
       c.changed_at, c.changed_by,
       CASE r.kind WHEN 'agent' THEN (SELECT count(*) FROM pawl.agent_runs x WHERE x.revision = r.seq AND x.ended_at IS NULL) END
           AS live_runs
FROM pawl.revisions r LEFT JOIN pawl.current_revisions c ON c.seq = r.seq;

CREATE VIEW pawl.deeds AS
SELECT u.at, u.who, u.verb, u.run_id, u.detail FROM pawl.audit u;

-- What `pawl migrate status` shows.
CREATE FUNCTION pawl.read_migrations() RETURNS TABLE (number int, name text, digest text, applied_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT m.number, m.name, m.digest, m.applied_at FROM schema_migrations m ORDER BY m.number;
END
$$;

-- ---------------------------------------------------------------- timeline

-- A text for people: at most p_max characters (NULL: all).
CREATE FUNCTION pawl.shortened(p_text text, p_max int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN length(p_text) > p_max THEN left(p_text, p_max) || '...' ELSE p_text END;

-- One run as one document, in the order in which it is read: steps, the
-- attempts to plan each, the calls of each plan, the attempts of each call.
-- NULL: there is no such run.
-- p_from: steps before this one are left out.
-- p_max: texts are cut after so many characters; NULL: none is.
CREATE FUNCTION pawl.timeline(p_run uuid, p_from int, p_max int) RETURNS json
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pawl, pg_temp SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
    WITH the_calls AS MATERIALIZED (
        SELECT * FROM calls c WHERE c.run_id = p_run AND c.step >= p_from
    ), by_call AS MATERIALIZED (
        SELECT c.step, c.plan_version, c.index, min(c.call_id) AS call_id, min(c.tool) AS tool,
               shortened(min(c.arguments), p_max) AS arguments, min(c.refused) AS refused,
               -- what the model reads, or where the call stands
               (array_agg(c.status ORDER BY c.version DESC NULLS LAST))[1] AS status,
               json_agg(json_build_object(
                   'version', c.version, 'status', c.status, 'open', c.open, 'incarnation', c.incarnation, 'instance', c.instance,
                   'claimed_at', c.claimed_at, 'finished_at', c.finished_at, 'duration_ms', c.duration_ms, 'key', c.key,
                   'result', shortened(c.result, p_max), 'error_code', c.error_code, 'error', shortened(c.error, p_max),
                   'cut', c.cut, 'died', c.died, 'probes', c.probes, 'decided_by', c.decided_by, 'happened', c.happened,
                   'copied_from', c.copied_from, 'retry_at', c.retry_at, 'probe_after', c.probe_after, 'wait_until', c.wait_until)
                   ORDER BY c.version) FILTER (WHERE c.version IS NOT NULL) AS attempts
        FROM the_calls c GROUP BY c.step, c.plan_version, c.index
    ), by_plan AS MATERIALIZED (
        SELECT p.step, p.version, json_build_object(
            'version', p.version, 'epoch', p.epoch, 'outcome', p.outcome, 'incarnation', p.incarnation, 'instance', p.instance,
            'model', p.model, 'tokens_in', p.tokens_in, 'tokens_out', p.tokens_out, 'tokens_cached', p.tokens_cached,
            'tokens_reasoning', p.tokens_reasoning, 'cost', p.cost, 'duration_ms', p.duration_ms, 'created_at', p.created_at, 'text', shortened(p.text, p_max),
            'error', shortened(p.error, p_max),
            'calls', coalesce((
                SELECT json_agg(json_build_object('index', c.index, 'call_id', c.call_id, 'tool', c.tool, 'arguments', c.arguments,
                                                  'refused', c.refused, 'status', c.status,
                                                  'attempts', coalesce(c.attempts, '[]'::json)) ORDER BY c.index)
                FROM by_call c WHERE c.step = p.step AND c.plan_version = p.version), '[]'::json)) AS document
        FROM plans p WHERE p.run_id = p_run AND p.step >= p_from
    )
    SELECT json_build_object(
        'run', json_build_object(
            'run_id', r.run_id, 'agent', r.agent, 'agent_digest', r.agent_digest, 'tenant', r.tenant, 'class', r.class,
            'status', r.status, 'step', r.step, 'epoch', r.epoch, 'waits_for', r.waits_for, 'open_calls', r.open_calls,
            'waiting_calls', r.waiting_calls, 'model_calls', r.model_calls, 'tokens_in', r.tokens_in, 'tokens_out', r.tokens_out,
            'tokens_cached', r.tokens_cached, 'cost', r.cost, 'calls_wasted', r.calls_wasted, 'tokens_wasted', r.tokens_wasted,
            'cost_wasted', r.cost_wasted, 'budget_tokens', r.budget_tokens, 'budget_cost', r.budget_cost, 'tree_tokens', r.tree_tokens,
            'tree_cost', r.tree_cost, 'tree_tokens_guessed', r.tree_tokens_guessed, 'tree_cost_guessed', r.tree_cost_guessed, 'created_at', r.created_at, 'ended_at', r.ended_at,
            'took_ms', (extract(epoch FROM r.took) * 1000)::bigint, 'deadline', r.deadline, 'error_code', r.error_code,
            'error', r.error, 'parent_id', r.parent_id, 'source', r.source, 'request_id', r.request_id,
            'created_by', r.created_by, 'input', CASE WHEN p_max IS NULL OR length(r.input::text) <= p_max THEN r.input
                                                      ELSE to_json(shortened(r.input::text, p_max)) END),
        'answer', CASE WHEN r.status = 'succeeded' THEN (
            SELECT p.text FROM plans p WHERE p.run_id = p_run AND p.step = r.step AND p.outcome = 'answer' AND p.stable) END,
        'steps', coalesce((
            SELECT json_agg(json_build_object('step', s.step, 'plans', s.plans) ORDER BY s.step)
            FROM (SELECT b.step, json_agg(b.document ORDER BY b.version) AS plans FROM by_plan b GROUP BY b.step) s), '[]'::json),
        'people', coalesce((
            SELECT json_agg(json_build_object('at', d.at, 'who', d.who, 'verb', d.verb, 'detail', d.detail) ORDER BY d.at)
            FROM deeds d WHERE d.run_id = p_run), '[]'::json))
    FROM runs r WHERE r.run_id = p_run
$$;

-- ------------------------------------------------------------------ rights

REVOKE ALL ON FUNCTION pawl.find_runs(text), pawl.read_migrations(), pawl.shortened(text, int), pawl.timeline(uuid, int, int)
FROM PUBLIC;

GRANT SELECT ON pawl.runs, pawl.plans, pawl.calls, pawl.decisions, pawl.outcomes_by_day, pawl.tools_by_day, pawl.fleet,
    pawl.published, pawl.deeds TO pawl_operator;
GRANT EXECUTE ON FUNCTION pawl.find_runs(text), pawl.read_migrations(), pawl.timeline(uuid, int, int) TO pawl_operator;
