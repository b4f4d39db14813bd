-- 0003_plan.sql -- the brain's claims and commits.
--
-- Order of locks in all functions of the protocol: the worker's row, then run
-- rows by run_id, then budgets (see 0011_budget.sql).  Only statements after the locks read what is decided on:
-- under READ COMMITTED each sees what the last holder committed.

-- Takes the lock of a worker's row that a claim needs: declare_dead waits for
-- it, so that no claim slips in behind a declaration.  False: this
-- incarnation was declared dead or has left.
CREATE FUNCTION pawl.hold_worker(p_worker bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM workers w WHERE w.incarnation = p_worker AND w.state IN ('alive', 'leaving') FOR KEY SHARE;
    RETURN FOUND;
END
$$;

-- Locks runs in their one order.  Also answers between which ids they lie:
-- statements that say so open the one partition in question and no other,
-- which a list of ids alone does not bring about.  retried: one of them is in a
-- later epoch than its first; limited: one of them has a budget; unread: people
-- said something to one of them.
CREATE FUNCTION pawl.lock_runs(p_run uuid[], OUT lo uuid, OUT hi uuid, OUT retried boolean, OUT limited boolean, OUT unread boolean)
LANGUAGE plpgsql AS $$
BEGIN
    IF p_run[1] = ALL (p_run) THEN -- a single run, as often as it is named
        lo := p_run[1];
        hi := lo;
        SELECT r.epoch > 1, r.budgeted OR r.held_tokens IS NOT NULL, r.unread > 0 INTO retried, limited, unread
        FROM agent_runs r WHERE r.run_id = lo FOR NO KEY UPDATE;
        RETURN;
    END IF;
    SELECT (array_agg(x ORDER BY x))[1], (array_agg(x ORDER BY x DESC))[1] INTO lo, hi FROM unnest(p_run) x WHERE x IS NOT NULL;
    -- one after the other, in the order of the outer query: nothing here can sort or join otherwise
    SELECT bool_or(locked.epoch > 1), bool_or(locked.limited), bool_or(locked.unread > 0) INTO retried, limited, unread
    FROM (SELECT DISTINCT x FROM unnest(p_run) x ORDER BY x) u
    CROSS JOIN LATERAL (SELECT r.epoch, r.budgeted OR r.held_tokens IS NOT NULL AS limited, r.unread
                        FROM agent_runs r WHERE r.run_id = u.x AND r.run_id BETWEEN lo AND hi FOR NO KEY UPDATE) locked;
END
$$;

-- Whether this very commit of a plan went through before.
CREATE FUNCTION pawl.has_plan(p_run uuid, p_step int, p_version int, p_token uuid, p_lo uuid, p_hi uuid) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM item_at(p_run, p_step, 0, p_version, p_lo, p_hi) c WHERE c.token = p_token);
END
$$;

-- The last version of a step's plans, of any epoch.
CREATE FUNCTION pawl.last_plan_version(p_run uuid, p_step int) RETURNS int
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT max(c.version) FROM agent_step_content c WHERE c.run_id = p_run AND c.step = p_step), 0);
END
$$;

-- Claims the planning of the current step of runs.
--
-- answers: yours  version is claimed for this token (asked again with the
--                 same token, the same answer: a lost answer costs nothing)
--          busy   another live claim
--          done   the run has ended
--          later  not yet: back-off, an item that is taken alone, or a budget
--                 that calls in flight hold
--          no     nothing to plan (hands at work, suspended, no such run)
--          dead   this incarnation was declared dead: restart
CREATE FUNCTION pawl.claim_plans(p_worker bigint, p_token uuid[], p_run uuid[], p_alone boolean)
RETURNS TABLE (item int, answer text, step int, epoch int, version int, change bigint, revision bigint, failures int,
               left_ms bigint, tenant text, meta text, model_at int)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_set pawl.settings;
    v_lock record;
    v_lo  uuid;
    v_hi  uuid;
