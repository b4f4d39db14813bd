-- people.sql -- cancel, retry, publish (P1, P2).
BEGIN;
\ir fixture.psql
SELECT no_plan();
SELECT t.worker('planner', 'p') AS p, t.worker('executor', 'e') AS e \gset

-- retry: what was done is returned, not run again
SELECT t.planned(:p, '{look,send,put}', '{"1","2","3"}') AS run \gset
SELECT t.claim(:e, :'run', 0, 1) \gset _
SELECT t.claim(:e, :'run', 1, 2) \gset _
SELECT t.claim(:e, :'run', 2, 3) \gset _
SELECT t.commit(:e, :'run', 1, 0, 1, 1, 'succeeded', NULL, 'first') \gset _
SELECT t.commit(:e, :'run', 1, 1, 1, 2, 'succeeded', NULL, 'second') \gset _
SELECT is((SELECT answer FROM retry(:'run', NULL, 'ann')), 'running', 'a run that goes on is not retried');
SELECT is((SELECT answer FROM cancel(ARRAY[:'run'::uuid], 'ann', 'wrong customer')), 'cancelled', 'it is cancelled');
SELECT is((SELECT answer FROM cancel(ARRAY[:'run'::uuid, gen_random_uuid()], 'bob', NULL) WHERE run_id = :'run'), 'ended', 'once');
SELECT is(t.run_state(:'run'), 'cancelled step=1 open=0 waiting=0', 'the run is closed');
SELECT is((SELECT answer FROM retry(:'run', 1, 'ann')), 'busy', 'no retry while a call of that step is running');
SELECT is(t.commit(:e, :'run', 1, 2, 1, 3, 'failed'), 'stored failed next=0', 'it ends');
SELECT is((SELECT answer FROM retry(:'run', 2, 'ann')), 'bad_step', 'only from a step that it has');
SELECT is((SELECT answer || ' ' || epoch || '.' || step FROM retry(:'run', NULL, 'ann')), 'retried 2.1', 'then it is retried, in a new epoch');
SELECT is((SELECT string_agg(verb, ' ' ORDER BY id) FROM audit WHERE run_id = :'run'), 'cancel retry', 'who did it is recorded');
SELECT is(t.claim_plan(:p, :'run', 4), 'yours 1.2', 'the step is planned anew, as a new version');
SELECT is(t.commit_plan(:p, :'run', 4, '{put,send,look}', NULL, '{"3","2","9"}'), 'ok running open=3 next=0', 'in another order');
SELECT is(t.claim(:e, :'run', 1, 5), 'done', 'the success of the same tool and arguments is the result');
SELECT is((SELECT result || ' ' || copied_index || '.' || copied_from FROM agent_actions WHERE run_id = :'run' AND index = 1 AND epoch = 2), 'second 1.1', 'it is copied');
SELECT is(t.claim(:e, :'run', 0, 6), 'yours call v2', 'what failed is run again');
SELECT is(t.claim(:e, :'run', 2, 7), 'yours call v2', 'and so are other arguments');
SELECT is((SELECT count(DISTINCT key) FROM agent_actions WHERE run_id = :'run' AND step = 1 AND tool = 'look'), 2::bigint, 'with a key of its own');
SELECT t.commit(:e, :'run', 1, 0, 2, 6, 'succeeded') \gset _
SELECT is(t.commit(:e, :'run', 1, 2, 2, 7, 'succeeded'), 'ok succeeded next=2', 'the step completes');
SELECT is((SELECT string_agg(content, ' ' ORDER BY index) FROM read_steps(ARRAY[:'run'::uuid], ARRAY[0]) WHERE kind = 'result'), 'result second result', 'the model reads these results');
SELECT t.claim_plan(:p, :'run', 8) \gset _
SELECT is(t.commit_plan(:p, :'run', 8), 'ok succeeded open=0 next=0', 'and ends the run');
SELECT is((SELECT count(*) FROM announcements WHERE run_id = :'run' AND type IN ('succeeded', 'cancelled')), 2::bigint, 'each epoch has an end of its own');

