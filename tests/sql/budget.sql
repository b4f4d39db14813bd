-- budget.sql -- what runs may spend: reserved at the claim, settled at the commit.
BEGIN;
\ir fixture.psql
SELECT plan(68);

-- an agent with limits, a run of it with a budget of its own, and children as
-- sub-agents will have them
SELECT t.worker('planner', 'a') AS p, t.worker('planner', 'b') AS q \gset
SELECT seq AS rev FROM publish('agent', 'thrifty', repeat('b', 64), '{}', 'tests', 3600000, 16, NULL, NULL, NULL, NULL, NULL, 1000, 5000000) \gset

CREATE FUNCTION t.start_with(tokens bigint DEFAULT NULL, micros bigint DEFAULT NULL, agent text DEFAULT 'thrifty', tenant text DEFAULT 'tenant',
                             id text DEFAULT gen_random_uuid()::text) RETURNS uuid LANGUAGE sql AS $$
    SELECT run_id FROM pawl.accept(NULL, ARRAY['tests'], ARRAY[id], ARRAY[sha256(id::bytea)], ARRAY[agent], ARRAY[tenant], ARRAY['default'],
        ARRAY['"hello"'], ARRAY[NULL], ARRAY[NULL::timestamptz], ARRAY[NULL::timestamptz], 'tests', 0,
        p_tokens_max => ARRAY[tokens], p_micros_max => ARRAY[micros])
$$;

CREATE FUNCTION t.child(parent uuid) RETURNS uuid LANGUAGE sql AS $$
    INSERT INTO pawl.agent_runs (run_id, root_id, parent_id, parent_step, parent_index, revision, agent, tenant, class, due_at, deadline, budgeted)
    SELECT pawl.uuid7_at(r.created_at), r.root_id, r.run_id, 1, 0, r.revision, r.agent, r.tenant, r.class, clock_timestamp(), r.deadline, r.budgeted
    FROM pawl.agent_runs r WHERE r.run_id = parent RETURNING run_id
$$;

-- commits the present claim with this usage; NULL: the provider did not say
CREATE FUNCTION t.settle(worker bigint, run uuid, tok int, outcome text, tokens bigint, micros bigint, model text DEFAULT 'm') RETURNS text LANGUAGE sql AS $$
    SELECT x.answer || ' ' || x.status
    FROM pawl.agent_runs r, pawl.commit_plans(worker, ARRAY[t.token(tok)], ARRAY[run], ARRAY[r.step], ARRAY[r.epoch],
        ARRAY[CASE WHEN r.claim_by = worker THEN r.version ELSE 1 END], ARRAY[outcome],
        ARRAY[0::bigint], ARRAY['code'], ARRAY['text'], ARRAY[model], ARRAY[tokens], ARRAY[tokens - tokens], ARRAY[0::bigint], ARRAY[micros], ARRAY[1],
        CASE WHEN outcome IN ('calls', 'final') THEN '{0}'::int[] ELSE '{}' END, '{0}', CASE outcome WHEN 'calls' THEN '{function_call}'::text[] ELSE '{text}' END,
        '{text}', '{NULL}', '{c}', '{look}', ARRAY[(SELECT seq FROM pawl.current_revisions WHERE kind = 'tool' AND name = 'look')], '{"{}"}', '{x}',
        '{refused}') x
    WHERE r.run_id = run
$$;

CREATE FUNCTION t.budget(run uuid) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s+%s/%s %s+%s/%s', b.tokens_spent, b.tokens_held, coalesce(b.tokens_max::text, '-'), b.micros_spent, b.micros_held, coalesce(b.micros_max::text, '-'))
    FROM pawl.budgets b JOIN pawl.agent_runs r ON r.root_id = b.root_id WHERE r.run_id = run
$$;

CREATE FUNCTION t.day(of text) RETURNS text LANGUAGE sql AS $$
    SELECT sum(d.tokens_spent) || '+' || sum(d.tokens_held) FROM pawl.tenant_days d WHERE d.tenant = of AND d.day = pawl.budget_day()
$$;

