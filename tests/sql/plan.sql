-- plan.sql -- claims and commits of the brain (P2, P3).
BEGIN;
\ir fixture.psql
SELECT plan(53);
SELECT t.worker('planner', 'a') AS p, t.worker('planner', 'b') AS q, t.start() AS run \gset

SELECT is(t.claim_plan(:p, :'run', 1), 'yours 1.1', 'a planner claims step 1');
SELECT is(t.claim_plan(:p, :'run', 1), 'yours 1.1', 'asked again with the same token, the same answer');
SELECT is(t.claim_plan(:p, :'run', 2), 'busy', 'our own claim with another token is busy');
SELECT is(t.claim_plan(:q, :'run', 3), 'busy', 'another planner is refused');
SELECT is(t.commit_plan(:q, :'run', 3, '{look}'), 'stale running open=0 next=0', 'and may not commit');
SELECT is((SELECT count(*) FROM agent_step_content), 0::bigint, 'what is stale leaves no row');
SELECT is(t.commit_plan(:p, :'run', 1, '{look,send}'), 'ok running open=2 next=0', 'the holder commits two calls');
SELECT is(t.claim_plan(:q, :'run', 3), 'no', 'there is nothing to plan while the hands are at work');
SELECT is(t.commit_plan(:p, :'run', 1, '{look,send}'), 'done running open=2 next=0', 'a repeated commit is told that it went through');
SELECT is((SELECT count(*) FROM agent_step_content), 2::bigint, 'each item has one row');
SELECT ok(t.is_due(:'run'), 'the calls fall due if nobody rings');

-- a failed call says with which model the step goes on, and how often that one failed
SELECT t.start() AS run3 \gset
SELECT t.claim_plan(:p, :'run3', 30) \gset _
SELECT is((SELECT answer FROM commit_plans(:p, ARRAY[t.token(30)], ARRAY[:'run3'::uuid], '{1}', '{1}', '{1}', '{retry}', '{0}', '{overloaded}',
    '{no}', '{m}', '{1}', '{1}', '{1}', '{1}', '{1}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{chat}', '{1}', '{1}', '{1}', '{0}')),
    'ok', 'the next model is to be asked');
SELECT is((SELECT array[x.model_at, x.failures] FROM claim_plans(:p, ARRAY[t.token(31)], ARRAY[:'run3'::uuid], false) x), '{1,0}', 'and the next claim says so');
-- a claim that is given back may say not before when
SELECT is((SELECT answer FROM commit_plans(:p, ARRAY[t.token(31)], ARRAY[:'run3'::uuid], '{1}', '{1}', '{2}', '{handed_back}', '{60000}', '{NULL}',
    '{NULL}', '{m}', '{1}', '{1}', '{1}', '{1}', '{1}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')),
    'ok', 'a claim is given back until later');
SELECT is(t.claim_plan(:q, :'run3', 32), 'later', 'until then nobody takes it');
SELECT is((SELECT array[model_at, failures, version, model_calls] FROM agent_runs WHERE run_id = :'run3'), '{1,0,1,1}', 'it counts as nothing');
SELECT ok((SELECT due_at BETWEEN clock_timestamp() + interval '59 s' AND clock_timestamp() + interval '62 s' FROM agent_runs WHERE run_id = :'run3'), 'then it falls due');
UPDATE agent_runs SET not_before = NULL WHERE run_id = :'run3';
SELECT t.claim_plan(:q, :'run3', 33) \gset _
SELECT t.commit_plan(:q, :'run3', 33, '{look}') \gset _
SELECT is((SELECT array[model_at, failures] FROM agent_runs WHERE run_id = :'run3'), '{0,0}', 'a plan begins with the first model again');

-- all calls refused: the step completes at once
SELECT t.start() AS run2 \gset
SELECT t.claim_plan(:p, :'run2', 1) \gset _
SELECT is(t.commit_plan(:p, :'run2', 1, '{look,send}', NULL, NULL, '{bad,bad}'), 'ok running open=0 next=2', 'refused calls wait for nobody');
SELECT is(t.claim_plan(:q, :'run2', 4), 'yours 2.1', 'the next step is to be planned');
SELECT is(t.commit_plan(:q, :'run2', 4, '{}', 'retry'), 'ok running open=0 next=0', 'a model call that failed is stored');
SELECT is((SELECT failures FROM agent_runs WHERE run_id = :'run2'), 1, 'and counted');
SELECT is(t.claim_plan(:q, :'run2', 5), 'yours 2.2', 'the next attempt has a version of its own');
SELECT is(t.commit_plan(:q, :'run2', 5), 'ok succeeded open=0 next=0', 'an answer without calls ends the run');
SELECT is(t.claim_plan(:q, :'run2', 6), 'done', 'an ended run is done');
SELECT is((SELECT string_agg(type, ',' ORDER BY id) FROM announcements WHERE run_id = :'run2'), 'accepted,succeeded', 'its end is announced');
SELECT is((SELECT answer FROM read_announcements((SELECT array_agg(id) FROM announcements WHERE run_id = :'run2')) WHERE type = 'succeeded'),
          'the answer', 'with the answer');
SELECT ok((SELECT due_at IS NULL AND claim_by IS NULL AND ended_at IS NOT NULL FROM agent_runs WHERE run_id = :'run2'), 'and nothing is due any more');

-- what the next prompt is made of
SELECT is((SELECT string_agg(kind || step || '.' || index || coalesce(':' || tool, ''), ' ') FROM read_steps(ARRAY[:'run2'::uuid], ARRAY[0])),
          'input0.0 item1.0:look item1.1:send result1.0 result1.1', 'a planner that knows nothing reads all');
