-- send.sql -- what people say to a run that has not ended, and where its model reads it.
BEGIN;
\ir fixture.psql
SELECT plan(32);

CREATE FUNCTION t.send(run uuid, content text DEFAULT 'listen') RETURNS text LANGUAGE sql AS $$
    SELECT answer || CASE WHEN seq > 0 THEN ' ' || seq ELSE '' END FROM pawl.send(run, content, 'ann')
$$;
-- the messages in the rows of a prompt, and after which steps they stand
CREATE FUNCTION t.said(run uuid, known int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(step || ':' || content, ' ') FROM (SELECT * FROM pawl.read_steps(ARRAY[run], ARRAY[known]) WHERE kind = 'said') x
$$;
CREATE FUNCTION t.unread(run uuid) RETURNS int LANGUAGE sql AS $$ SELECT unread FROM pawl.agent_runs WHERE run_id = run $$;

SELECT t.worker('planner', 'a') AS p, t.worker('planner', 'b') AS q, t.start() AS run \gset

-- before the first step
SELECT is(t.send(:'run', 'one'), 'sent 1', 'a run that has not begun takes a message');
SELECT is(t.said(:'run', 0), NULL, 'nobody reads it before a claim');
SELECT is(t.claim_plan(:p, :'run', 1), 'yours 1.1', 'the first step is claimed');
SELECT is(t.said(:'run', 0), '0:one', 'its prompt has the message, after the input');
SELECT is(t.unread(:'run'), 0, 'it is read');

-- while the model is asked
SELECT is(t.send(:'run', 'two'), 'sent 2', 'a run whose model is being asked takes a message');
SELECT is(t.said(:'run', 0), '0:one', 'the prompt that was made does not change');
SELECT is(t.commit_plan(:p, :'run', 1, '{look}'), 'ok running open=1 next=0', 'a plan with calls is what it is');
SELECT is((SELECT string_agg(kind || step, ' ') FROM read_steps(ARRAY[:'run'::uuid], ARRAY[0])), 'input0 said0', 'the hands come first');
SELECT t.worker('executor', 'x') AS x \gset
SELECT t.claim(:x, :'run', 0, 1) \gset _
SELECT t.commit(:x, :'run', 1, 0, 1, 1, 'succeeded') \gset _
SELECT is(t.claim_plan(:p, :'run', 2), 'yours 2.1', 'the next step');
SELECT is((SELECT string_agg(kind || step, ' ') FROM read_steps(ARRAY[:'run'::uuid], ARRAY[1])), 'result1 said1', 'reads it after the results');
SELECT is(t.said(:'run', 0), '0:one 1:two', 'and each message has its place');

-- a claim that was asked for again, and one that is lost
SELECT t.send(:'run', 'three') \gset _
SELECT is(t.claim_plan(:p, :'run', 2), 'yours 2.1', 'a claim whose answer was lost is asked for again');
SELECT is(t.said(:'run', 1), '1:two 1:three', 'and has what was said since');
SELECT t.send(:'run', 'four') \gset _
SELECT t.kill(:p) \gset _
SELECT is(t.claim_plan(:q, :'run', 3), 'yours 2.2', 'its planner dies, and another one claims the step');
SELECT is(t.said(:'run', 1), '1:two 1:three 1:four', 'it reads all');

-- the last word
SELECT t.send(:'run', 'five') \gset _
SELECT is(t.commit_plan(:q, :'run', 3), 'ok running open=0 next=3', 'an answer to which somebody has said something is not the end');
SELECT ok(t.is_due(:'run'), 'what follows falls due if nobody rings');
SELECT is(t.claim_plan(:q, :'run', 4), 'yours 3.1', 'the run goes on');
SELECT is((SELECT string_agg(kind || step, ' ') FROM read_steps(ARRAY[:'run'::uuid], ARRAY[1])), 'result1 said1 said1 said1 item2 said2',
          'with the answer and what was said to it');
SELECT t.send(:'run', 'six') \gset _
SELECT is(t.commit_plan(:q, :'run', 4, '{}', 'last'), 'ok succeeded open=0 next=0', 'the last step that may be made ends it all the same');
SELECT is(t.send(:'run'), 'ended', 'an ended run takes no message');
SELECT is(t.unread(:'run'), 1, 'what was not read stays');

-- a new epoch
SELECT retry(:'run', 2, 'ann') \gset _
SELECT is(t.unread(:'run'), 2, 'what was read after the step that is begun anew is to be read again');
SELECT is(t.claim_plan(:q, :'run', 5), 'yours 2.3', 'that step');
SELECT is(t.said(:'run', 0), '0:one 1:two 1:three 1:four 1:five 1:six', 'reads it with what nobody has read');

-- a run that waits goes on waiting
SELECT t.worker('planner', 'd') AS d \gset
SELECT t.planned(:d, '{wire}') AS waits \gset
SELECT t.claim(:x, :'waits', 0, 9) \gset _
SELECT t.commit(:x, :'waits', 1, 0, 1, 9, 'unknown') \gset _
SELECT t.run_state(:'waits') AS before \gset
SELECT is(t.send(:'waits'), 'sent 1', 'a suspended run takes a message');
SELECT is(t.run_state(:'waits'), :'before', 'and stays suspended');

-- bounds
SELECT is(t.send(gen_random_uuid()), 'no', 'a run that is not there takes none');
SELECT is(t.send(:'waits', ''), 'bad', 'nothing is no message');
SELECT is(t.send(:'waits', repeat('x', 1048577)), 'bad', 'nor is more than 1 MiB');
UPDATE agent_runs SET unread = 100 WHERE run_id = :'waits';
SELECT is(t.send(:'waits'), 'full', 'nor one behind a hundred that wait');

SELECT * FROM finish();
ROLLBACK;