-- at the acceptance
SELECT t.start_with() AS run \gset
SELECT is(t.budget(:'run'), '0+0/1000 0+0/5000000', 'a run has the budget of its agent');
SELECT is(t.budget(t.start_with(400, 9000000)), '0+0/400 0+0/5000000', 'its request may lower it, not raise it');
SELECT t.start() AS free \gset
SELECT is(t.budget(:'free'), NULL, 'a run without a limit has none');
SELECT is(t.budget(t.start_with(NULL, 7, 'billing')), '0+0/- 0+0/7', 'a request may bring one of its own');

-- reserved and settled
SELECT is(t.claim_plan(:p, :'run', 1), 'yours 1.1', 'the first call is claimed');
SELECT is(t.budget(:'run'), '0+50/1000 0+250000/5000000', 'nobody has seen one like it: a twentieth of the limit is reserved');
SELECT is(t.claim_plan(:p, :'run', 1), 'yours 1.1', 'asked again with the same token, the same answer');
SELECT is(t.budget(:'run'), '0+50/1000 0+250000/5000000', 'and nothing is reserved twice');
SELECT is(t.settle(:p, :'run', 1, 'calls', 200, 1000), 'ok running', 'it is committed');
SELECT is(t.budget(:'run'), '200+0/1000 1000+0/5000000', 'what it cost is spent, the reservation is back');
SELECT is((SELECT count(held_tokens) FROM agent_runs), 0::bigint, 'no row holds anything');
SELECT is((SELECT tokens || '/' || micros FROM call_sizes WHERE revision = :rev), '200/1000', 'its size is remembered for the next run');
SELECT is(t.claim_plan(:p, :'run', 2), 'yours 2.1', 'the second call');
SELECT is(t.budget(:'run'), '200+250/1000 1000+1250/5000000', 'is expected to need a quarter more than the last');
SELECT is(t.settle(:p, :'run', 2, 'handed_back', NULL, NULL), 'ok running', 'it is handed back');
SELECT is(t.budget(:'run'), '200+0/1000 1000+0/5000000', 'and has cost nothing');
SELECT t.claim_plan(:p, :'run', 3) \gset _
SELECT t.settle(:p, :'run', 3, 'calls', NULL, NULL) \gset _
SELECT is(t.budget(:'run'), '450+0/1000 2250+0/5000000', 'a provider that does not say: the reservation is spent');
SELECT is((SELECT tokens_guessed || '/' || micros_guessed FROM budgets WHERE root_id = :'run'), '250/1250', 'and counted as a guess');
SELECT t.claim_plan(:p, :'run', 4) \gset _
SELECT t.settle(:p, :'run', 4, 'retry', 0, 0) \gset _
SELECT is(t.budget(:'run'), '450+0/1000 2250+0/5000000', 'a call that was refused by the provider has cost nothing');
SELECT t.claim_plan(:p, :'run', 5) \gset _
SELECT t.settle(:p, :'run', 5, 'retry', 100, 300) \gset _
SELECT is((SELECT wasted_calls || ' ' || wasted_tokens || ' ' || wasted_micros FROM agent_runs WHERE run_id = :'run'), '2 100 300',
          'attempts that failed are counted as wasted');
SELECT is((SELECT cost_wasted || ' of ' || cost FROM runs WHERE run_id = :'run'), '0.000300 of 0.001300', 'apart from the whole');
SELECT is((SELECT tree_cost || ' of ' || budget_cost FROM runs WHERE run_id = :'run'), '0.002550 of 5.000000', 'and the budget is shown');

-- the results since then weigh, too
SELECT is((SELECT tokens FROM guess_call(:'run', 3, :rev, '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff')), 125::bigint,
          'the last call of the run counts');
INSERT INTO agent_actions (run_id, step, index, version, epoch, plan_version, tool, revision, key, effect, on_unknown, timeout_ms, attempts, status, open, result)
VALUES (:'run', 2, 0, 1, 1, 1, 'look', 1, gen_random_uuid(), 'read_only', 'tell_model', 1, 1, 'succeeded', false, repeat('x', 3000));
SELECT is((SELECT tokens || ' ' || micros FROM guess_call(:'run', 3, :rev, '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff')),
          '1375 4125', 'and results of 3000 bytes are expected to be 1000 tokens');