BEGIN
    IF NOT hold_worker(p_worker) THEN
        RETURN QUERY SELECT (n - 1)::int, 'dead', NULL::int, NULL::int, NULL::int, NULL::bigint, NULL::bigint, NULL::int,
                            NULL::bigint, NULL::text, NULL::text, NULL::int
                     FROM unnest(p_run) WITH ORDINALITY u (run, n);
        RETURN;
    END IF;
    SELECT * INTO v_set FROM settings;
    v_lock := lock_runs(p_run);
    v_lo := v_lock.lo;
    v_hi := v_lock.hi;
    IF v_lock.limited OR v_set.daily_budgets THEN -- suspends those that may not, so that they are none of ours
        PERFORM take_budgets(p_worker, p_run, p_alone, v_set, v_lo, v_hi);
    END IF;

    RETURN QUERY
    WITH seen AS MATERIALIZED (
        SELECT (u.n - 1)::int AS item, u.token, r.run_id, r.step, r.epoch, r.change, r.revision, r.model_at, r.failures, r.tenant, r.deadline,
               r.version AS last_version,
               CASE WHEN r.run_id IS NULL THEN 'no'
                    WHEN r.ended_at IS NOT NULL THEN 'done'
                    WHEN r.claim_by = p_worker AND r.claim_token = u.token THEN 'same'
                    WHEN r.claim_by IS NOT NULL THEN 'busy'
                    WHEN r.status <> 'running' OR r.open_calls > 0 THEN 'no'
                    WHEN r.not_before > clock_timestamp() OR r.deadline <= clock_timestamp() THEN 'later'
                    WHEN r.deaths >= v_set.deaths_max - 1 AND NOT p_alone THEN 'later'
                    WHEN array_position(p_run, u.run) < u.n THEN 'busy' -- asked for twice in here
                    ELSE 'yours' END AS answer
        FROM unnest(p_token, p_run) WITH ORDINALITY AS u (token, run, n)
        LEFT JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
    ), claimed AS (
        UPDATE agent_runs r
        SET claim_by = p_worker, claim_token = s.token,
            version = 1 + CASE WHEN s.epoch > 1 AND s.last_version = 0 -- a retried run meets rows of its former epochs
                               THEN last_plan_version(s.run_id, s.step) ELSE s.last_version END
        FROM seen s WHERE s.answer = 'yours' AND r.run_id = s.run_id
        RETURNING r.run_id, r.version
    )
    SELECT s.item, CASE s.answer WHEN 'same' THEN 'yours' ELSE s.answer END, s.step, s.epoch,
           CASE s.answer WHEN 'same' THEN s.last_version ELSE c.version END, s.change, s.revision, s.failures,
           (extract(epoch FROM s.deadline - clock_timestamp()) * 1000)::bigint, s.tenant, i.meta::text, s.model_at
    FROM seen s
    LEFT JOIN claimed c ON c.run_id = s.run_id AND s.answer = 'yours'
    LEFT JOIN LATERAL input_at(s.run_id, v_lo, v_hi) i ON s.answer IN ('yours', 'same');

    -- what people said becomes part of the prompt of the step that is claimed; asked
    -- for again, the claim has also what was said since, which nobody can have read
    IF v_lock.unread THEN
        UPDATE agent_messages m SET step = r.step
        FROM unnest(p_token, p_run) AS u (token, run) JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
        WHERE r.claim_by = p_worker AND r.claim_token = u.token AND m.run_id = u.run AND m.step IS NULL;
        UPDATE agent_runs r SET unread = 0 FROM unnest(p_token, p_run) AS u (token, run)
        WHERE r.run_id = u.run AND r.claim_by = p_worker AND r.claim_token = u.token;
    END IF;
END
$$;

