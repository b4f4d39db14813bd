-- 0011_budget.sql -- what runs may spend: tokens and money.
--
--     claim_plans  --> take_budgets     reserves what the call may need, or lets
--                                       the run wait, or suspends it
--     commit_plans --> settle_budgets   what it cost is spent, the reservation
--     bury, end_runs -^                 returns; who died or was ended with a
--                                       call: its reservation is spent
--
-- There are two kinds of budgets: of a tree of runs, from its agent's limits or the
-- request, and of a tenant by the day (UTC).  The reservation stands in the run's
-- own row beside the claim, so that whoever ends the claim settles it, once.
--
-- A tree stops within one call of its limit: a call is given out while what is
-- spent, what is reserved and what it may need itself stay below the limit.
-- Near the limit, calls go one at a time: a run whose call does not fit waits for
-- those in flight, which may need less than they have reserved; the last one goes
-- alone with what is left, and may end over the limit; then the next suspends.
-- This holds as well as the guess: a call is expected to need a quarter more than
-- the last one of its run and the results since then, or, as the first, than the
-- largest first call of the same agent before.  Of an agent that nobody has seen,
-- one run of a tree goes alone.
--
-- A tenant's day is a sum of rows, one for each planner: nobody waits for a lock,
-- and planners that claim in the same moment may pass the limit by what they
-- reserve in it.
--
-- Order of locks: rows of runs, of budgets by root_id, of tenant_days by tenant,
-- day and incarnation, of tenant_budgets, of call_sizes by revision.

-- ---------------------------------------------------------------- tables

-- (budgets, one row per tree, is made by accept: 0002_accept.sql.)

-- What a tenant may spend on one day (UTC).
CREATE TABLE pawl.tenant_budgets (
    tenant     text PRIMARY KEY,
    tokens_max bigint,
    micros_max bigint,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL
);

-- What a tenant with a budget has spent on a day: one row per planner, so that
-- no two of them wait for each other.  The sum counts.
CREATE TABLE pawl.tenant_days (
    tenant       text   NOT NULL,
    day          date   NOT NULL,
    incarnation  bigint NOT NULL,
    tokens_held  bigint NOT NULL DEFAULT 0,
    micros_held  bigint NOT NULL DEFAULT 0,
    tokens_spent bigint NOT NULL DEFAULT 0,
    micros_spent bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, day, incarnation)
) WITH (fillfactor = 50);

-- The largest first call of a run, by the agent's revision: what the next run of
-- it is expected to need.  Kept for runs with a budget only.
CREATE TABLE pawl.call_sizes (
    revision bigint PRIMARY KEY,
    tokens   bigint NOT NULL,
    micros   bigint NOT NULL
);

-- ---------------------------------------------------------------- the guess

-- What the next call of a run may need; NULL: nobody has seen one like it.
CREATE FUNCTION pawl.guess_call(p_run uuid, p_step int, p_revision bigint, p_lo uuid, p_hi uuid, OUT tokens bigint, OUT micros bigint)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_last    record;
    v_results bigint;
BEGIN
    SELECT c.tokens_in + c.tokens_out AS tokens, coalesce(c.cost_micros, 0) AS micros INTO v_last
    FROM agent_step_content c
    WHERE c.run_id = p_run AND c.index = 0 AND c.step IN (p_step, p_step - 1) AND c.tokens_in + c.tokens_out > 0
      AND c.run_id BETWEEN p_lo AND p_hi
    ORDER BY c.step DESC, c.version DESC LIMIT 1;
    IF FOUND THEN
        -- a token is seldom less than three bytes
        SELECT coalesce(sum(octet_length(coalesce(a.result, a.error))), 0) / 3 INTO v_results
        FROM agent_actions a WHERE a.run_id = p_run AND a.step = p_step - 1 AND a.run_id BETWEEN p_lo AND p_hi;
        tokens := (v_last.tokens + v_results) * 5 / 4;
        micros := ceil(v_last.micros * 1.25 * (v_last.tokens + v_results) / v_last.tokens);
    ELSE
        SELECT s.tokens * 5 / 4, s.micros * 5 / 4 INTO tokens, micros FROM call_sizes s WHERE s.revision = p_revision;
    END IF;
END
$$;