-- the limit: 550 are left, the next may need 1375; it goes, alone
SELECT t.child(:'run') AS kid \gset
SELECT t.claim_plan(:p, :'run', 6) \gset _
SELECT is(t.budget(:'run'), '550+1375/1000 2550+4125/5000000', 'the last call goes alone with what is left');
SELECT is(t.claim_plan(:q, :'kid', 7), 'later', 'a child waits for it: it may need less');
SELECT ok((SELECT not_before > clock_timestamp() AND due_at <= clock_timestamp() + interval '2 s' AND status = 'running' FROM agent_runs WHERE run_id = :'kid'),
          'and looks again in a moment');
SELECT t.settle(:p, :'run', 6, 'calls', 460, 0) \gset _
SELECT is(t.budget(:'run'), '1010+0/1000 2550+0/5000000', 'it has ended over the limit');
UPDATE agent_runs SET not_before = NULL WHERE run_id = :'kid';
SELECT is(t.claim_plan(:q, :'kid', 8), 'no', 'the child gets nothing any more');
SELECT is(t.run_state(:'kid'), 'suspended step=1 open=0 waiting=0', 'it is suspended');
SELECT is((SELECT error_code || ' ' || waits_for FROM runs WHERE run_id = :'kid'), 'budget_exceeded a budget', 'and people see why');
SELECT alike((SELECT error FROM runs WHERE run_id = :'kid'), 'the tree of this run has spent 1010 of 1000 tokens; `pawl run resume%', 'and what to do');
SELECT is((SELECT type || ' ' || error_code FROM announcements WHERE run_id = :'kid'), 'waiting budget_exceeded', 'it is announced');
SELECT is((SELECT due_at FROM agent_runs WHERE run_id = :'kid'), (SELECT deadline FROM agent_runs WHERE run_id = :'kid'), 'its deadline is its end');
SELECT is(t.claim_plan(:q, :'run', 9), 'no', 'so is its parent');
SELECT is((SELECT count(*) FROM announcements WHERE type = 'waiting'), 2::bigint, 'each is announced once');
SELECT is(t.claim_plan(:q, :'run', 9), 'no', 'asked for again, it stays so');
SELECT is((SELECT count(*) FROM announcements WHERE type = 'waiting'), 2::bigint, 'and is not announced again');

-- resume
SELECT is((SELECT answer FROM resume(:'free', 2000, NULL, 'ann')), 'no', 'there is no budget to raise');
SELECT is((SELECT answer || ': ' || detail FROM resume(:'kid', 1010, NULL, 'ann')),
          'low: the tree of this run has spent 1010 of 1010 tokens, so it could not go on with that; give it more', 'a limit that is spent already is refused');
SELECT is((SELECT answer || ' ' || runs || ' ' || tokens_max FROM resume(:'kid', 2000, NULL, 'ann')), 'resumed 2 2000', 'a raised budget resumes the tree');
SELECT is((SELECT detail ->> 'tokens_before' FROM audit WHERE verb = 'resume' AND who = 'ann'), '1000', 'who did it stands in the record');
SELECT ok(t.is_due(:'kid') AND t.is_due(:'run'), 'all its runs are due');
SELECT is(t.claim_plan(:q, :'kid', 10), 'yours 1.1', 'and go on');
SELECT is((SELECT error_code FROM agent_runs WHERE run_id = :'kid'), NULL, 'nothing is left of the reason');

-- death and end with a call in flight: the reservation is spent, once
SELECT is(t.budget(:'run'), '1010+250/2000 2550+1250/5000000', 'the child expects what the largest first call needed');
SELECT t.kill(:q) \gset _
SELECT is(t.budget(:'run'), '1260+0/2000 3800+0/5000000', 'a planner died with its call: what it reserved is spent');
SELECT is((SELECT wasted_calls FROM agent_runs WHERE run_id = :'kid'), 1, 'and the call counted as lost');
SELECT is(t.settle(:q, :'kid', 10, 'final', 300, 700), 'stale running', 'its answer comes too late');
SELECT is(t.budget(:'run'), '1260+0/2000 3800+0/5000000', 'and changes nothing in the budget');
SELECT is((SELECT wasted_calls || ' ' || wasted_tokens || ' ' || wasted_micros || ' ' || tokens_in FROM agent_runs WHERE run_id = :'kid'), '1 300 700 300',
          'but now it is known what it cost');