-- What a prompt is made of: for each run the input (p_known = 0), the stable
-- plans of the steps after p_known, and the results of the steps from p_known
-- on, up to the step before the current one.  p_known = n: the caller has the
-- plans up to step n, and the results up to step n - 1.
--
-- A long run is not shown whole: steps up to `left_out` are not read at all, and
-- of the results of steps up to `emptied` nothing but how long they are, unless
-- they are short.  Where that stands is stored beside each plan (`context`).
-- With p_known = 0 the three arrays say it instead, where they are not null;
-- otherwise they say what the caller's text shows, and if that is not what is
-- stored, then somebody else has moved it and all is read.
--
-- rows: context  content = the stored context, when there is one
--       input    content = the input as JSON
--       said     a message of a person, to be read after the results of this step (0:
--                after the input); never left out
--       item     one item of a plan; `raw` on the first one of a step, with its dialect
--       result   of the call (step, index): status, and content = result or error,
--                or `hidden` = how many bytes it has
CREATE FUNCTION pawl.read_steps(
    p_run uuid[], p_known int[], p_left_out int[] DEFAULT NULL, p_emptied int[] DEFAULT NULL, p_result_bytes int[] DEFAULT NULL)
RETURNS TABLE (item int, kind text, step int, index int, type text, content text, call_id text, tool text, arguments text,
               refused text, raw text, status text, error_code text, dialect text, hidden bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    c_short constant int := 200; -- a result of so many bytes costs less than the words that would take its place
    v_lo uuid;
    v_hi uuid;
BEGIN
    SELECT (array_agg(x ORDER BY x))[1], (array_agg(x ORDER BY x DESC))[1] INTO v_lo, v_hi FROM unnest(p_run) x WHERE x IS NOT NULL;
    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT (u.n - 1)::int AS item, u.known, u.left_out, u.emptied, u.result_bytes, r.run_id, r.step AS now_step, r.messages, x.context
        FROM unnest(p_run, p_known, p_left_out, p_emptied, p_result_bytes)
             WITH ORDINALITY AS u (run, known, left_out, emptied, result_bytes, n)
        JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
        LEFT JOIN LATERAL last_context(r.run_id, r.step, v_lo, v_hi) x ON true
    ), wanted AS MATERIALIZED (
        SELECT a.item, a.run_id, a.now_step, a.context, a.messages,
               CASE WHEN (coalesce(a.left_out, 0), coalesce(a.emptied, 0), coalesce(a.result_bytes, 0))
                         = (s.left_out, s.emptied, s.result_bytes) THEN a.known ELSE 0 END AS known,
               CASE WHEN a.known = 0 THEN coalesce(a.left_out, s.left_out) ELSE s.left_out END AS left_out,
               CASE WHEN a.known = 0 THEN coalesce(a.emptied, s.emptied) ELSE s.emptied END AS emptied
        FROM asked a
        CROSS JOIN LATERAL (SELECT coalesce((a.context ->> 'left_out')::int, 0) AS left_out,
                                   coalesce((a.context ->> 'emptied')::int, 0) AS emptied,
                                   coalesce((a.context ->> 'result_bytes')::int, 0) AS result_bytes) s
    ), stable AS MATERIALIZED (
        SELECT w.item, w.run_id, w.known, w.emptied, s.step, v.version, v.epoch
        FROM wanted w
        CROSS JOIN LATERAL generate_series(greatest(w.known, w.left_out + 1), w.now_step - 1) AS s (step)
        CROSS JOIN LATERAL newest_plan(w.run_id, s.step, v_lo, v_hi) v
    )
    SELECT w.item, 'context', 0, 0, NULL::text, w.context::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text,
           NULL::text, NULL::text, NULL::text, NULL::bigint
    FROM wanted w WHERE w.context IS NOT NULL
    UNION ALL
    SELECT w.item, 'input', 0, 0, NULL, i.input::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM wanted w JOIN LATERAL input_at(w.run_id, v_lo, v_hi) i ON true WHERE w.known = 0
    UNION ALL
    SELECT w.item, 'said', m.step - 1, m.seq, NULL, m.content, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM wanted w JOIN LATERAL messages_after(w.run_id, w.known, v_lo, v_hi) m ON true WHERE w.messages > 0
    UNION ALL
    SELECT s.item, 'item', c.step, c.index, c.type::text, c.content, c.call_id, c.tool, c.arguments, c.refused, c.raw::text, NULL, NULL,
           c.dialect, NULL
    FROM stable s JOIN LATERAL items_of(s.run_id, s.step, s.version, v_lo, v_hi) c ON true
    WHERE s.step > s.known
    UNION ALL
    SELECT s.item, 'result', c.step, c.index, NULL, CASE WHEN h.hidden IS NULL THEN coalesce(a.result, a.error) END, c.call_id, NULL,
           NULL, c.refused, NULL, a.status::text, a.error_code, NULL, h.hidden
    FROM stable s
    JOIN LATERAL items_of(s.run_id, s.step, s.version, v_lo, v_hi) c ON c.type = 'function_call'
    LEFT JOIN LATERAL newest_action(s.run_id, s.step, c.index, v_lo, v_hi) a ON a.plan_version = s.version AND a.epoch = s.epoch
    CROSS JOIN LATERAL (SELECT CASE WHEN s.step <= s.emptied AND octet_length(coalesce(a.result, a.error)) > c_short
                                    THEN octet_length(coalesce(a.result, a.error))::bigint END AS hidden) h
    ORDER BY 1, 3, 2, 4;
