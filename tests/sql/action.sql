-- action.sql -- claims and commits of the hands, and unknown outcomes (P2-P5,
-- design section 6).
BEGIN;
\ir fixture.psql
SELECT no_plan();
SELECT t.worker('planner', 'p') AS p, t.worker('executor', 'a') AS a, t.worker('executor', 'b') AS b \gset

-- the plain way
SELECT t.planned(:p, '{look,send}') AS run \gset
SELECT is(t.claim(:a, :'run', 0, 1), 'yours call v1', 'a call is claimed');
SELECT is(t.claim(:a, :'run', 0, 1), 'yours call v1', 'the same token gets the same answer');
SELECT is(t.claim(:a, :'run', 0, 2), 'busy', 'our own claim is busy for another token');
SELECT is(t.claim(:b, :'run', 0, 3), 'busy', 'and for others');
SELECT is(t.claim(:b, :'run', 1, 4), 'yours call v1', 'the calls of a step go in parallel');
SELECT is(t.commit(:b, :'run', 1, 0, 1, 3, 'succeeded'), 'stale running next=0', 'who has no claim commits nothing');
SELECT is(t.commit(:b, :'run', 1, 1, 1, 4, 'succeeded'), 'ok succeeded next=0', 'the first result');
SELECT is(t.commit(:b, :'run', 1, 1, 1, 4, 'succeeded'), 'done succeeded next=0', 'a repeated commit is told so');
SELECT is(t.claim(:a, :'run', 1, 5), 'done', 'a success is never claimed again');
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'succeeded'), 'ok succeeded next=2', 'the last result makes the next step due');
SELECT is(t.run_state(:'run'), 'running step=2 open=0 waiting=0', 'the step is complete');
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'nonsense'), 'bad succeeded next=0', 'no such outcome');

-- errors before the effect
SELECT t.planned(:p, '{send}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT key AS key1 FROM agent_actions WHERE run_id = :'run' \gset
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'failed_before_effect', 0), 'ok failed_before_effect next=0 again', 'what was not sent may be sent again');
SELECT is(t.claim(:b, :'run', 0, 2), 'yours call v2', 'by anybody');
SELECT is((SELECT count(DISTINCT key) FROM agent_actions WHERE run_id = :'run'), 1::bigint, 'with the same key');
SELECT is(t.commit(:b, :'run', 1, 0, 2, 2, 'failed_before_effect', 0), 'ok failed_before_effect next=0 again', 'again');
SELECT t.claim(:b, :'run', 0, 3) \gset _
SELECT is(t.commit(:b, :'run', 1, 0, 3, 3, 'failed_before_effect', 0), 'ok failed_before_effect next=2', 'until the attempts are used up');

-- repeatable: cut, then refused: it may have happened
SELECT t.planned(:p, '{put}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'unknown', 0), 'ok unknown next=0 again', 'an idempotent call that was cut is called again');
SELECT t.claim(:a, :'run', 0, 2) \gset _
SELECT t.commit(:a, :'run', 1, 0, 2, 2, 'failed_before_effect', 0) \gset _
SELECT t.claim(:a, :'run', 0, 3) \gset _
SELECT is(t.commit(:a, :'run', 1, 0, 3, 3, 'failed_before_effect', 0), 'ok unknown next=2', 'once cut, refused connections do not make it "did not happen"');

-- not repeatable, tell_model
SELECT t.planned(:p, '{send}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'unknown', 0), 'ok unknown next=2', 'a call that is not repeatable ends as unknown');
SELECT is(t.claim(:b, :'run', 0, 2), 'no', 'and is not sent again');
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'succeeded'), 'ok succeeded next=0', 'a late result is the truth while nobody has read it');
SELECT is((SELECT count(*) FROM unknown_calls), 0::bigint, 'and it blocks no twin any more');