SELECT is(t.settle(:q, :'kid', 10, 'final', 300, 700), 'stale running', 'told again, the same answer');
SELECT is((SELECT outcome || ' ' || tokens_in || ' ' || error FROM plans WHERE run_id = :'kid'),
          'error 300 stale: the answer came when its claim was gone', 'and the attempt is there, once');
SELECT is(t.claim_plan(:p, :'kid', 11), 'yours 1.2', 'the step is planned anew');
SELECT cancel(ARRAY[:'kid'::uuid], 'ann', NULL) \gset _
SELECT is(t.budget(:'run'), '1635+0/2000 4675+0/5000000', 'a run that is cancelled with a call in flight has spent its reservation');
SELECT is((SELECT wasted_calls FROM agent_runs WHERE run_id = :'kid'), 2, 'and wasted the call');
SELECT t.claim_plan(:p, :'run', 12) \gset _
SELECT is(t.settle(:p, :'run', 12, 'fail', NULL, NULL, NULL) || ' ' || t.budget(:'run'), 'ok failed 1635+0/2000 4675+0/5000000',
          'a step that could not even ask the model has cost nothing');

-- the end at the deadline
SELECT t.start_with(1) AS late \gset
SELECT t.claim_plan(:p, :'late', 13) \gset _
SELECT t.settle(:p, :'late', 13, 'calls', 5, 5) \gset _
SELECT t.claim_plan(:p, :'late', 14) \gset _
UPDATE agent_runs SET deadline = clock_timestamp(), due_at = clock_timestamp() WHERE run_id = :'late';
SELECT count(*) FROM claim_due(:p, 'planner', 'default', 100) \gset _
SELECT is((SELECT status || ' ' || error_code FROM agent_runs WHERE run_id = :'late'), 'failed budget_exceeded', 'at its deadline a suspended run fails, and says why');

-- tenants, by the day
SELECT is(set_budget('acme', 100, NULL, 'ann'), 'set', 'a tenant gets a budget by the day');
SELECT t.start_with(NULL, NULL, 'billing', 'acme') AS a1, t.start_with(NULL, NULL, 'billing', 'acme') AS a2 \gset
SELECT t.claim_plan(:p, :'a1', 20) \gset _
SELECT is(t.day('acme'), '0+5', 'its runs reserve, whatever their agent');
SELECT is(t.settle(:p, :'a1', 20, 'calls', 120, 0) || ' ' || t.day('acme'), 'ok running 120+0', 'and spend');
SELECT t.claim_plan(:p, :'a2', 21) \gset _
SELECT is((SELECT error FROM agent_runs WHERE run_id = :'a2'),
          'tenant acme today has spent 120 of 100 tokens; it goes on tomorrow (UTC), or when `pawl budget set --tenant acme` gives it more',
          'at the limit they are suspended');
SELECT set_budget('acme', 1000, NULL, 'ann'), wake_tenant('acme') AS woken \gset
SELECT is(:'woken' || ' ' || t.claim_plan(:p, :'a2', 22), '1 yours 1.1', 'more lets them go on');
SELECT is(t.kill(:p) || ' ' || t.day('acme'), 'dead 270+0', 'a planner that died with a call of theirs has spent what it reserved');
UPDATE tenant_days SET tokens_spent = 5000;
SELECT t.worker('planner', 'c') AS p \gset
SELECT t.claim_plan(:p, :'a1', 23) \gset _
SELECT is((SELECT status || ' ' || (due_at = least(deadline, (budget_day() + 1)::timestamp AT TIME ZONE 'UTC')) FROM agent_runs WHERE run_id = :'a1'),
          'suspended true', 'they are due when the next day begins');
UPDATE tenant_days SET day = day - 1;
UPDATE agent_runs SET due_at = clock_timestamp() WHERE run_id = :'a1';
SELECT is((SELECT what FROM claim_due(:p, 'planner', 'default', 100) WHERE run_id = :'a1') || ' ' || t.claim_plan(:p, :'a1', 24), 'plan yours 2.1',
          'and then go on');
SELECT set_budget('acme', NULL, NULL, 'ann') \gset _
SELECT ok((SELECT NOT daily_budgets FROM settings), 'without a limit nobody looks for one any more');
SELECT is(t.settle(:p, :'a1', 24, 'calls', 7, 0) || ' ' || t.day('acme'), 'ok running 7+0', 'a call in flight is settled where it was reserved');

SELECT * FROM finish();
ROLLBACK;