-- One limit's word: `fits`, `wait` (for those in flight), `over`.
-- p_before: what others of the same statement reserve; p_need NULL: not known.
CREATE FUNCTION pawl.judge_budget(p_max bigint, p_spent bigint, p_held bigint, p_before bigint, p_need bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_max IS NULL THEN 'fits'
            WHEN p_spent >= p_max THEN 'over'
            WHEN p_held + p_before <= 0 THEN 'fits' -- alone
            WHEN p_spent + p_held + p_before + p_need <= p_max THEN 'fits'
            ELSE 'wait' END;

-- ---------------------------------------------------------------- the claim

-- Of these runs, whose locks the caller holds, those whose step could be claimed
-- now and that have a budget: reserves, lets wait, or suspends.
CREATE FUNCTION pawl.take_budgets(p_worker bigint, p_run uuid[], p_alone boolean, p_set pawl.settings, p_lo uuid, p_hi uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_run    uuid[];
    v_root   uuid[];
    v_tenant text[];
    v_known  boolean[];
    v_tokens bigint[];
    v_micros bigint[];
    v_word   text[];
BEGIN
    SELECT array_agg(r.run_id ORDER BY r.run_id), array_agg(CASE WHEN r.budgeted THEN r.root_id END ORDER BY r.run_id),
           array_agg(t.tenant ORDER BY r.run_id), array_agg(g.tokens IS NOT NULL ORDER BY r.run_id),
           -- not known: a twentieth of the limit
           array_agg(greatest(coalesce(g.tokens, b.tokens_max / 20, t.tokens_max / 20, 0), 1) ORDER BY r.run_id),
           array_agg(greatest(coalesce(g.micros, b.micros_max / 20, t.micros_max / 20, 0), 1) ORDER BY r.run_id)
    INTO v_run, v_root, v_tenant, v_known, v_tokens, v_micros
    FROM (SELECT DISTINCT x AS run FROM unnest(p_run) x) u
    JOIN LATERAL run_at(u.run, p_lo, p_hi) r
        ON r.status = 'running' AND r.claim_by IS NULL AND r.open_calls = 0 AND coalesce(r.not_before <= clock_timestamp(), true)
           AND r.deadline > clock_timestamp() AND (p_alone OR r.deaths < p_set.deaths_max - 1)
    LEFT JOIN tenant_budgets t ON t.tenant = r.tenant
    LEFT JOIN budgets b ON r.budgeted AND b.root_id = r.root_id
    CROSS JOIN LATERAL guess_call(r.run_id, r.step, r.revision, p_lo, p_hi) g
    WHERE r.budgeted OR t.tenant IS NOT NULL;
    IF v_run IS NULL THEN
        RETURN;
    END IF;

    PERFORM 1 FROM budgets b WHERE b.root_id = ANY (v_root) ORDER BY b.root_id FOR NO KEY UPDATE;
    v_word := judge_budgets(v_run, v_root, v_tenant, v_known, v_tokens, v_micros);

    UPDATE budgets b SET tokens_held = b.tokens_held + s.tokens, micros_held = b.micros_held + s.micros
    FROM (SELECT u.root, sum(u.tokens) AS tokens, sum(u.micros) AS micros
          FROM unnest(v_root, v_tokens, v_micros, v_word) AS u (root, tokens, micros, word)
          WHERE u.word = 'fits' AND u.root IS NOT NULL GROUP BY u.root) s
    WHERE b.root_id = s.root;
    INSERT INTO tenant_days AS d (tenant, day, incarnation, tokens_held, micros_held)
    SELECT u.tenant, budget_day(), p_worker, sum(u.tokens), sum(u.micros)
    FROM unnest(v_tenant, v_tokens, v_micros, v_word) AS u (tenant, tokens, micros, word)
    WHERE u.word = 'fits' AND u.tenant IS NOT NULL GROUP BY u.tenant ORDER BY u.tenant
    ON CONFLICT (tenant, day, incarnation)
        DO UPDATE SET tokens_held = d.tokens_held + excluded.tokens_held, micros_held = d.micros_held + excluded.micros_held;
    UPDATE agent_runs r
    SET held_tokens = CASE u.word WHEN 'fits' THEN u.tokens END, held_micros = CASE u.word WHEN 'fits' THEN u.micros END,
        held_day = CASE WHEN u.word = 'fits' AND u.tenant IS NOT NULL THEN budget_day() END,
        not_before = CASE u.word WHEN 'wait' THEN clock_timestamp() + interval '1 s' ELSE r.not_before END,
        due_at = CASE u.word WHEN 'wait' THEN least(soon(1000), r.deadline) ELSE r.due_at END
    FROM unnest(v_run, v_tenant, v_tokens, v_micros, v_word) AS u (run, tenant, tokens, micros, word)
    WHERE r.run_id = u.run AND u.word IN ('fits', 'wait');
    IF v_word && ARRAY['tree', 'tenant'] THEN
        PERFORM suspend_for_budget(u.run, u.word) FROM unnest(v_run, v_word) AS u (run, word) WHERE u.word IN ('tree', 'tenant');
    END IF;
END
$$;

-- The day that is paid from now.
CREATE FUNCTION pawl.budget_day() RETURNS date
LANGUAGE sql STABLE
RETURN (clock_timestamp() AT TIME ZONE 'UTC')::date;

-- For each run: `fits`, `wait`, or whose budget is spent: `tree`, `tenant`.  One
-- that does not fit counts as if it did against those behind it.
CREATE FUNCTION pawl.judge_budgets(p_run uuid[], p_root uuid[], p_tenant text[], p_known boolean[], p_tokens bigint[], p_micros bigint[])
RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_word text[];
    v_lock uuid[];
BEGIN
    WITH day AS MATERIALIZED (
        SELECT t.*, s.*
        FROM (SELECT DISTINCT x FROM unnest(p_tenant) x) u
        JOIN tenant_budgets t ON t.tenant = u.x
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(d.tokens_spent), 0)::bigint AS tokens_spent, coalesce(sum(d.micros_spent), 0)::bigint AS micros_spent,
                   coalesce(sum(d.tokens_held), 0)::bigint AS tokens_held, coalesce(sum(d.micros_held), 0)::bigint AS micros_held
            FROM tenant_days d WHERE d.tenant = t.tenant AND d.day = budget_day()) s
    ), asked AS (
        SELECT u.*, (sum(u.tokens) OVER tree - u.tokens)::bigint AS tree_tokens, (sum(u.micros) OVER tree - u.micros)::bigint AS tree_micros,
               (sum(u.tokens) OVER tenant - u.tokens)::bigint AS day_tokens, (sum(u.micros) OVER tenant - u.micros)::bigint AS day_micros
        FROM unnest(p_run, p_root, p_tenant, p_known, p_tokens, p_micros) WITH ORDINALITY AS u (run, root, tenant, known, tokens, micros, n)
        WINDOW tree AS (PARTITION BY u.root ORDER BY u.n), tenant AS (PARTITION BY u.tenant ORDER BY u.n)
    ), judged AS (
        SELECT a.n,
               ARRAY[judge_budget(b.tokens_max, b.tokens_spent, b.tokens_held, a.tree_tokens, CASE WHEN a.known THEN a.tokens END),
                     judge_budget(b.micros_max, b.micros_spent, b.micros_held, a.tree_micros, CASE WHEN a.known THEN a.micros END)] AS tree,
               ARRAY[judge_budget(d.tokens_max, d.tokens_spent, d.tokens_held, a.day_tokens, a.tokens),
                     judge_budget(d.micros_max, d.micros_spent, d.micros_held, a.day_micros, a.micros)] AS tenant
        FROM asked a
        LEFT JOIN budgets b ON b.root_id = a.root
        LEFT JOIN day d ON d.tenant = a.tenant
    )
    SELECT array_agg(CASE WHEN 'over' = ANY (j.tree) THEN 'tree' WHEN 'over' = ANY (j.tenant) THEN 'tenant'
                          WHEN 'wait' = ANY (j.tree || j.tenant) THEN 'wait' ELSE 'fits' END ORDER BY j.n)
    INTO v_word FROM judged j;
    RETURN v_word;