-- the executor dies, tell_model; the held twin
SELECT t.planned(:p, '{send}', '{"to x"}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT is(t.kill(:a), 'dead', 'the executor dies');
SELECT is(t.call_state(:'run', 1, 0), 'unknown v1', 'nobody knows whether the tool ran');
SELECT is(t.run_state(:'run'), 'running step=2 open=0 waiting=0', 'the model will read that');
SELECT ok((SELECT due_at <= clock_timestamp() FROM agent_runs WHERE run_id = :'run'), 'and its step is due at once: nobody rings for it');
SELECT t.claim_plan(:p, :'run', 9) \gset _
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'succeeded'), 'stale unknown next=0', 'a late result does not change what the model reads');
SELECT is(t.commit_plan(:p, :'run', 9, '{send,send}', NULL, '{"to x","to y"}'), 'ok running open=2 next=0', 'the model calls it again');
SELECT is(t.claim(:b, :'run', 0, 10), 'no', 'its twin is not sent');
SELECT is(t.call_state(:'run', 2, 0), 'awaiting_decision open v1', 'but waits for a person');
SELECT is(t.claim(:b, :'run', 1, 11), 'yours call v1', 'the same tool with other arguments is sent');
SELECT is(t.run_state(:'run'), 'running step=2 open=2 waiting=1', 'the run goes on');
SELECT is(t.commit(:b, :'run', 2, 1, 1, 11, 'succeeded'), 'ok succeeded next=0', 'until only the twin is left');
SELECT is(t.run_state(:'run'), 'suspended step=2 open=1 waiting=1', 'then it is suspended');
SELECT is((SELECT count(*) FROM announcements WHERE run_id = :'run' AND type = 'waiting'), 1::bigint, 'and says that it waits');
SELECT is(t.claim_plan(:p, :'run', 12), 'no', 'nobody plans');
UPDATE agent_actions SET send_by = send_by - interval '2 s' WHERE run_id = :'run'; -- nothing of it is on its way any more
SELECT is((SELECT answer FROM decide(:'run', 2, 0, false, NULL, 'ann')), 'decided', 'a person says: it did not happen');
SELECT is(t.run_state(:'run'), 'running step=2 open=1 waiting=0', 'the run goes on');
SELECT is(t.claim(:b, :'run', 0, 13), 'yours call v2', 'and it is sent');
SELECT is(t.commit(:b, :'run', 2, 0, 2, 13, 'succeeded'), 'ok succeeded next=3', 'once');

