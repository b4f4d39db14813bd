-- roles.sql -- what each role may do, and above all what it may not.
BEGIN;
\ir fixture.psql
SELECT no_plan();

SELECT is((SELECT count(*) FROM pg_class c CROSS JOIN unnest(ARRAY['pawl_planner', 'pawl_executor']) r
           CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
           WHERE c.relnamespace = 'pawl'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege(r, c.oid, p)), 0::bigint,
          'the daemons have no right on any table');
SELECT is((SELECT count(*) FROM pg_class c CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
           WHERE c.relnamespace = 'pawl'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege('pawl_operator', c.oid, p)), 0::bigint,
          'nor have people: they read views');
SELECT is((SELECT coalesce(string_agg(DISTINCT p.proname, ' '), '') FROM pg_proc p WHERE p.pronamespace = 'pawl'::regnamespace
           AND p.prosecdef AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)), '',
          'nobody else may call what runs with the rights of the owner');
SELECT is((SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'pawl'::regnamespace AND p.prosecdef
           AND NOT coalesce(p.proconfig::text LIKE '%search_path=pawl%', false)), 0::bigint, 'and that has a fixed search path');

CREATE FUNCTION t.may(role text, fn text) RETURNS boolean LANGUAGE sql AS $$
    SELECT bool_or(has_function_privilege(role, p.oid, 'EXECUTE')) FROM pg_proc p WHERE p.pronamespace = 'pawl'::regnamespace AND p.proname = fn
$$;
SELECT ok(t.may('pawl_planner', f) AND NOT t.may('pawl_executor', f), 'the planner, not the executor: ' || f)
FROM unnest(ARRAY['accept', 'claim_plans', 'read_steps', 'commit_plans', 'announce']) f;
SELECT ok(t.may('pawl_executor', f) AND NOT t.may('pawl_planner', f), 'the executor, not the planner: ' || f)
FROM unnest(ARRAY['claim_actions', 'commit_actions']) f;
SELECT ok(t.may('pawl_operator', f) AND NOT t.may('pawl_planner', f) AND NOT t.may('pawl_executor', f), 'people only: ' || f)
FROM unnest(ARRAY['publish', 'cancel', 'retry', 'decide']) f;
SELECT ok(NOT t.may('pawl_operator', f), 'not people: ' || f) FROM unnest(ARRAY['claim_plans', 'claim_actions', 'commit_plans', 'commit_actions', 'declare_dead']) f;
SELECT ok(NOT t.may(r, f), r || ' has no way around: ' || f)
FROM unnest(ARRAY['pawl_planner', 'pawl_executor', 'pawl_operator']) r,
     unnest(ARRAY['settle_calls', 'end_runs', 'count_calls', 'bury', 'copy_successes', 'hold_twins']) f;

-- and for real
SELECT t.worker('planner', 'p') AS p \gset
SELECT t.planned(:p, '{look}') AS run \gset
GRANT USAGE ON SCHEMA t TO pawl_executor, pawl_planner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA t TO pawl_executor, pawl_planner;
SET ROLE pawl_executor;
SELECT throws_ok('INSERT INTO pawl.agent_step_content (run_id, step, index, version, epoch, type) VALUES (gen_random_uuid(), 1, 0, 1, 1, ''text'')', '42501', NULL, 'the executor writes no step content');
SELECT throws_ok('SELECT * FROM pawl.agent_runs', '42501', NULL, 'and reads no table');
SELECT throws_ok('SELECT * FROM pawl.claim_plans(1, ''{}'', ''{}'', false)', '42501', NULL, 'and claims no plan');
SELECT lives_ok('SELECT * FROM pawl.claim_actions(1, ''{}'', ''{}'', ''{}'', ''{}'', false, ''{}'')', 'but calls');
RESET ROLE;
SET ROLE pawl_planner;
SELECT throws_ok('INSERT INTO pawl.agent_actions (run_id) VALUES (gen_random_uuid())', '42501', NULL, 'the planner writes no actions');
SELECT throws_ok('UPDATE pawl.agent_actions SET result = ''x''', '42501', NULL, 'nor changes them');
SELECT throws_ok('SELECT * FROM pawl.commit_actions(1, ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'')', '42501', NULL, 'nor commits any');
SELECT lives_ok('SELECT * FROM pawl.claim_plans(1, ''{}'', ''{}'', false)', 'but claims plans');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