END
$$;

-- Nothing is left: the run waits for people, at a tenant's limit for the next day,
-- and ends as `budget_exceeded` at its deadline.
CREATE FUNCTION pawl.suspend_for_budget(p_run uuid, p_whose text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_run   pawl.agent_runs;
    v_error text;
    v_next  timestamptz;
BEGIN
    SELECT * INTO v_run FROM agent_runs r WHERE r.run_id = p_run;
    IF p_whose = 'tree' THEN
        SELECT format('%s; `pawl run resume %s --budget-cost X` or --budget-tokens N raises the limit and lets it go on',
                      describe_budget('the tree of this run', b.tokens_spent, b.tokens_max, b.micros_spent, b.micros_max), p_run)
        INTO v_error FROM budgets b WHERE b.root_id = v_run.root_id;
    ELSE
        -- set_budget() wakes what it finds suspended: nobody suspends beside it by
        -- the old limit.  Changed meanwhile: look again in a moment.
        PERFORM 1 FROM tenant_budgets t WHERE t.tenant = v_run.tenant FOR SHARE;
        SELECT format('%s; it goes on tomorrow (UTC), or when `pawl budget set --tenant %s` gives it more',
                      describe_budget('tenant ' || v_run.tenant || ' today', s.tokens, t.tokens_max, s.micros, t.micros_max), v_run.tenant),
               ((budget_day() + 1)::timestamp AT TIME ZONE 'UTC')
        INTO v_error, v_next
        FROM tenant_budgets t
        CROSS JOIN LATERAL (SELECT sum(d.tokens_spent)::bigint AS tokens, sum(d.micros_spent)::bigint AS micros
                            FROM tenant_days d WHERE d.tenant = t.tenant AND d.day = budget_day()) s
        WHERE t.tenant = v_run.tenant AND (s.tokens >= t.tokens_max OR s.micros >= t.micros_max);
    END IF;
    IF v_error IS NULL THEN
        UPDATE agent_runs r SET not_before = clock_timestamp() + interval '1 s', due_at = least(soon(1000), r.deadline) WHERE r.run_id = p_run;
        RETURN;
    END IF;
    UPDATE agent_runs r
    SET status = 'suspended', error_code = 'budget_exceeded', error = left(v_error, 1000), change = r.change + 1,
        due_at = least(v_next, r.deadline), held_day = CASE p_whose WHEN 'tenant' THEN budget_day() END
    WHERE r.run_id = p_run;
    INSERT INTO announcements (run_id, epoch, step, type, taken_until, error_code, error)
    VALUES (p_run, v_run.epoch, v_run.step, 'waiting', clock_timestamp(), 'budget_exceeded', left(v_error, 1000));
    PERFORM note_places(ARRAY[p_run], -1, p_run, p_run);
END
$$;

-- "tenant a today has spent 1200 of 1000 tokens"
CREATE FUNCTION pawl.describe_budget(p_whose text, p_tokens bigint, p_tokens_max bigint, p_micros bigint, p_micros_max bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_whose || ' has spent '
       || concat_ws(' and ',
                    CASE WHEN p_tokens >= p_tokens_max THEN format('%s of %s tokens', p_tokens, p_tokens_max) END,
                    CASE WHEN p_micros >= p_micros_max THEN format('%s of %s in money', round(p_micros / 1000000.0, 6), round(p_micros_max / 1000000.0, 6)) END);

-- ---------------------------------------------------------------- the commit

-- What commit_plans tells of the accepted ones (p_item, from 0): a model that was
-- not asked has cost nothing.
CREATE FUNCTION pawl.settle_plans(
    p_item int[], p_run uuid[], p_outcome text[], p_model text[], p_tokens_in bigint[], p_tokens_out bigint[], p_cost_micros bigint[],
    p_lo uuid, p_hi uuid
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM settle_budgets(z.run, z.tokens, z.micros, NULL, p_lo, p_hi)
    FROM (SELECT array_agg(p_run[i + 1]) AS run,
                 array_agg(CASE WHEN x.asked THEN p_tokens_in[i + 1] + p_tokens_out[i + 1] ELSE 0 END) AS tokens,
                 array_agg(CASE WHEN x.asked THEN coalesce(p_cost_micros[i + 1], CASE WHEN p_tokens_in[i + 1] + p_tokens_out[i + 1] > 0 THEN 0 END)
                                ELSE 0 END) AS micros
          FROM unnest(p_item) i
          CROSS JOIN LATERAL (SELECT p_outcome[i + 1] <> 'handed_back' AND p_model[i + 1] IS NOT NULL AS asked) x) z
    WHERE z.run IS NOT NULL;
END
$$;

-- The claims of these runs come to their end.  p_tokens, p_micros: what each call
-- has cost; NULL: nobody knows, so what it had reserved is spent.  p_holder: only
-- claims of these incarnations; NULL: of any.  The caller takes the claims away
-- after this.
CREATE FUNCTION pawl.settle_budgets(p_run uuid[], p_tokens bigint[], p_micros bigint[], p_holder bigint[], p_lo uuid, p_hi uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_run    uuid[];
    v_root   uuid[];
    v_tenant text[];
    v_day    date[];
    v_by     bigint[];
    v_tokens bigint[]; -- spent
    v_micros bigint[];
    v_held_t bigint[]; -- held until now
    v_held_m bigint[];
    v_guess  boolean[];
BEGIN
    SELECT array_agg(r.run_id), array_agg(CASE WHEN r.budgeted THEN r.root_id END),
           array_agg(CASE WHEN r.held_day IS NOT NULL OR t.tenant IS NOT NULL THEN r.tenant END),
           array_agg(coalesce(r.held_day, budget_day())), array_agg(r.claim_by),
           array_agg(coalesce(u.tokens, r.held_tokens, 0)), array_agg(coalesce(u.micros, r.held_micros, 0)),
           array_agg(coalesce(r.held_tokens, 0)), array_agg(coalesce(r.held_micros, 0)), array_agg(u.tokens IS NULL)
    INTO v_run, v_root, v_tenant, v_day, v_by, v_tokens, v_micros, v_held_t, v_held_m, v_guess
    FROM unnest(p_run, p_tokens, p_micros) AS u (run, tokens, micros)
    JOIN LATERAL run_at(u.run, p_lo, p_hi) r ON r.claim_by IS NOT NULL AND (p_holder IS NULL OR r.claim_by = ANY (p_holder))
    LEFT JOIN tenant_budgets t ON t.tenant = r.tenant
    WHERE r.held_tokens IS NOT NULL OR r.budgeted OR t.tenant IS NOT NULL;
    IF v_run IS NULL THEN
        RETURN;
    END IF;

    PERFORM 1 FROM budgets b WHERE b.root_id = ANY (v_root) ORDER BY b.root_id FOR NO KEY UPDATE;
    UPDATE budgets b
    SET tokens_held = b.tokens_held - s.held_tokens, micros_held = b.micros_held - s.held_micros,
        tokens_spent = b.tokens_spent + s.tokens, micros_spent = b.micros_spent + s.micros,
        tokens_guessed = b.tokens_guessed + s.guessed_tokens, micros_guessed = b.micros_guessed + s.guessed_micros
    FROM (SELECT u.root, sum(u.held_tokens) AS held_tokens, sum(u.held_micros) AS held_micros, sum(u.tokens) AS tokens, sum(u.micros) AS micros,
                 sum(CASE WHEN u.guess THEN u.tokens ELSE 0 END) AS guessed_tokens, sum(CASE WHEN u.guess THEN u.micros ELSE 0 END) AS guessed_micros
          FROM unnest(v_root, v_held_t, v_held_m, v_tokens, v_micros, v_guess) AS u (root, held_tokens, held_micros, tokens, micros, guess)
          WHERE u.root IS NOT NULL GROUP BY u.root) s
    WHERE b.root_id = s.root;
    -- what was not reserved on that day is not given back to it
    INSERT INTO tenant_days AS d (tenant, day, incarnation, tokens_held, micros_held, tokens_spent, micros_spent)
    SELECT u.tenant, u.day, u.by, -sum(CASE WHEN r.held_day IS NOT NULL THEN u.held_tokens ELSE 0 END),
           -sum(CASE WHEN r.held_day IS NOT NULL THEN u.held_micros ELSE 0 END), sum(u.tokens), sum(u.micros)
    FROM unnest(v_run, v_tenant, v_day, v_by, v_held_t, v_held_m, v_tokens, v_micros)
             AS u (run, tenant, day, by, held_tokens, held_micros, tokens, micros)
    JOIN LATERAL run_at(u.run, p_lo, p_hi) r ON u.tenant IS NOT NULL
    GROUP BY u.tenant, u.day, u.by ORDER BY u.tenant, u.day, u.by
    ON CONFLICT (tenant, day, incarnation)
        DO UPDATE SET tokens_held = d.tokens_held + excluded.tokens_held, micros_held = d.micros_held + excluded.micros_held,
                      tokens_spent = d.tokens_spent + excluded.tokens_spent, micros_spent = d.micros_spent + excluded.micros_spent;
    PERFORM note_sizes(v_run, v_tokens, v_micros, v_guess, p_lo, p_hi);
    UPDATE agent_runs r SET held_tokens = NULL, held_micros = NULL, held_day = NULL WHERE r.run_id = ANY (v_run) AND r.held_tokens IS NOT NULL;
END
$$;

-- Remembers first calls that were larger than any before of the same agent.
CREATE FUNCTION pawl.note_sizes(p_run uuid[], p_tokens bigint[], p_micros bigint[], p_guess boolean[], p_lo uuid, p_hi uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO call_sizes AS c (revision, tokens, micros)
    SELECT r.revision, max(u.tokens), max(u.micros)
    FROM unnest(p_run, p_tokens, p_micros, p_guess) AS u (run, tokens, micros, guess)
    JOIN LATERAL run_at(u.run, p_lo, p_hi) r ON r.step = 1 AND NOT u.guess AND u.tokens > 0
    WHERE NOT EXISTS (SELECT FROM call_sizes s WHERE s.revision = r.revision AND s.tokens >= u.tokens AND s.micros >= u.micros)
    GROUP BY r.revision ORDER BY r.revision
    ON CONFLICT (revision) DO UPDATE SET tokens = greatest(c.tokens, excluded.tokens), micros = greatest(c.micros, excluded.micros);
END
$$;

-- A plan that came too late advances nothing, but its model has worked: the
-- attempt gets its usage, so that what is wasted is known.  Of those not in
-- p_settled (from 0), the ones whose version was given out, not given back, and
-- holds no plan.  The row has no token: it is no commit.
CREATE FUNCTION pawl.keep_late_usage(
    p_settled int[], p_worker bigint, p_run uuid[], p_step int[], p_epoch int[], p_version int[], p_model text[], p_tokens_in bigint[],
    p_tokens_out bigint[], p_tokens_cached bigint[], p_tokens_reasoning bigint[], p_tokens_written bigint[], p_cost_micros bigint[],
    p_duration_ms int[], p_lo uuid, p_hi uuid
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH kept AS (
        INSERT INTO agent_step_content (run_id, step, index, version, epoch, type, content, incarnation, model, tokens_in, tokens_out,
                                        tokens_cached, tokens_reasoning, tokens_written, cost_micros, duration_ms)
        SELECT u.run, u.step, 0, u.version, u.epoch, 'error', 'stale: the answer came when its claim was gone', p_worker, u.model, u.tokens_in,
               u.tokens_out, u.tokens_cached, u.tokens_reasoning, u.tokens_written, u.cost, u.took
        FROM unnest(p_run, p_step, p_epoch, p_version, p_model, p_tokens_in, p_tokens_out, p_tokens_cached, p_tokens_reasoning, p_tokens_written,
                    p_cost_micros, p_duration_ms) WITH ORDINALITY
             AS u (run, step, epoch, version, model, tokens_in, tokens_out, tokens_cached, tokens_reasoning, tokens_written, cost, took, n)
        JOIN LATERAL run_at(u.run, p_lo, p_hi) r
            ON r.epoch = u.epoch AND (r.step > u.step OR (r.step = u.step AND r.version > u.version)
                                      OR (r.step = u.step AND r.version = u.version AND r.claim_by IS NULL))
        WHERE (u.n - 1)::int <> ALL (p_settled) AND u.version > 0 AND u.tokens_in + u.tokens_out > 0
          AND NOT EXISTS (SELECT FROM item_at(u.run, u.step, 0, u.version, p_lo, p_hi))
        ON CONFLICT DO NOTHING
        RETURNING run_id, tokens_in, tokens_out, tokens_cached, cost_micros
    )
    UPDATE agent_runs r
    SET model_calls = r.model_calls + k.calls, tokens_in = r.tokens_in + k.tokens_in, tokens_out = r.tokens_out + k.tokens_out,
        tokens_cached = r.tokens_cached + k.tokens_cached, cost_micros = r.cost_micros + k.cost,
        wasted_tokens = coalesce(r.wasted_tokens, 0) + k.tokens_in + k.tokens_out, wasted_micros = coalesce(r.wasted_micros, 0) + k.cost
    FROM (SELECT x.run_id, count(*)::int AS calls, sum(x.tokens_in) AS tokens_in, sum(x.tokens_out) AS tokens_out,
                 sum(coalesce(x.tokens_cached, 0)) AS tokens_cached, sum(coalesce(x.cost_micros, 0)) AS cost FROM kept x GROUP BY x.run_id) k
    WHERE r.run_id = k.run_id;
END
$$;

-- ---------------------------------------------------------------- people

-- The runs of a tree that have not ended, each below its parent.
CREATE FUNCTION pawl.live_tree(p_root uuid) RETURNS uuid[]
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE tree AS (
        SELECT r.run_id, r.ended_at FROM pawl.agent_runs r WHERE r.run_id = p_root
        UNION ALL
        SELECT c.run_id, c.ended_at FROM tree t JOIN pawl.agent_runs c ON c.parent_id = t.run_id
    )
    SELECT array_agg(t.run_id ORDER BY t.run_id) FROM tree t WHERE t.ended_at IS NULL
$$;

-- Makes runs that are suspended for the budget of their tree, or of their tenant,
-- due; the caller holds their locks.  Each is looked at as if it had just been rung for, and may suspend
-- again.
CREATE FUNCTION pawl.wake_for_budget(p_run uuid[], p_tenants boolean) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_woken uuid[];
BEGIN
    WITH woken AS (
    UPDATE agent_runs r
    SET status = 'running', error_code = NULL, error = NULL, held_day = NULL, due_at = least(clock_timestamp(), r.deadline), change = r.change + 1
    WHERE r.run_id = ANY (p_run) AND r.status = 'suspended' AND r.open_calls = 0 AND (r.held_day IS NOT NULL) = p_tenants
    RETURNING r.run_id)
    SELECT array_agg(w.run_id ORDER BY w.run_id) INTO v_woken FROM woken w;
    IF v_woken IS NOT NULL THEN
        PERFORM note_places(v_woken, 1, v_woken[1], v_woken[cardinality(v_woken)]);
    END IF;
    RETURN coalesce(cardinality(v_woken), 0);
END
$$;

-- Raises what the tree of a run may spend, and lets its suspended runs go on.
-- p_tokens, p_micros: the new limits in all, not what is added; NULL: as before.
-- answers: resumed, no (no such run, or it has no budget), low (one that would
-- not let anybody go on), ended (no run of the tree is alive)
CREATE FUNCTION pawl.resume(p_run uuid, p_tokens bigint, p_micros bigint, p_who text)
RETURNS TABLE (answer text, detail text, root_id uuid, runs int, tokens_max bigint, micros_max bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_run    agent_runs;
    v_live   uuid[];
    v_locked uuid[];
    v_budget budgets;
    v_new    budgets;
    v_woken  int;
BEGIN
    SELECT * INTO v_run FROM agent_runs r WHERE r.run_id = p_run;
    IF v_run.run_id IS NULL OR NOT v_run.budgeted THEN
        RETURN QUERY SELECT 'no', CASE WHEN v_run.run_id IS NULL THEN format('there is no run %s', p_run)
                                       ELSE 'its tree of runs has no budget of its own; that of its tenant is raised by `pawl budget set`' END,
                            NULL::uuid, 0, NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    -- A new child needs its parent's lock: once all are locked, the tree grows no more.
    LOOP
        v_live := live_tree(v_run.root_id);
        EXIT WHEN v_live IS NOT DISTINCT FROM v_locked;
        PERFORM lock_runs(v_live);
        v_locked := v_live;
    END LOOP;
    SELECT * INTO v_budget FROM budgets b WHERE b.root_id = v_run.root_id FOR NO KEY UPDATE;
    v_new := v_budget;
    v_new.tokens_max := CASE WHEN v_budget.tokens_max IS NOT NULL THEN coalesce(p_tokens, v_budget.tokens_max) END;
    v_new.micros_max := CASE WHEN v_budget.micros_max IS NOT NULL THEN coalesce(p_micros, v_budget.micros_max) END;
    IF v_live IS NULL THEN
        RETURN QUERY SELECT 'ended', 'every run of this tree has ended; `pawl run retry` opens it again', v_run.root_id, 0,
                            v_budget.tokens_max, v_budget.micros_max;
    ELSIF v_new.tokens_max <= v_budget.tokens_spent OR v_new.micros_max <= v_budget.micros_spent THEN
        RETURN QUERY SELECT 'low', describe_budget('the tree of this run', v_budget.tokens_spent, v_new.tokens_max, v_budget.micros_spent,
                                                   v_new.micros_max) || ', so it could not go on with that; give it more',
                            v_run.root_id, 0, v_budget.tokens_max, v_budget.micros_max;
    ELSE
        UPDATE budgets b SET tokens_max = v_new.tokens_max, micros_max = v_new.micros_max WHERE b.root_id = v_run.root_id;
        v_woken := wake_for_budget(v_live, false);
        INSERT INTO audit (who, verb, run_id, detail)
        VALUES (p_who, 'resume', p_run, json_build_object('root', v_run.root_id, 'tokens_before', v_budget.tokens_max, 'tokens', v_new.tokens_max,
                                                          'micros_before', v_budget.micros_max, 'micros', v_new.micros_max, 'runs', v_woken));
        RETURN QUERY SELECT 'resumed', NULL::text, v_run.root_id, v_woken, v_new.tokens_max, v_new.micros_max;
    END IF;
END
$$;

-- What a tenant may spend by the day; both NULL: as much as it likes.  What it has
-- spent before it had a budget does not count.  Runs that wait for it are woken
-- by wake_tenant(), in a transaction of its own: after this one nobody suspends by
-- the old limit any more.
CREATE FUNCTION pawl.set_budget(p_tenant text, p_tokens bigint, p_micros bigint, p_who text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
BEGIN
    IF p_tokens IS NULL AND p_micros IS NULL THEN
        DELETE FROM tenant_budgets t WHERE t.tenant = p_tenant;
        IF NOT FOUND THEN
            RETURN 'none';
        END IF;
    ELSE
        INSERT INTO tenant_budgets AS t (tenant, tokens_max, micros_max, changed_by) VALUES (p_tenant, p_tokens, p_micros, p_who)
        ON CONFLICT (tenant) DO UPDATE SET tokens_max = p_tokens, micros_max = p_micros, changed_at = now(), changed_by = p_who;
    END IF;
    UPDATE settings SET daily_budgets = EXISTS (SELECT FROM tenant_budgets);
    DELETE FROM tenant_days d WHERE d.day < budget_day() - 90;
    INSERT INTO audit (who, verb, detail)
    VALUES (p_who, 'budget', json_build_object('tenant', p_tenant, 'tokens_per_day', p_tokens, 'micros_per_day', p_micros));
    RETURN 'set';
END
$$;

CREATE FUNCTION pawl.wake_tenant(p_tenant text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
DECLARE
    v_run uuid[] := (SELECT array_agg(r.run_id) FROM agent_runs r
                     WHERE r.ended_at IS NULL AND r.tenant = p_tenant AND r.status = 'suspended' AND r.held_day IS NOT NULL);
BEGIN
    PERFORM lock_runs(v_run);
    RETURN wake_for_budget(v_run, true);
END
$$;

CREATE VIEW pawl.tenants_today AS
SELECT t.tenant, t.tokens_max AS tokens_per_day, round(t.micros_max / 1000000.0, 6) AS cost_per_day,
       s.tokens_spent, round(s.micros_spent / 1000000.0, 6) AS cost_spent, s.tokens_held, round(s.micros_held / 1000000.0, 6) AS cost_held,
       t.changed_at, t.changed_by
FROM pawl.tenant_budgets t
CROSS JOIN LATERAL (
    SELECT coalesce(sum(d.tokens_spent), 0) AS tokens_spent, coalesce(sum(d.micros_spent), 0) AS micros_spent,
           coalesce(sum(d.tokens_held), 0) AS tokens_held, coalesce(sum(d.micros_held), 0) AS micros_held
    FROM pawl.tenant_days d WHERE d.tenant = t.tenant AND d.day = pawl.budget_day()) s;

-- ------------------------------------------------------------------ rights

REVOKE ALL ON FUNCTION
    pawl.guess_call(uuid, int, bigint, uuid, uuid), pawl.judge_budget(bigint, bigint, bigint, bigint, bigint),
    pawl.take_budgets(bigint, uuid[], boolean, pawl.settings, uuid, uuid), pawl.budget_day(),
    pawl.judge_budgets(uuid[], uuid[], text[], boolean[], bigint[], bigint[]), pawl.suspend_for_budget(uuid, text),
    pawl.describe_budget(text, bigint, bigint, bigint, bigint),
    pawl.settle_plans(int[], uuid[], text[], text[], bigint[], bigint[], bigint[], uuid, uuid),
    pawl.settle_budgets(uuid[], bigint[], bigint[], bigint[], uuid, uuid),
    pawl.note_sizes(uuid[], bigint[], bigint[], boolean[], uuid, uuid),
    pawl.keep_late_usage(int[], bigint, uuid[], int[], int[], int[], text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], int[],
                         uuid, uuid),
    pawl.live_tree(uuid), pawl.wake_for_budget(uuid[], boolean), pawl.resume(uuid, bigint, bigint, text),
    pawl.set_budget(text, bigint, bigint, text), pawl.wake_tenant(text)
FROM PUBLIC;

GRANT SELECT ON pawl.tenants_today TO pawl_operator;
GRANT EXECUTE ON FUNCTION pawl.resume(uuid, bigint, bigint, text), pawl.set_budget(text, bigint, bigint, text), pawl.wake_tenant(text),
    pawl.budget_day() TO pawl_operator;