END
$$;

-- Stores what models answered and says what is next.
--
-- outcomes: calls        items of which some are function calls; none: the model is asked on at once
--           final        items without calls: the run has succeeded; but when people
--                        said something meanwhile, it goes on and reads that
--           last         as final, whatever was said: the run may make no further step
--           retry        the model call failed; again in p_retry_ms
--           fail         the run cannot go on: p_code, p_error
--           handed_back  nothing was done: the claim is given up; again in p_retry_ms
-- answers:  ok, done (this very commit went through before), stale, bad
-- returned: status of the run; open_calls to be rung (calls without
--           `refused`); next_step > 0 when a step completed at once; event_id
CREATE FUNCTION pawl.commit_plans(
    p_worker  bigint, p_token uuid[], p_run uuid[], p_step int[], p_epoch int[], p_version int[], p_outcome text[],
    p_retry_ms bigint[], p_code text[], p_error text[], p_model text[], p_tokens_in bigint[], p_tokens_out bigint[],
    p_tokens_cached bigint[], p_cost_micros bigint[], p_duration_ms int[],
    -- the items of all plans, one after the other: c_item is the place above, from 0
    c_item int[], c_index int[], c_type text[], c_content text[], c_raw text[], c_call_id text[], c_tool text[],
    c_revision bigint[], c_arguments text[], c_digest bytea[], c_refused text[],
    -- of each plan again: who can read `raw`, and what the provider counts apart
    p_dialect text[] DEFAULT NULL, p_tokens_reasoning bigint[] DEFAULT NULL, p_tokens_written bigint[] DEFAULT NULL,
    p_model_at int[] DEFAULT NULL, p_failures int[] DEFAULT NULL, -- of a retry: what the next claim sees
    p_context text[] DEFAULT NULL
) RETURNS TABLE (item int, answer text, status text, open_calls int, next_step int, event_id bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_item    int[];  -- the accepted ones, as arrays: the next statements read them
    v_calls   int[];  -- and how many calls of theirs are to be made
    v_grace   bigint;
    v_daily   boolean;
    v_lock    record;
    v_lo      uuid;
    v_hi      uuid;
    v_run     uuid[]; -- of the accepted ones, after the commit
    v_open    int[];
    v_step    int[];
    v_event   bigint[];
    v_ended   uuid[];
    v_status  text[];
    v_code    text[];
    v_error   text[];
BEGIN
    SELECT x.ring_grace_ms, x.daily_budgets INTO v_grace, v_daily FROM settings x;
    v_lock := lock_runs(p_run);
    v_lo := v_lock.lo;
    v_hi := v_lock.hi;

    IF p_outcome && ARRAY['last'] OR (v_lock.unread AND p_outcome && ARRAY['final']) THEN
        SELECT array_agg(CASE WHEN u.outcome = 'last' THEN 'final' WHEN u.outcome = 'final' AND r.unread > 0 THEN 'calls' ELSE u.outcome END ORDER BY u.n)
        INTO p_outcome
        FROM unnest(p_run, p_outcome) WITH ORDINALITY AS u (run, outcome, n) LEFT JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true;
    END IF;

    -- which of them hold their claim, and how many calls each has; what no row
    -- can take is answered `bad` and fails nobody else
    SELECT array_agg(u.item), array_agg(coalesce(f.calls, 0)) INTO v_item, v_calls
    FROM (SELECT (n - 1)::int AS item, x.* FROM unnest(p_token, p_run, p_step, p_epoch, p_version, p_outcome)
              WITH ORDINALITY AS x (token, run, step, epoch, version, outcome, n)) u
    JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
    LEFT JOIN (
        SELECT c.item, count(*) FILTER (WHERE c.type = 'function_call' AND c.refused IS NULL)::int AS calls,
               bool_or(c.index IS NULL OR c.index < 0 OR coalesce(c.type, '') NOT IN ('text', 'reasoning', 'function_call', 'error')
                       OR (c.type = 'function_call' AND c.tool IS NULL)) OR count(*) <> count(DISTINCT c.index) AS bad,
               bool_or(c.index = 0) AS first
        FROM unnest(c_item, c_index, c_type, c_tool, c_refused) AS c (item, index, type, tool, refused)
        GROUP BY c.item) f ON f.item = u.item
    WHERE r.claim_by = p_worker AND r.claim_token = u.token AND r.step = u.step AND r.epoch = u.epoch
      AND r.version = u.version AND r.ended_at IS NULL
      AND u.outcome IN ('calls', 'final', 'retry', 'fail', 'handed_back')
      AND NOT coalesce(f.bad, false) AND (coalesce(f.first, false) OR u.outcome NOT IN ('calls', 'final'));
    v_item := coalesce(v_item, '{}');

    INSERT INTO agent_step_content (run_id, step, index, version, epoch, type, content, raw, call_id, tool, revision, arguments,
                                    digest, refused, dialect, token, incarnation, model, tokens_in, tokens_out, tokens_cached,
                                    tokens_reasoning, tokens_written, cost_micros, duration_ms, context)
    SELECT p_run[c.item + 1], p_step[c.item + 1], c.index, p_version[c.item + 1], p_epoch[c.item + 1], c.type, c.content,
           c.raw::json, c.call_id, c.tool, c.revision, c.arguments, c.digest, c.refused,
           CASE c.index WHEN 0 THEN p_dialect[c.item + 1] END,
           CASE c.index WHEN 0 THEN p_token[c.item + 1] END, CASE c.index WHEN 0 THEN p_worker END,
           CASE c.index WHEN 0 THEN p_model[c.item + 1] END, CASE c.index WHEN 0 THEN p_tokens_in[c.item + 1] END,
           CASE c.index WHEN 0 THEN p_tokens_out[c.item + 1] END, CASE c.index WHEN 0 THEN p_tokens_cached[c.item + 1] END,
           CASE c.index WHEN 0 THEN p_tokens_reasoning[c.item + 1] END, CASE c.index WHEN 0 THEN p_tokens_written[c.item + 1] END,
           CASE c.index WHEN 0 THEN p_cost_micros[c.item + 1] END, CASE c.index WHEN 0 THEN p_duration_ms[c.item + 1] END,
           CASE c.index WHEN 0 THEN p_context[c.item + 1]::json END
    FROM unnest(c_item, c_index, c_type, c_content, c_raw, c_call_id, c_tool, c_revision, c_arguments, c_digest, c_refused)
         AS c (item, index, type, content, raw, call_id, tool, revision, arguments, digest, refused)
    WHERE c.item = ANY (v_item) AND p_outcome[c.item + 1] <> 'handed_back';

    IF p_outcome && ARRAY['retry', 'fail'] THEN
    INSERT INTO agent_step_content (run_id, step, index, version, epoch, type, content, refused, token, incarnation, model,
                                    tokens_in, tokens_out, tokens_cached, tokens_reasoning, tokens_written, cost_micros,
                                    duration_ms, context)
    SELECT p_run[i + 1], p_step[i + 1], 0, p_version[i + 1], p_epoch[i + 1], 'error',
           coalesce(p_code[i + 1], 'error') || ': ' || coalesce(left(p_error[i + 1], 1000), ''), NULL, p_token[i + 1], p_worker,
           p_model[i + 1], p_tokens_in[i + 1], p_tokens_out[i + 1], p_tokens_cached[i + 1], p_tokens_reasoning[i + 1],
           p_tokens_written[i + 1], p_cost_micros[i + 1], p_duration_ms[i + 1], p_context[i + 1]::json
    FROM unnest(v_item) i
    WHERE p_outcome[i + 1] IN ('retry', 'fail') AND NOT EXISTS (SELECT FROM unnest(c_item, c_index) c (item, index) WHERE c.item = i AND c.index = 0);
    END IF;

    IF v_lock.limited OR v_daily THEN
        PERFORM settle_plans(v_item, p_run, p_outcome, p_model, p_tokens_in, p_tokens_out, p_cost_micros, v_lo, v_hi);
    END IF;

    WITH moved AS (
    UPDATE agent_runs r
    SET claim_by = NULL, claim_token = NULL, change = r.change + 1,
        open_calls = n.calls,
        step = r.step + CASE WHEN u.outcome = 'calls' AND n.calls = 0 THEN 1 ELSE 0 END, -- all of them refused, or there are none
        version = CASE WHEN u.outcome = 'calls' AND n.calls = 0 THEN 0
                       WHEN u.outcome = 'handed_back' THEN r.version - 1 ELSE r.version END,
        failures = CASE u.outcome WHEN 'retry' THEN coalesce(u.failures, r.failures + 1) WHEN 'calls' THEN 0 ELSE r.failures END,
        model_at = CASE u.outcome WHEN 'retry' THEN coalesce(u.model_at, r.model_at) WHEN 'calls' THEN 0 ELSE r.model_at END,
        deaths = CASE u.outcome WHEN 'calls' THEN 0 ELSE r.deaths END,
        not_before = CASE WHEN u.outcome IN ('retry', 'handed_back') AND u.retry_ms > 0
                          THEN clock_timestamp() + u.retry_ms * interval '1 ms' END,
        due_at = least(CASE WHEN u.outcome IN ('retry', 'handed_back')
                            THEN CASE WHEN u.retry_ms > 0 THEN soon(u.retry_ms) ELSE clock_timestamp() END
                            ELSE soon(v_grace) END, r.deadline),
        model_calls = r.model_calls + CASE u.outcome WHEN 'handed_back' THEN 0 ELSE 1 END,
        tokens_in = r.tokens_in + coalesce(u.tokens_in, 0), tokens_out = r.tokens_out + coalesce(u.tokens_out, 0),
        tokens_cached = r.tokens_cached + coalesce(u.tokens_cached, 0), cost_micros = r.cost_micros + coalesce(u.cost, 0),
        wasted_calls = CASE WHEN w.wasted THEN coalesce(r.wasted_calls, 0) + 1 ELSE r.wasted_calls END,
        wasted_tokens = CASE WHEN w.wasted THEN coalesce(r.wasted_tokens, 0) + coalesce(u.tokens_in, 0) + coalesce(u.tokens_out, 0)
                             ELSE r.wasted_tokens END,
        wasted_micros = CASE WHEN w.wasted THEN coalesce(r.wasted_micros, 0) + coalesce(u.cost, 0) ELSE r.wasted_micros END
    FROM (SELECT i, p_run[i + 1] AS run, p_outcome[i + 1] AS outcome, k AS all_calls, coalesce(p_retry_ms[i + 1], 0) AS retry_ms,
                 p_tokens_in[i + 1] AS tokens_in, p_tokens_out[i + 1] AS tokens_out, p_tokens_cached[i + 1] AS tokens_cached,
                 p_cost_micros[i + 1] AS cost, p_model_at[i + 1] AS model_at, p_failures[i + 1] AS failures
          FROM unnest(v_item, v_calls) AS a (i, k)) u,
         LATERAL (SELECT CASE u.outcome WHEN 'calls' THEN u.all_calls ELSE 0 END AS calls) n,
         LATERAL (SELECT u.outcome IN ('retry', 'fail') AND p_model[u.i + 1] IS NOT NULL AS wasted) w -- else no model was asked
    WHERE r.run_id = u.run
    RETURNING u.i, r.run_id, r.open_calls, r.step)
    SELECT array_agg(m.i), array_agg(m.run_id), array_agg(m.open_calls::int), array_agg(m.step) INTO v_item, v_run, v_open, v_step FROM moved m;

    IF p_outcome && ARRAY['final', 'fail'] THEN
    SELECT array_agg(p_run[i + 1]), array_agg(CASE p_outcome[i + 1] WHEN 'final' THEN 'succeeded' ELSE 'failed' END),
           array_agg(CASE p_outcome[i + 1] WHEN 'fail' THEN coalesce(p_code[i + 1], 'error') END),
           array_agg(CASE p_outcome[i + 1] WHEN 'fail' THEN p_error[i + 1] END)
    INTO v_ended, v_status, v_code, v_error
    FROM unnest(v_item) i WHERE p_outcome[i + 1] IN ('final', 'fail');
    SELECT array_agg(x.run_id), array_agg(x.event_id) INTO v_ended, v_event
    FROM end_runs(v_ended, v_status, v_code, v_error, p_worker, v_lo, v_hi) x;
    END IF;

    RETURN QUERY
    SELECT m.i, 'ok',
           CASE WHEN x.event IS NULL THEN 'running' WHEN p_outcome[m.i + 1] = 'final' THEN 'succeeded' ELSE 'failed' END,
           CASE WHEN x.event IS NULL AND m.step = p_step[m.i + 1] THEN m.open ELSE 0 END,
           CASE WHEN x.event IS NULL AND m.step > p_step[m.i + 1] THEN m.step ELSE 0 END, x.event
    FROM unnest(v_item, v_run, v_open, v_step) AS m (i, run, open, step)
    LEFT JOIN unnest(v_ended, v_event) AS x (run, event) ON x.run = m.run;

    IF coalesce(cardinality(v_item), 0) < cardinality(p_run) THEN
        RETURN QUERY
        SELECT u.item,
               CASE WHEN has_plan(u.run, u.step, u.version, u.token, v_lo, v_hi) THEN 'done'
                    WHEN r.claim_by = p_worker AND r.claim_token = u.token THEN 'bad'
                    ELSE 'stale' END,
               r.status::text, CASE WHEN r.step = u.step THEN r.open_calls::int ELSE 0 END,
               CASE WHEN r.ended_at IS NULL AND r.step = u.step + 1 AND r.claim_by IS NULL THEN r.step ELSE 0 END, NULL::bigint
        FROM (SELECT (n - 1)::int AS item, x.* FROM unnest(p_token, p_run, p_step, p_version)
                  WITH ORDINALITY AS x (token, run, step, version, n)) u
        LEFT JOIN LATERAL run_at(u.run, v_lo, v_hi) r ON true
        WHERE u.item <> ALL (coalesce(v_item, '{}'));
        PERFORM keep_late_usage(coalesce(v_item, '{}'), p_worker, p_run, p_step, p_epoch, p_version, p_model, p_tokens_in, p_tokens_out,
                                p_tokens_cached, p_tokens_reasoning, p_tokens_written, p_cost_micros, p_duration_ms, v_lo, v_hi);
    END IF;

    IF EXISTS (SELECT FROM cancellations) THEN
    DELETE FROM cancellations k USING unnest(p_run, p_step) AS u (run, step)
    WHERE k.incarnation = p_worker AND k.run_id = u.run AND k.step = u.step AND k.index = -1;
    END IF;
END
$$;
