-- views.sql -- what people read: the views and documents of 0009_people.sql.
BEGIN;
\ir fixture.psql
SELECT no_plan();
SELECT t.worker('planner', 'p') AS p, t.worker('executor', 'e') AS e \gset

-- words for what the documents say
CREATE FUNCTION t.plans(run uuid, at_step int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(p.version || ' ' || p.outcome || CASE WHEN p.stable THEN ' stable' ELSE '' END, ', ' ORDER BY p.version)
    FROM pawl.plans p WHERE p.run_id = run AND p.step = at_step
$$;
CREATE FUNCTION t.calls(run uuid, at_step int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(c.index || coalesce('.' || c.version, '') || ' ' || c.status || CASE WHEN c.died THEN ' died' ELSE '' END
                      || coalesce(' ' || c.decided_by || '=' || c.happened, ''), ', ' ORDER BY c.plan_version, c.index, c.version)
    FROM pawl.calls c WHERE c.run_id = run AND c.step = at_step
$$;
CREATE FUNCTION t.waits(run uuid) RETURNS text LANGUAGE sql AS $$ SELECT r.waits_for FROM pawl.runs r WHERE r.run_id = run $$;

-- a run from its beginning to its end
SELECT t.start() AS run \gset
SELECT is(t.waits(:'run'), 'a planner', 'a new run waits for a planner');
SELECT is(t.plans(:'run', 1), NULL, 'nobody has planned anything');
SELECT t.claim_plan(:p, :'run', 1) \gset _
SELECT is(t.plans(:'run', 1), '1 running stable', 'a claim is a plan that is running');
SELECT is(t.waits(:'run'), 'the model', 'and the run waits for the model');
SELECT t.kill(:p) \gset _
SELECT t.worker('planner', 'p') AS p \gset
SELECT is(t.plans(:'run', 1), '1 lost stable', 'a planner that died leaves an attempt that is lost');
SELECT t.claim_plan(:p, :'run', 2) \gset _
SELECT t.commit_plan(:p, :'run', 2, '{look,pay,wire,look}', NULL, NULL, ARRAY[NULL, NULL, NULL, 'not allowed']) \gset _
SELECT is(t.plans(:'run', 1), '1 lost, 2 calls stable', 'the next attempt stands beside it');
SELECT is(t.calls(:'run', 1), '0 waiting, 1 waiting, 2 waiting, 3 refused', 'calls without an attempt are listed too');
SELECT is(t.waits(:'run'), 'tools', 'the run waits for tools');

SELECT t.claim(:e, :'run', 0, 10) \gset _
SELECT t.claim(:e, :'run', 1, 11) \gset _
SELECT t.claim(:e, :'run', 2, 12) \gset _
SELECT t.commit(:e, :'run', 1, 0, 1, 10, 'succeeded') \gset _
SELECT t.commit(:e, :'run', 1, 2, 1, 12, 'unknown') \gset _
SELECT t.kill(:e) \gset _
SELECT t.worker('executor', 'e') AS e \gset
SELECT is(t.calls(:'run', 1), '0.1 succeeded, 1.1 unknown died, 2.1 awaiting_decision, 3 refused', 'attempts say what came of them');
SELECT t.claim(:e, :'run', 1, 21) \gset _
SELECT t.commit(:e, :'run', 1, 1, 1, 21, 'did_not_happen') \gset _
SELECT is(t.calls(:'run', 1), '0.1 succeeded, 1.1 failed_before_effect died probe=false, 2.1 awaiting_decision, 3 refused',
          'a probe has settled what nobody knew');
SELECT t.claim(:e, :'run', 1, 22) \gset _
SELECT t.commit(:e, :'run', 1, 1, 2, 22, 'succeeded') \gset _
SELECT ok(t.calls(:'run', 1) LIKE '%1.2 succeeded, %', 'a death is told of the attempt it took only');
SELECT is(t.waits(:'run'), 'a decision', 'the run waits for a person');
SELECT is((SELECT count(*) FROM decisions d WHERE d.run_id = :'run' AND d.index = 2 AND d.tool = 'wire'), 1::bigint, 'who finds it among the decisions');
SELECT decide(:'run', 1, 2, true, '"yes"', 'ann') \gset _
SELECT ok(t.calls(:'run', 1) LIKE '%2.1 succeeded ann=true%', 'and has settled it');
SELECT is((SELECT count(*) FROM decisions), 0::bigint, 'nothing waits any more');
SELECT t.claim_plan(:p, :'run', 30) \gset _
SELECT t.commit_plan(:p, :'run', 30) \gset _
SELECT is(t.plans(:'run', 2), '1 answer stable', 'the last plan is the answer');
SELECT is(t.waits(:'run'), NULL, 'a run that has ended waits for nothing');

-- the document of the run
SELECT timeline(:'run', 1, NULL) AS doc \gset
SELECT is(:'doc'::json #>> '{run,status}', 'succeeded', 'the document has the run');
SELECT is(:'doc'::json ->> 'answer', 'the answer', 'its answer');
SELECT is(json_array_length(:'doc'::json -> 'steps'), 2, 'its steps');
SELECT is(:'doc'::json #>> '{steps,0,plans,1,calls,1,attempts,1,status}', 'succeeded', 'plans, calls and attempts, in order');
SELECT is(:'doc'::json #>> '{people,0,verb}', 'decide', 'and what people did');
SELECT is(json_array_length(timeline(:'run', 2, NULL) -> 'steps'), 1, 'steps before the first one asked for are left out');
SELECT is(timeline(:'run', 1, 3) ->> 'answer', 'the answer', 'the answer is never cut');
SELECT is(timeline(:'run', 1, 3) #>> '{steps,0,plans,1,calls,0,attempts,0,result}', 'res...', 'other texts are');
SELECT is(timeline(gen_random_uuid(), 1, NULL)::text, NULL, 'no run, no document');

-- finding a run by what people type
SELECT results_eq(format('SELECT * FROM find_runs(%L)', upper(:'run')), ARRAY[:'run'::uuid], 'by its id, in any case');
SELECT results_eq(format('SELECT * FROM find_runs(%L)', right(:'run', 8)), ARRAY[:'run'::uuid], 'by its last characters');
SELECT results_eq('SELECT * FROM find_runs(''last'')', ARRAY[:'run'::uuid], 'as the last one');
SELECT is_empty('SELECT * FROM find_runs(''1234567'')', 'seven characters are too few');
SELECT is_empty('SELECT * FROM find_runs(''x; DROP TABLE'')', 'nonsense finds nothing');

-- sums
SELECT t.start() AS other \gset
SELECT cancel(ARRAY[:'other'::uuid], 'ann', NULL) \gset _
SELECT t.start() AS third \gset
SELECT is((SELECT runs || ' ' || live || ' ' || succeeded || ' ' || failed || ' ' || cancelled FROM outcomes_by_day WHERE agent = 'billing'),
          '3 1 1 0 1', 'outcomes by the day');
SELECT is((SELECT model_calls || ' ' || cost FROM outcomes_by_day WHERE agent = 'billing'), '2 0.000002', 'and what they cost');
SELECT is((SELECT attempts || ' ' || succeeded || ' ' || failed_before_effect FROM tools_by_day WHERE tool = 'pay'), '2 1 1', 'tools by the day');

-- fleet, catalogue, deeds
SELECT is((SELECT string_agg(state, ' ' ORDER BY incarnation) FROM fleet WHERE instance = 'p'), 'dead alive', 'the fleet, the dead too');
SELECT is((SELECT live_runs FROM published WHERE kind = 'agent' AND name = 'billing' AND is_current), 1::bigint, 'an agent knows its live runs');
SELECT is((SELECT string_agg(verb, ' ' ORDER BY at, verb) FROM deeds WHERE run_id = :'other'), 'cancel', 'deeds');

-- only people read them, and only by these views
SELECT ok(has_table_privilege('pawl_operator', 'pawl.' || v, 'SELECT')
          AND NOT has_table_privilege('pawl_operator', 'pawl.' || v, 'INSERT, UPDATE, DELETE')
          AND NOT has_table_privilege('pawl_planner', 'pawl.' || v, 'SELECT')
          AND NOT has_table_privilege('pawl_executor', 'pawl.' || v, 'SELECT'), 'people only: ' || v)
FROM unnest(ARRAY['runs', 'plans', 'calls', 'decisions', 'outcomes_by_day', 'tools_by_day', 'fleet', 'published', 'deeds']) v;
SELECT ok(has_function_privilege('pawl_operator', f, 'EXECUTE') AND NOT has_function_privilege('pawl_executor', f, 'EXECUTE')
          AND NOT has_function_privilege('public', f, 'EXECUTE'), 'people only: ' || f)
FROM unnest(ARRAY['pawl.timeline(uuid, int, int)', 'pawl.find_runs(text)', 'pawl.read_migrations()']) f;
SET ROLE pawl_operator;
SELECT lives_ok(format('SELECT pawl.timeline(%L, 1, 100)', :'run'), 'the operator may read a timeline');
SELECT lives_ok('SELECT count(*) FROM pawl.runs JOIN pawl.calls USING (run_id) JOIN pawl.plans USING (run_id)', 'and every view');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
