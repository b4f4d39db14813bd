-- admission.sql -- who begins, and who waits for a place (P10).
BEGIN;
\ir fixture.psql
SELECT no_plan();

-- n requests of a tenant, each with this priority: their answers, counted
CREATE FUNCTION t.ask(tenant text, n int, priority int DEFAULT NULL, deadline timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    WITH answers AS (
        SELECT answer FROM pawl.accept(NULL, array_fill('src'::text, ARRAY[n]), (SELECT array_agg(gen_random_uuid()::text) FROM generate_series(1, n)),
            array_fill(sha256('x'), ARRAY[n]), array_fill('billing'::text, ARRAY[n]), array_fill(tenant, ARRAY[n]),
            array_fill('default'::text, ARRAY[n]), array_fill('1'::text, ARRAY[n]), array_fill(NULL::text, ARRAY[n]),
            array_fill(deadline, ARRAY[n]), array_fill(NULL::timestamptz, ARRAY[n]), 'tests', 0, NULL, array_fill(priority, ARRAY[n])))
    SELECT string_agg(answer || ' ' || n, ', ' ORDER BY answer) FROM (SELECT answer, count(*) AS n FROM answers GROUP BY answer) x
$$;
CREATE FUNCTION t.load(of_tenant text) RETURNS text LANGUAGE sql AS $$
    SELECT running || ' run, ' || queued || ' wait' FROM pawl.tenant_load WHERE tenant = of_tenant
$$;
CREATE FUNCTION t.end_some(of_tenant text, n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM pawl.cancel((SELECT array_agg(run_id) FROM (SELECT run_id FROM pawl.agent_runs
        WHERE tenant = of_tenant AND status = 'running' ORDER BY run_id LIMIT n) x), 'tests', NULL)
$$;
CREATE FUNCTION t.admit(lim int DEFAULT 1000) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(tenant || ' ' || n, ', ' ORDER BY tenant), '-')
    FROM (SELECT r.tenant, count(*) AS n FROM pawl.admit('default', lim) a JOIN pawl.agent_runs r ON r.run_id = a.run_id GROUP BY r.tenant) x
$$;
CREATE FUNCTION t.miscounted() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM (SELECT class, tenant, count(*) FILTER (WHERE status = 'running') AS r, count(*) FILTER (WHERE status = 'queued') AS q
                          FROM pawl.agent_runs GROUP BY 1, 2) a
    FULL JOIN pawl.tenant_load b USING (class, tenant) WHERE (coalesce(a.r, 0), coalesce(a.q, 0)) <> (coalesce(b.running, 0), coalesce(b.queued, 0))
$$;

-- how many there are
SELECT is(class_limit('default'), 100, 'without a planner there are some places');
SELECT t.worker('planner', 'a') AS p, t.worker('planner', 'b') AS q \gset
SELECT is(class_limit('default'), 200, 'else as many as the living planners have');
SELECT t.kill(:q) \gset _
SELECT is(class_limit('default'), 100, 'the dead do not count');
SELECT is(class_limit('other'), 100, 'nor do planners of other classes');
UPDATE settings SET class_places = 10;
SELECT is(class_limit('default'), 10, 'an operator can say it');

-- a flood, and somebody who comes after it
SELECT is(t.ask('flood', 30), 'accepted 10, queued 20', 'a flood fills the class and waits');
SELECT is(t.load('flood'), '10 run, 20 wait', 'both are counted');
SELECT is(t.ask('one', 1), 'accepted 1', 'who comes with one run begins at once');
SELECT is(t.admit(), '-', 'nothing is free now');
SELECT is(t.ask('one', 9), 'accepted 4, queued 5', 'up to its share of a full class');
SELECT is(t.admit(), '-', 'and then waits like the others');
SELECT is(t.end_some('flood', 5), 5::bigint, 'five runs end');
SELECT is(t.admit(), '-', 'the class is as full as it may be');
SELECT is(t.end_some('flood', 2), 2::bigint, 'two more');
SELECT is(t.admit(), 'flood 2', 'places go to whom has less than its share');
SELECT is(t.load('flood') || '; ' || t.load('one'), '5 run, 18 wait; 5 run, 5 wait', 'until all have it');
SELECT is(t.end_some('one', 5), 5::bigint, 'one tenant''s runs end');
SELECT is(t.admit(), 'one 5', 'its own come next');
SELECT is(t.end_some('one', 5), 5::bigint, 'they end too');
SELECT is(t.admit(3), 'flood 3', 'what nobody else wants is for who does; no more than was asked for');
SELECT is(t.admit(), 'flood 2', 'the rest the next time');
SELECT is(t.miscounted(), 0::bigint, 'all is counted as it is');

-- weight
SELECT is(t.end_some('flood', 100), 10::bigint, 'the class is empty');
SELECT count(*) FROM cancel((SELECT array_agg(run_id) FROM agent_runs WHERE status = 'queued'), 'tests', NULL) \gset _
SELECT is(t.load('flood'), '0 run, 0 wait', 'also runs that waited end at once when they are cancelled');
SELECT is((SELECT weight || ' ' || coalesce(concurrency::text, '-') FROM set_tenant('heavy', 4, NULL, 'ann')), '4 -', 'a tenant gets a weight');
UPDATE settings SET class_places = 1;
SELECT is(t.ask('light', 20) || '; ' || t.ask('heavy', 20), 'accepted 1, queued 19; accepted 1, queued 19', 'two floods');
UPDATE settings SET class_places = 10;
SELECT is(t.admit(), 'heavy 7, light 1', 'share the places by their weights');
SELECT is(t.end_some('heavy', 4) + t.end_some('light', 2), 6::bigint, 'and when some end');
SELECT is(t.admit(), 'heavy 4, light 2', 'again');

-- a limit of its own
SELECT is((SELECT weight || ' ' || coalesce(concurrency::text, '-') FROM set_tenant('heavy', NULL, 5, 'ann')), '4 5', 'a tenant gets a limit');
SELECT is(t.end_some('heavy', 8), 8::bigint, 'its runs end');
SELECT is(t.admit(), 'heavy 5, light 3', 'it has no more than that, and the others the rest');
SELECT is((SELECT weight || ' ' || coalesce(concurrency::text, '-') FROM set_tenant('heavy', NULL, 0, 'ann')), '4 -', 'the limit is taken away');
SELECT is((SELECT count(*) FROM audit WHERE verb = 'set tenant' AND who = 'ann'), 3::bigint, 'each word is on record');
SELECT throws_ok($$ SELECT set_tenant('heavy', 0, NULL, 'ann') $$, '23514', NULL, 'a weight of nothing is refused');
SELECT is(t.miscounted(), 0::bigint, 'all is counted as it is');

-- priority, then age
SELECT is((SELECT concurrency FROM set_tenant('orderly', NULL, 1, 'ann')), 1, 'one at a time');
-- each in a millisecond of its own: within one their ids say nothing about their age
SELECT string_agg(t.ask('orderly', 1, x.priority) || pg_sleep(0.002)::text, '' ORDER BY x.n) AS _
FROM (VALUES (1, 0), (2, -1), (3, 0), (4, 99), (5, 0)) AS x (n, priority) \gset
CREATE FUNCTION t.order_of() RETURNS text LANGUAGE plpgsql AS $$
DECLARE v text := '';
BEGIN
    WHILE EXISTS (SELECT FROM pawl.agent_runs WHERE tenant = 'orderly' AND ended_at IS NULL) LOOP
        v := v || (SELECT priority || '.' || n || ' ' FROM (SELECT *, row_number() OVER (ORDER BY run_id) AS n FROM pawl.agent_runs WHERE tenant = 'orderly') r
                   WHERE r.status = 'running');
        PERFORM t.end_some('orderly', 1);
        PERFORM t.admit();
    END LOOP;
    RETURN v;
END
$$;
SELECT is(t.order_of(), '0.1 9.4 0.3 0.5 -1.2 ', 'higher priority first, then age; a priority out of bounds is the bound');

-- who waits for a provider keeps nobody from beginning
SELECT class_limit('default') AS places \gset
SELECT t.ask('patient', 1) AS _ \gset
UPDATE agent_runs SET not_before = clock_timestamp() + interval '1 h' WHERE tenant = 'patient' AND status = 'running';
SELECT is(class_limit('default'), :places + 1, 'its class has one place more');
UPDATE agent_runs SET not_before = clock_timestamp() - interval '1 s' WHERE tenant = 'patient' AND status = 'running';
SELECT is(class_limit('default'), :places, 'until its time has come');
SELECT t.end_some('patient', 1) AS _ \gset

-- a run that waits has its deadline
SELECT is((SELECT concurrency FROM set_tenant('late', NULL, 1, 'ann')), 1, 'one at a time');
SELECT is(t.ask('late', 1) || '; ' || t.ask('late', 1, 0, clock_timestamp() + interval '100 ms'), 'accepted 1; queued 1', 'a run with little time waits');
SELECT run_id AS late FROM agent_runs WHERE tenant = 'late' AND status = 'queued' \gset
SELECT is(t.claim_plan(:p, :'late', 1), 'no', 'nobody can claim it');
SELECT pg_sleep(0.15) \gset _
SELECT is((SELECT what FROM claim_due(:p, 'planner', 'default', 1000) WHERE run_id = :'late'), 'moved', 'it falls due with its deadline');
SELECT is((SELECT status || ' ' || error_code FROM agent_runs WHERE run_id = :'late'), 'failed deadline_exceeded', 'and ends');
SELECT is((SELECT string_agg(type, ',' ORDER BY id) FROM announcements WHERE run_id = :'late'), 'accepted,failed', 'announced like others');
SELECT is(t.load('late'), '1 run, 0 wait', 'nobody waits there any more');

-- what people and metrics see
SELECT is(t.ask('late', 2), 'queued 2', 'two wait');
SELECT is((SELECT waits_for FROM runs WHERE tenant = 'late' AND status = 'queued' LIMIT 1), 'a place', 'the view of runs says for what');
SELECT is((SELECT queued = (SELECT count(*) FROM agent_runs WHERE status = 'queued') AND running = (SELECT count(*) FROM agent_runs WHERE status = 'running')
           AND oldest_ms BETWEEN 0 AND 60000 FROM admit('default', 1) WHERE run_id IS NULL), true, 'the last row of admit tells about the class');
SELECT is((SELECT string_agg(queued || ' ' || running || coalesce(' ' || oldest_ms, ''), ';') FROM admit('other', 1)), '0 0', 'also when there is nothing');
SELECT is(t.miscounted(), 0::bigint, 'all is counted as it is');

SELECT * FROM finish();
ROLLBACK;
