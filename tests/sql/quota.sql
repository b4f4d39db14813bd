-- quota.sql -- requests and tokens a minute of a provider's key (P10).
BEGIN;
\ir fixture.psql
SELECT no_plan();

-- one run asks, of a provider with these limits: its wait in ms
CREATE FUNCTION t.take(run int, of_tenant text DEFAULT 'a', tokens bigint DEFAULT 0, rpm bigint DEFAULT 60, tpm bigint DEFAULT 0,
                       provider text DEFAULT 'p', settle bigint DEFAULT 0, pause_ms bigint DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$
    SELECT wait_ms FROM pawl.take_quota(ARRAY[provider], ARRAY[NULL], ARRAY[rpm], ARRAY[tpm], ARRAY[CASE WHEN run > 0 THEN t.token(run) END], ARRAY[of_tenant],
                                        ARRAY[tokens], ARRAY[settle], ARRAY[pause_ms])
$$;
-- time passes: all that is noted lies further back
CREATE FUNCTION t.pass(seconds float8) RETURNS void LANGUAGE sql AS $$
    UPDATE pawl.provider_limits SET filled_at = filled_at - seconds * interval '1 s', paused_until = paused_until - seconds * interval '1 s';
    UPDATE pawl.provider_queues SET next_at = next_at - seconds * interval '1 s';
    UPDATE pawl.provider_tickets SET at = at - seconds * interval '1 s';
$$;
CREATE FUNCTION t.about(got bigint, wanted bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT got BETWEEN wanted - 2 AND wanted + 2 $$;

CREATE FUNCTION t.within(got bigint, low bigint, high bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT got BETWEEN low AND high $$;

-- requests: 60 a minute are five at once, then one in 1071 ms
SELECT is((SELECT string_agg(t.take(n)::text, ' ') FROM generate_series(1, 5) n), '0 0 0 0 0', 'a full bucket gives its requests at once');
SELECT ok(t.about(t.take(6), 1071), 'then a run waits until there is one');
SELECT ok(t.about(t.take(7), 2143), 'and the next one behind it');
SELECT ok(t.about(t.take(6), 1071), 'who comes too early is told the same time');
SELECT t.pass(1.1);
SELECT ok(t.take(8) > 2000, 'who comes later does not take what others wait for');
SELECT is(t.take(6), 0::bigint, 'whose turn has come goes on');
SELECT is(t.take(9, 'a', 0, 60, 0, 'q'), 0::bigint, 'another key has its own limits');

-- no minute sees more than the limit
CREATE FUNCTION t.in_a_minute(rpm bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint := 0; r int := 1000;
BEGIN
    FOR tick IN 1 .. 599 LOOP -- 59.9 seconds, and somebody asks ten times a second
        r := r + 1;
        IF t.take(r, 't' || r, 0, rpm, 0, 'm' || rpm) = 0 THEN n := n + 1; END IF;
        PERFORM t.pass(0.1);
        DELETE FROM pawl.provider_queues; DELETE FROM pawl.provider_tickets;
    END LOOP;
    RETURN n;
END
$$;
SELECT ok(t.in_a_minute(1) = 1, 'one a minute is one');
SELECT ok(t.in_a_minute(7) BETWEEN 6 AND 7, 'seven are at most seven');
SELECT ok(t.in_a_minute(240) BETWEEN 220 AND 240, 'and so are 240');

-- tokens, and what they came to
SELECT is(t.take(20, 'a', 5000, 0, 60000, 'tok'), 0::bigint, 'tokens are taken as estimated');
SELECT ok(t.about(t.take(21, 'a', 917, 0, 60000, 'tok'), 1000), 'a run waits until there are enough');
SELECT is(t.take(0, NULL, 0, 0, 60000, 'tok', -4000), 0::bigint, 'a call has used less');
SELECT t.pass(1.1);
SELECT is(t.take(21, 'a', 917, 0, 60000, 'tok'), 0::bigint, 'its turn comes');
SELECT is(t.take(22, 'a', 4000, 0, 60000, 'tok'), 0::bigint, 'and what was not used is there for the next');
SELECT is(t.take(0, NULL, 0, 0, 60000, 'tok', 9166), 0::bigint, 'a call has used more');
SELECT ok(t.take(23, 'b', 917, 0, 60000, 'tok') > 9000, 'it is owed');
SELECT t.pass(60);
SELECT is(t.take(24, 'c', 900000, 0, 60000, 'tok'), 0::bigint, 'a prompt above the bucket goes when it is full');
SELECT ok(t.take(25, 'c', 1, 0, 60000, 'tok') > 900000, 'and is paid back before anybody else');

-- shares
SELECT string_agg(t.take(100 + n, 'flood', 0, 60, 0, 's')::text, ' ') AS _ FROM generate_series(1, 105) n \gset
SELECT ok(t.take(300, 'flood', 0, 60, 0, 's') > 100000, 'a tenant with a hundred runs waits for its own');
SELECT ok(t.take(301, 'one', 0, 60, 0, 's') < 2300, 'another one''s first run does not wait for them');
SELECT weight FROM set_tenant('heavy', 8, NULL, 'ann') \gset
SELECT ok(t.take(302, 'heavy', 0, 60, 0, 's') < 1500, 'the less, the more it weighs');

-- the provider says when
SELECT is(t.take(400, 'a', 0, 60, 0, 'z'), 0::bigint, 'all is well');
SELECT is(t.take(0, NULL, 0, 60, 0, 'z', 0, 30000), 0::bigint, 'a 429 wants a pause');
SELECT ok(t.within(t.take(401, 'a', 0, 60, 0, 'z'), 30000, 31200), 'nobody is sent before it is over');
SELECT ok(t.within(t.take(402, 'a', 0, 60, 0, 'z'), 31100, 32300), 'and then one after the other');
SELECT is((SELECT waiting FROM provider_load WHERE provider = 'z'), 2::bigint, 'people see how many wait');
SELECT t.pass(30.5);
SELECT ok(t.take(403, 'b', 0, 60, 0, 'z') = 0, 'then it goes on');
SELECT is((SELECT count(*) FROM take_quota('{z,y,z}', '{NULL,key,NULL}', '{60,60,60}', '{0,0,0}', ARRAY[t.token(500), t.token(501), NULL], '{k,l,NULL}', '{0,0,0}', '{0,0,0}', '{0,0,0}')
           WHERE wait_ms = 0), 3::bigint, 'many may ask at once');

SELECT * FROM finish();
ROLLBACK;