-- ask
SELECT t.worker('executor', 'a') AS a \gset
SELECT t.planned(:p, '{wire}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT is(t.commit(:a, :'run', 1, 0, 1, 1, 'unknown', 0), 'ok awaiting_decision next=0', 'ask: a person must say');
SELECT is(t.run_state(:'run'), 'suspended step=1 open=1 waiting=1', 'the run is suspended');
SELECT is((SELECT answer FROM decide(:'run', 1, 0, true, '"number 7"', 'ann')), 'decided', 'it happened');
SELECT is(t.call_state(:'run', 1, 0), 'succeeded v1', 'with a result');
SELECT is(t.run_state(:'run'), 'running step=2 open=0 waiting=0', 'the step is complete');
SELECT is((SELECT answer FROM decide(:'run', 1, 0, true, NULL, 'bob')), 'no', 'nobody decides it twice');
SELECT is((SELECT string_agg(who || ' ' || verb, ',') FROM audit WHERE run_id = :'run'), 'ann decide', 'who decided is recorded');

-- ask, and nobody answers
SELECT t.planned(:p, '{wire}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT t.commit(:a, :'run', 1, 0, 1, 1, 'unknown', 0) \gset _
UPDATE agent_actions SET wait_until = now() WHERE run_id = :'run';
UPDATE agent_runs SET due_at = now() WHERE run_id = :'run';
SELECT claim_due(:a, 'executor', 'default', 10) \gset _
SELECT is(t.call_state(:'run', 1, 0), 'unknown v1', 'the default end of a decision: the model is told');
SELECT is(t.run_state(:'run'), 'running step=2 open=0 waiting=0', 'and the run goes on');

-- probe
SELECT t.planned(:p, '{pay}') AS run \gset
SELECT t.claim(:a, :'run', 0, 1) \gset _
SELECT t.kill(:a) \gset _
SELECT is(t.call_state(:'run', 1, 0), 'unknown open v1', 'probe: open until the tool was asked');
SELECT is(t.claim(:b, :'run', 0, 2), 'yours probe v1', 'another executor asks it');
SELECT is(t.claim(:b, :'run', 0, 3), 'busy', 'only one at a time');
SELECT is(t.commit(:b, :'run', 1, 0, 1, 2, 'did_not_happen', 0), 'ok failed_before_effect next=0 again', 'it did not happen');
SELECT is(t.claim(:b, :'run', 0, 4), 'yours call v2', 'so it may be sent');
SELECT is((SELECT count(DISTINCT key) FROM agent_actions WHERE run_id = :'run'), 1::bigint, 'with the same key');
SELECT is(t.commit(:b, :'run', 1, 0, 2, 4, 'unknown', 0), 'ok unknown next=0', 'cut again');
SELECT t.claim(:b, :'run', 0, 5) \gset _
SELECT is(t.commit(:b, :'run', 1, 0, 2, 5, 'happened', NULL, 'number 8'), 'ok succeeded next=2', 'this time it happened');
SELECT is((SELECT result FROM agent_actions WHERE run_id = :'run' AND version = 2), 'number 8', 'with its result');
SELECT t.planned(:p, '{pay}', '{"q"}') AS run \gset
SELECT t.claim(:b, :'run', 0, 1) \gset _
SELECT t.commit(:b, :'run', 1, 0, 1, 1, 'unknown', 0) \gset _
SELECT t.claim(:b, :'run', 0, 2) \gset _
SELECT is(t.commit(:b, :'run', 1, 0, 1, 2, 'unsure'), 'ok awaiting_decision next=0', 'where the tool cannot say, a person is asked');

-- no "did not happen" is believed too early
UPDATE settings SET send_by_ms = 60000;
SELECT t.planned(:p, '{pay}', '{"z"}') AS run \gset
SELECT t.claim(:b, :'run', 0, 1) \gset _
SELECT t.kill(:b) \gset _
SELECT t.worker('executor', 'c') AS c \gset
SELECT is(t.claim(:c, :'run', 0, 2), 'later', 'not before send_by, the timeout and a margin: the first sender may be alive');

-- nor from a person, when the sender was declared dead: of the call itself, and of one that holds up its twin
SELECT t.worker('executor', 'g') AS g, t.worker('executor', 'h') AS h \gset
SELECT t.planned(:p, '{wire}', '{"z"}') AS run \gset
SELECT t.claim(:g, :'run', 0, 1) \gset _
SELECT t.kill(:g) \gset _
SELECT is((SELECT answer FROM decide(:'run', 1, 0, false, NULL, 'ann')), 'early', 'a person, too, cannot know yet that it did not happen');
SELECT is(t.run_state(:'run'), 'suspended step=1 open=1 waiting=1', 'so the call waits on');
SELECT is((SELECT answer FROM decide(:'run', 1, 0, NULL, NULL, 'ann')), 'no', 'who says nothing decides nothing');
SELECT is((SELECT answer FROM decide(:'run', 1, 0, true, NULL, 'ann')), 'decided', 'that it happened can be known at once');
SELECT t.planned(:p, '{send}', '{"zz"}') AS run \gset
SELECT t.claim(:h, :'run', 0, 1) \gset _
SELECT t.kill(:h) \gset _
SELECT t.claim_plan(:p, :'run', 2) \gset _
SELECT t.commit_plan(:p, :'run', 2, '{send}', NULL, '{"zz"}') \gset _
SELECT t.claim(:c, :'run', 0, 3) \gset _
SELECT is((SELECT answer FROM decide(:'run', 2, 0, false, NULL, 'ann')), 'early', 'nor of the one before it');
UPDATE agent_actions SET send_by = send_by - interval '61 s' WHERE run_id = :'run';
SELECT is((SELECT answer FROM decide(:'run', 2, 0, false, NULL, 'ann')), 'decided', 'when its time is over, the word holds');
UPDATE settings SET send_by_ms = 0;

-- deaths of a repeatable call
SELECT t.planned(:p, '{look}', '{"d"}') AS run \gset
SELECT t.worker('executor', 'd1') AS d1, t.worker('executor', 'd2') AS d2, t.worker('executor', 'd3') AS d3 \gset
SELECT t.claim(:d1, :'run', 0, 1) \gset _
SELECT t.kill(:d1) \gset _
SELECT is(t.claim(:d2, :'run', 0, 2), 'yours call v2', 'after one death, at once');
SELECT t.kill(:d2) \gset _
SELECT is(t.claim(:d3, :'run', 0, 3), 'later', 'after two deaths, with back-off');
UPDATE agent_actions SET retry_at = now() WHERE run_id = :'run' AND open;
SELECT is(t.claim(:d3, :'run', 0, 3), 'later', 'not among others');
SELECT is(t.claim(:d3, :'run', 0, 3, true), 'yours call v3', 'but alone');
SELECT t.kill(:d3) \gset _
SELECT is(t.call_state(:'run', 1, 0), 'failed v3', 'the third death ends it as an error');
SELECT is(t.run_state(:'run'), 'running step=2 open=0 waiting=0', 'that the model reads');

-- more calls than may run at a time
SELECT publish('agent', 'narrow', repeat('c', 64), '{}', 'tests', 3600000, 2, NULL, NULL, NULL, NULL, NULL) \gset _
SELECT t.start('narrow', 'narrow') AS run \gset
SELECT t.claim_plan(:p, :'run', 1) \gset _
SELECT t.commit_plan(:p, :'run', 1, '{look,look,look}') \gset _
SELECT is(t.claim(:c, :'run', 0, 1) || ',' || t.claim(:c, :'run', 1, 2) || ',' || t.claim(:c, :'run', 2, 3), 'yours call v1,yours call v1,later',
          'two calls at a time');
SELECT is((SELECT answer || ring_index FROM commit_actions(:c, ARRAY[t.token(1)], ARRAY[:'run'::uuid], ARRAY[1], ARRAY[0], ARRAY[1], ARRAY['succeeded'],
          ARRAY['x'], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL::bigint], ARRAY[1])), 'ok2', 'a finished one rings for the next');
SELECT is(t.claim(:c, :'run', 2, 3), 'yours call v1', 'which has its place');

-- a failure that comes late, when the call is closed, opens it for nobody
SELECT t.planned(:p, '{put,look}', '{"e","f"}') AS run \gset
SELECT t.worker('executor', 'd1') AS d1, t.worker('executor', 'd2') AS d2, t.worker('executor', 'd3') AS d3 \gset
SELECT t.claim(:d1, :'run', 0, 1) \gset _
SELECT t.kill(:d1) \gset _
SELECT t.claim(:d2, :'run', 0, 2) \gset _
SELECT t.kill(:d2) \gset _
UPDATE agent_actions SET retry_at = now() WHERE run_id = :'run' AND open;
SELECT t.claim(:d3, :'run', 0, 3, true) \gset _
SELECT t.kill(:d3) \gset _
SELECT is(t.commit(:d3, :'run', 1, 0, 3, 3, 'failed', 0), 'ok failed next=0', 'a late failure is a result, not another attempt');
SELECT is(t.run_state(:'run'), 'running step=1 open=1 waiting=0', 'the other call is still to be made');

-- a probe is no attempt
SELECT t.planned(:p, '{pay}', '{"g"}') AS run \gset
SELECT t.claim(:c, :'run', 0, 1) \gset _
SELECT t.commit(:c, :'run', 1, 0, 1, 1, 'unknown', 0) \gset _
SELECT t.claim(:c, :'run', 0, 2) || t.commit(:c, :'run', 1, 0, 1, 2, 'probe_failed', 0) AS x \gset _
SELECT t.claim(:c, :'run', 0, 3) || t.commit(:c, :'run', 1, 0, 1, 3, 'probe_failed', 0) AS x \gset _
SELECT t.claim(:c, :'run', 0, 4) \gset _
SELECT is(t.commit(:c, :'run', 1, 0, 1, 4, 'did_not_happen'), 'ok failed_before_effect next=0 again', 'probes use up no attempts');
SELECT is((SELECT attempt FROM claim_actions(:c, ARRAY[t.token(5)], ARRAY[:'run'::uuid], '{1}', '{0}', false, '{}')), 2, 'the next one is the second');

-- the run ends under a call of which an earlier attempt was cut
SELECT t.planned(:p, '{put,put}', '{"k","l"}') AS run \gset
SELECT t.claim(:c, :'run', 0, 1) || t.commit(:c, :'run', 1, 0, 1, 1, 'unknown', 0) || t.claim(:c, :'run', 0, 2) AS x \gset _
SELECT t.claim(:c, :'run', 1, 3) || t.commit(:c, :'run', 1, 1, 1, 3, 'unknown', 0) || t.claim(:c, :'run', 1, 4) AS x \gset _
SELECT cancel(ARRAY[:'run'::uuid], 'ann', NULL) \gset _
SELECT is(t.commit(:c, :'run', 1, 0, 2, 2, 'handed_back', 0), 'stored unknown next=0', 'that this attempt was not sent says nothing of the others');
SELECT is(t.commit(:c, :'run', 1, 1, 2, 4, 'failed_before_effect', 0), 'stored unknown next=0', 'nor that it did not reach the tool');

-- a retried call is held, nobody decides, and the model tries once more
SELECT t.planned(:p, '{send}', '{"m"}') AS run \gset
SELECT t.claim(:c, :'run', 0, 1) \gset _
SELECT cancel(ARRAY[:'run'::uuid], 'ann', NULL) \gset _
SELECT t.commit(:c, :'run', 1, 0, 1, 1, 'unknown') \gset _
SELECT retry(:'run', 1, 'ann') \gset _
SELECT t.claim_plan(:p, :'run', 2) || t.commit_plan(:p, :'run', 2, '{send}', NULL, '{"m"}') AS x \gset _
SELECT is(t.claim(:c, :'run', 0, 3), 'no', 'after a retry, too, a call is held while it is unknown');
UPDATE agent_actions SET wait_until = now() WHERE run_id = :'run' AND open;
UPDATE agent_runs SET due_at = now() WHERE run_id = :'run';
SELECT count(*) FROM claim_due(:c, 'executor', 'default', 100) \gset _
SELECT is(t.call_state(:'run', 1, 0), 'failed_before_effect v2', 'the one that was held was not sent');
SELECT t.claim_plan(:p, :'run', 4) || t.commit_plan(:p, :'run', 4, '{send}', NULL, '{"m"}') AS x \gset _
SELECT is(t.claim(:c, :'run', 0, 5), 'no', 'but nobody knows about the first one yet: the next is held as well');

-- handed back
SELECT t.planned(:p, '{send}', '{"h"}') AS run \gset
SELECT t.claim(:c, :'run', 0, 1) \gset _
SELECT is(t.commit(:c, :'run', 1, 0, 1, 1, 'handed_back', 0), 'ok failed_before_effect next=0 again', 'what was not begun is handed back');
SELECT is((SELECT failures FROM agent_actions WHERE run_id = :'run'), 0, 'and is no failure');

-- a commit is repeated beside the one of the next attempt
SELECT t.planned(:p, '{put}', '{"i"}') AS run \gset
SELECT t.claim(:c, :'run', 0, 1) \gset _
SELECT t.commit(:c, :'run', 1, 0, 1, 1, 'failed_before_effect', 0) \gset _
SELECT t.claim(:c, :'run', 0, 2) \gset _
SELECT is((SELECT string_agg(answer, ' ' ORDER BY item) FROM commit_actions(:c, ARRAY[t.token(1), t.token(2), t.token(2)], array_fill(:'run'::uuid, ARRAY[3]),
          '{1,1,1}', '{0,0,0}', '{1,2,2}', '{failed_before_effect,succeeded,succeeded}', '{x,x,x}', '{x,x,x}', '{x,x,x}', '{0,0,0}', '{1,1,1}')),
          'done ok stale', 'a commit that is repeated takes nothing from the next attempt');

-- a claim is asked for again beside another one of the same call
SELECT t.planned(:p, '{put}', '{"j"}') AS run \gset
CREATE FUNCTION t.ask_for(worker bigint, run uuid, toks int[], cannot bigint[]) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(answer, ' ' ORDER BY item) FROM pawl.claim_actions(worker, (SELECT array_agg(t.token(x)) FROM unnest(toks) x),
        array_fill(run, ARRAY[cardinality(toks)]), array_fill(1, ARRAY[cardinality(toks)]), array_fill(0, ARRAY[cardinality(toks)]), false, cannot)
$$;
SELECT seq AS put FROM current_revisions WHERE kind = 'tool' AND name = 'put' \gset
SELECT is(t.ask_for(:c, :'run', '{1}', ARRAY[:put]), 'later', 'who cannot serve a tool leaves its calls to others');
SELECT is(t.ask_for(:c, :'run', '{2,3}', '{}'), 'yours busy', 'one of two gets it');
SELECT is(t.ask_for(:c, :'run', '{1,2}', '{}'), 'busy yours', 'a lost answer is given again, whoever else asks in the same batch');
SELECT is(t.ask_for(:c, :'run', '{2}', ARRAY[:put]), 'yours', 'also when the tool cannot be served here any more: the holder must give it back');

-- the invariant of the counter
SELECT is((SELECT count(*) FROM agent_runs r WHERE r.ended_at IS NULL AND r.open_calls > 0 AND r.open_calls <> (
    SELECT count(*) FROM agent_step_content c WHERE c.run_id = r.run_id AND c.step = r.step AND c.version = r.version AND c.type = 'function_call'
      AND c.refused IS NULL AND NOT EXISTS (SELECT FROM agent_actions x WHERE x.run_id = c.run_id AND x.step = c.step AND x.index = c.index
          AND x.plan_version = c.version AND x.epoch = r.epoch AND NOT x.open
          AND x.version = (SELECT max(y.version) FROM agent_actions y WHERE y.run_id = x.run_id AND y.step = x.step AND y.index = x.index)))),
    0::bigint, 'open_calls counts the calls without a final result');

SELECT * FROM finish();
ROLLBACK;
