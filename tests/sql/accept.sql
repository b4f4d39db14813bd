-- accept.sql -- a request becomes one run, however often it comes (P1).
BEGIN;
\ir fixture.psql
SELECT plan(22);

CREATE FUNCTION t.accept(ids text[], bodies text[], agents text[] DEFAULT NULL, deadline timestamptz DEFAULT NULL, seen timestamptz DEFAULT now())
RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(answer, ',' ORDER BY item)
    FROM pawl.accept(NULL, array_fill('src'::text, ARRAY[cardinality(ids)]), ids,
        (SELECT array_agg(sha256(b::bytea) ORDER BY o) FROM unnest(bodies) WITH ORDINALITY x (b, o)),
        coalesce(agents, array_fill('billing'::text, ARRAY[cardinality(ids)])), array_fill('t'::text, ARRAY[cardinality(ids)]),
        array_fill('default'::text, ARRAY[cardinality(ids)]), (SELECT array_agg(to_json(b)::text ORDER BY o) FROM unnest(bodies) WITH ORDINALITY x (b, o)),
        array_fill(NULL::text, ARRAY[cardinality(ids)]), array_fill(deadline, ARRAY[cardinality(ids)]), array_fill(seen, ARRAY[cardinality(ids)]), 'tests', 2000)
$$;

SELECT is(t.accept('{a}', '{x}'), 'accepted', 'a first request is accepted');
SELECT is(t.accept('{a}', '{x}'), 'duplicate', 'asked again, it is known');
SELECT is(t.accept('{a}', '{y}'), 'conflict', 'the same id with another body is a conflict');
SELECT is((SELECT count(*) FROM agent_runs), 1::bigint, 'one run was made of these');
SELECT is(t.accept('{b,b,b}', '{x,x,y}'), 'accepted,duplicate,conflict', 'the same in one batch');
SELECT is(t.accept('{c,d,e}', '{x,x,x}', '{billing,nobody,billing}'), 'accepted,unknown_agent,accepted', 'a bad one leaves the others');
SELECT is(t.accept('{f,NULL}', '{x,x}'), 'accepted,bad', 'a missing field is refused');
SELECT is(t.accept('{g}', '{x}', NULL, now() - interval '1 s'), 'past_deadline', 'a deadline in the past is refused');
SELECT is(t.accept('{h}', '{x}', NULL, NULL, now() - interval '31 days'), 'too_old', 'what cannot be de-duplicated any more is refused');
SELECT is((SELECT count(*) FROM agent_runs), 5::bigint, 'only accepted ones made runs');
SELECT is((SELECT count(*) FROM agent_run_inputs), 5::bigint, 'each with its input');
SELECT is((SELECT count(*) FROM announcements WHERE type = 'accepted'), 5::bigint, 'each is announced');
SELECT ok((SELECT bool_and(substr(run_id::text, 15, 1) = '7') FROM agent_runs), 'run ids are UUIDs of version 7');
SELECT ok((SELECT bool_and(uuid7_time(run_id) BETWEEN now() - interval '1 min' AND now() + interval '1 min') FROM agent_runs), 'with their time');
SELECT ok((SELECT bool_and(tableoid::regclass::text <> 'pawl.agent_runs_default') FROM agent_runs), 'they lie in partitions by time');
SELECT is((SELECT deadline FROM agent_runs ORDER BY run_id LIMIT 1), now() + interval '1 hour', 'the limit of the agent is its deadline');
SELECT is((SELECT revision FROM agent_runs ORDER BY run_id LIMIT 1), (SELECT seq FROM current_revisions WHERE kind = 'agent'), 'the revision is pinned');
-- a timeout is counted from the acceptance, by this clock
SELECT array_agg(run_id ORDER BY item) AS timed
FROM accept(NULL, '{src,src}', '{short,long}', ARRAY[''::bytea, '']::bytea[], '{billing,billing}', '{t,t}', '{default,default}', '{1,1}', '{NULL,NULL}',
            '{NULL,NULL}', ARRAY[now(), now()], 'tests', 0, '{600000,864000000}') \gset
SELECT is((SELECT deadline FROM agent_runs WHERE run_id = (:'timed'::uuid[])[1]), now() + interval '10 min', 'a timeout is counted from the acceptance');
SELECT is((SELECT deadline FROM agent_runs WHERE run_id = (:'timed'::uuid[])[2]), now() + interval '1 hour', 'and is never longer than the agent allows');

SELECT publish('agent', 'billing', repeat('b', 64), '{}', 'tests', 1000, 1, NULL, NULL, NULL, NULL, NULL) \gset _
SELECT is((SELECT count(DISTINCT revision) FROM agent_runs), 1::bigint, 'a new revision changes no run that has begun');

-- records are read again after a crash, whenever that is
SELECT is(t.accept('{a}', '{x}', NULL, now() - interval '1 s'), 'duplicate', 'what made a run is known, though its deadline has passed since');
DELETE FROM current_revisions;
SELECT is(t.accept('{a,a,new}', '{x,y,x}'), 'duplicate,conflict,unknown_agent', 'or its agent is gone');

SELECT * FROM finish();
ROLLBACK;