-- all calls copied: the claim completes the step
SELECT is((SELECT answer FROM retry(:'run', 1, 'ann')), 'retried', 'retried from step 1');
SELECT t.claim_plan(:p, :'run', 9) \gset _
SELECT t.commit_plan(:p, :'run', 9, '{send}', NULL, '{"2"}') \gset _
SELECT is((SELECT answer || ' ' || ring_plan FROM claim_actions(:e, ARRAY[t.token(10)], ARRAY[:'run'::uuid], ARRAY[1], ARRAY[0], false, '{}')), 'done 2', 'a step of known results needs no call');
SELECT is(t.claim_plan(:p, :'run', 11), 'yours 2.2', 'the next step finds the rows of the former epoch and goes above them');

-- an end says what it said, also when it is read after a retry
SELECT t.start() AS run \gset
SELECT t.claim_plan(:p, :'run', 1) \gset _
SELECT t.commit_plan(:p, :'run', 1) \gset _
SELECT answer FROM retry(:'run', 1, 'ann') \gset _
SELECT is((SELECT answer FROM read_announcements((SELECT array_agg(id) FROM announcements WHERE run_id = :'run')) WHERE type = 'succeeded'),
          'the answer', 'the answer of a former epoch is announced');
SELECT t.claim_plan(:p, :'run', 2) \gset _
SELECT t.commit_plan(:p, :'run', 2, '{}', 'fail') \gset _
SELECT answer FROM retry(:'run', 1, 'ann') \gset _
SELECT is((SELECT error_code || ' ' || error FROM read_announcements((SELECT array_agg(id) FROM announcements WHERE run_id = :'run')) WHERE type = 'failed'),
          'code text', 'and so is the error of one');

-- cancel: a planner in the middle of a model call
SELECT t.start() AS run \gset
SELECT t.claim_plan(:p, :'run', 1) \gset _
SELECT cancel(ARRAY[:'run'::uuid], 'ann', NULL) \gset _
SELECT is((SELECT index FROM heartbeat(:p, 1) WHERE what = 'cancel' AND run_id = :'run'), -1, 'the planner is told at its next beat');
SELECT is(t.commit_plan(:p, :'run', 1), 'stale cancelled open=0 next=0', 'its plan is refused');