SELECT is((SELECT string_agg(kind || step || '.' || index || ':' || coalesce(refused, '-'), ' ') FROM read_steps(ARRAY[:'run2'::uuid], ARRAY[1])),
          'result1.0:bad result1.1:bad', 'one that made the plan reads the results only');

-- a run that is not shown whole: four steps, each with a call that gave 300 bytes and one that gave 10
SELECT t.worker('planner', 'd') AS d, t.worker('executor', 'x') AS x, t.start() AS long \gset
CREATE FUNCTION t.step(d bigint, x bigint, run uuid, at_step int, context text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM t.claim_plan(d, run, at_step);
    PERFORM t.commit_plan(d, run, at_step, '{look,look}', NULL, NULL, NULL, context);
    FOR nth IN 0..1 LOOP
        PERFORM t.claim(x, run, nth, at_step);
        PERFORM t.commit(x, run, at_step, nth, 1, at_step, 'succeeded', NULL, repeat('r', CASE nth WHEN 0 THEN 300 ELSE 10 END));
    END LOOP;
END
$$;
CREATE FUNCTION t.shown(run uuid, known int, left_out int DEFAULT NULL, emptied int DEFAULT NULL, result_bytes int DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(left(kind, 1) || step || CASE WHEN hidden > 0 THEN '-' || hidden WHEN kind = 'result' THEN '=' || length(content) ELSE '' END, ' ')
    FROM pawl.read_steps(ARRAY[run], ARRAY[known], ARRAY[left_out], ARRAY[emptied], ARRAY[result_bytes]) WHERE index = 0
$$;
SELECT count(t.step(:d, :x, :'long', s)) FROM generate_series(1, 3) s \gset _
SELECT is(t.shown(:'long', 0), 'i0 i1 r1=300 i2 r2=300 i3 r3=300', 'where nothing is stored, all is shown');
SELECT is(t.shown(:'long', 0, 1, 2, 5), 'i0 i2 r2-300 i3 r3=300', 'a step that is left out is not there, long results are named');
SELECT is((SELECT string_agg(content, ' ') FROM read_steps(ARRAY[:'long'::uuid], ARRAY[0], ARRAY[1], ARRAY[2]) WHERE kind = 'result' AND index = 1 AND step = 2),
          repeat('r', 10), 'short ones stay');
SELECT is(t.shown(:'long', 3), 'r3=300', 'what a caller has whole goes on');
SELECT is(t.shown(:'long', 3, 1, 2, 5), 'i0 i1 r1=300 i2 r2=300 i3 r3=300', 'and not what it has in part');
SELECT t.step(:d, :x, :'long', 4, '{"left_out":1,"emptied":2,"result_bytes":5}') \gset _
SELECT is((SELECT count(*) FROM agent_step_content WHERE run_id = :'long' AND context IS NOT NULL), 1::bigint, 'the context stands beside the first item of a plan');
SELECT is(t.shown(:'long', 0), 'c0 i0 i2 r2-300 i3 r3=300 i4 r4=300', 'what is stored holds for who knows nothing');
SELECT is(t.shown(:'long', 0, 2, 3, 5), 'c0 i0 i3 r3-300 i4 r4=300', 'unless it asks for less');
SELECT is(t.shown(:'long', 4, 1, 2, 5), 'c0 r4=300', 'it holds for who has just that');
SELECT is(t.shown(:'long', 3, 0, 0, 5), 'c0 i0 i2 r2-300 i3 r3=300 i4 r4=300', 'and who has more than that reads anew');
SELECT is(t.shown(:'long', 4, 1, 2, 6), 'c0 i0 i2 r2-300 i3 r3=300 i4 r4=300', 'as does who has other parts of results');
SELECT t.claim_plan(:d, :'long', 5) \gset _
SELECT t.commit_plan(:d, :'long', 5, '{}', 'retry', NULL, NULL, '{"left_out":3,"emptied":3,"result_bytes":5}') \gset _
SELECT is(t.shown(:'long', 0), 'c0 i0 i4 r4=300', 'an attempt that failed leaves what it came to');
SELECT is((SELECT array_agg(step ORDER BY step) FROM read_steps(ARRAY[:'run2'::uuid, :'long'], ARRAY[0, 0], ARRAY[NULL, 3], ARRAY[NULL, 3]) WHERE item = 1 AND kind = 'item' AND index = 0),
          ARRAY[4], 'of several runs each is read by its own');

-- a planner dies
SELECT t.start() AS run3 \gset
SELECT t.claim_plan(:p, :'run3', 1) \gset _
SELECT is(t.kill(:p), 'dead', 'an observer declares the planner dead');
SELECT ok(t.is_due(:'run3'), 'its step is due at once');
SELECT is(t.commit_plan(:p, :'run3', 1), 'stale running open=0 next=0', 'its plan is refused');
SELECT is(t.claim_plan(:p, :'run3', 2), 'dead', 'it claims nothing any more');
SELECT is(t.claim_plan(:q, :'run3', 7), 'yours 1.2', 'another one plans anew');
SELECT t.kill(:q) \gset _
SELECT t.worker('planner', 'c') AS c \gset
SELECT is(t.claim_plan(:c, :'run3', 8), 'later', 'after a second death there is back-off');
UPDATE agent_runs SET not_before = NULL WHERE run_id = :'run3';
SELECT is(t.claim_plan(:c, :'run3', 8), 'later', 'and it is not taken among others');
SELECT is(t.claim_plan(:c, :'run3', 8, true), 'yours 1.3', 'but alone');
SELECT t.kill(:c) \gset _
SELECT is(t.run_state(:'run3'), 'failed step=1 open=0 waiting=0', 'the third death ends the run');
SELECT is((SELECT error_code FROM agent_runs WHERE run_id = :'run3'), 'killed_workers', 'and says so');

SELECT * FROM finish();
ROLLBACK;