-- cancel: calls between two attempts
CREATE FUNCTION t.between(p bigint, e bigint, tool text, first text, second text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    run uuid := t.planned(p, ARRAY[tool, 'look'], ARRAY[gen_random_uuid()::text, 'y']);
BEGIN
    PERFORM t.claim(e, run, 0, 1), t.commit(e, run, 1, 0, 1, 1, first, 0);
    PERFORM t.claim(e, run, 0, 2), t.commit(e, run, 1, 0, 2, 2, second, 0) WHERE second IS NOT NULL;
    PERFORM pawl.cancel(ARRAY[run], 'ann', NULL);
    RETURN run;
END
$$;
SELECT is(t.call_state(t.between(:p, :e, 'put', 'unknown', 'failed'), 1, 0), 'unknown v2', 'a call that was cut once is unknown, though its last attempt failed');
SELECT is(t.call_state(t.between(:p, :e, 'put', 'unknown', 'failed_before_effect'), 1, 0), 'unknown v2', 'or was not sent');
SELECT is(t.call_state(t.between(:p, :e, 'put', 'failed', NULL), 1, 0), 'failed v1', 'one that failed has failed');
SELECT is(t.call_state(t.between(:p, :e, 'send', 'failed_before_effect', NULL), 1, 0), 'failed_before_effect v1', 'one that was not sent was not sent');
SELECT is(t.call_state(t.between(:p, :e, 'look', 'unknown', NULL), 1, 0), 'cancelled v1', 'one that only reads is cancelled');

-- cancel: a call whose claim was never heard of
SELECT t.planned(:p, '{look}') AS run \gset
SELECT t.claim(:e, :'run', 0, 1) \gset _
SELECT cancel(ARRAY[:'run'::uuid], 'ann', NULL) \gset _
SELECT is(t.claim(:e, :'run', 0, 2), 'done', 'another doorbell says nothing of the call that is running');
SELECT is((SELECT answer FROM retry(:'run', 1, 'ann')), 'busy', 'so it counts as running');
SELECT is(t.claim(:e, :'run', 0, 1), 'done', 'its claim is asked for again: the answer was lost, and nothing was sent');
SELECT is((SELECT answer FROM retry(:'run', 1, 'ann')), 'retried', 'so it counts no more');

-- cancel: a call of an executor that was declared dead before, and is not
SELECT t.worker('executor', 'undead') AS u \gset
SELECT t.planned(:p, '{pay}', '{"undead"}') AS run \gset
SELECT t.claim(:u, :'run', 0, 1) \gset _
SELECT t.kill(:u) \gset _
SELECT cancel(ARRAY[:'run'::uuid], 'ann', NULL) \gset _
SELECT is(t.call_state(:'run', 1, 0), 'unknown v1', 'it may have happened');
SELECT is(t.commit(:u, :'run', 1, 0, 1, 1, 'succeeded'), 'stored succeeded next=0', 'its late result is the truth');
SELECT is((SELECT count(*) FROM unknown_calls WHERE run_id = :'run'), 0::bigint, 'and holds up no twin');

-- publish
SELECT is((SELECT answer FROM publish('tool', 'look', repeat('d', 64), '{}', 'ann', NULL, NULL, 'read_only', 'tell_model', 1, 1, 1)), 'published', 'a new revision');
SELECT is((SELECT answer FROM publish('tool', 'look', repeat('d', 64), '{}', 'ann', NULL, NULL, 'read_only', 'tell_model', 1, 1, 1)), 'current', 'published again: nothing changes');
SELECT is((SELECT answer FROM publish('tool', 'look', encode(sha256('look'), 'hex'), '{}', 'ann', NULL, NULL, 'read_only', 'tell_model', 1, 1, 1)), 'restored', 'an old one again');
SELECT is((SELECT count(*) FROM revisions WHERE name = 'look'), 2::bigint, 'revisions are kept');

-- liveness
SELECT t.worker('executor', 'x') AS x \gset
SELECT is((SELECT state FROM heartbeat(:x, 0) WHERE what = 'self'), 'alive', 'a beat says that we are alive');
SELECT is((SELECT answer FROM declare_dead(NULL, ARRAY[:x]::bigint[], ARRAY[0::bigint])), 'alive', 'who has beaten since is not declared dead');
SELECT is((SELECT answer FROM declare_dead(NULL, ARRAY[:x]::bigint[], ARRAY[1::bigint])), 'dead', 'who has not is');
SELECT is((SELECT state FROM heartbeat(:x, 0) WHERE what = 'self'), 'dead', 'and learns it at its next beat');
SELECT t.worker('executor', 'y') AS y \gset
SELECT ok(take_lock(:y), 'the session lock is taken');
SELECT ok((SELECT lock_server = server_identity() FROM workers WHERE incarnation = :y), 'and says on which server');
SELECT is(t.worker('executor', 'y') > :y, true, 'a restarted process is a new incarnation');
SELECT is((SELECT state FROM workers WHERE incarnation = :y), 'dead', 'that declares its predecessor dead, whose lock is free');
SELECT t.worker('executor', 'z') AS y \gset
SELECT t.planned(:p, '{look}') AS run \gset
SELECT t.claim(:y, :'run', 0, 1) \gset _
SELECT hand_back(:y);
SELECT is((SELECT state FROM workers WHERE incarnation = :y), 'gone', 'who leaves is gone');
SELECT is(t.call_state(:'run', 1, 0), 'unknown open v1', 'what it still held is treated as after a crash');

-- partitions are made in time
SELECT t.worker('executor', 'parts') AS w \gset
DROP TABLE agent_actions_default;
UPDATE workers SET beat = 119 WHERE incarnation = :w;
SELECT is((SELECT state FROM heartbeat(:w, 0) WHERE what = 'self'), 'alive', 'now and then a beat looks after the partitions');
SELECT isnt(to_regclass('pawl.agent_actions_default'), NULL, 'and makes what is missing');

-- transitions
SELECT throws_ok(format('UPDATE pawl.agent_actions SET status = ''running'' WHERE run_id = %L', :'run'), '23000', NULL, 'no attempt runs twice');
SELECT t.start() AS run \gset
SELECT cancel(ARRAY[:'run'::uuid], 'ann', NULL) \gset _
SELECT throws_ok(format('UPDATE pawl.agent_runs SET status = ''suspended'', ended_at = NULL WHERE run_id = %L', :'run'), '23000', NULL, 'no ended run is suspended');
SELECT is((SELECT count(*) FROM statuses s WHERE NOT s.final AND NOT EXISTS (
    SELECT FROM statuses o WHERE o.of_what = s.of_what AND may_become(s.of_what, s.status, o.status))
    AND s.status NOT IN ('awaiting_approval', 'awaiting_child', 'awaiting_event', 'awaiting_timer')), 0::bigint, 'every status that is no end leads somewhere');

SELECT * FROM finish();
ROLLBACK;
