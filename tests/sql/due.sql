-- due.sql -- whatever stands still falls due, and is handed out once (P1, P6).
BEGIN;
\ir fixture.psql
SELECT no_plan();
SELECT t.worker('planner', 'p') AS p, t.worker('executor', 'e') AS e \gset

CREATE FUNCTION t.due(worker bigint, kind text, lim int DEFAULT 100) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(what || CASE WHEN what = 'act' THEN '.' || index ELSE '' END, ' ' ORDER BY what, index), '-')
    FROM pawl.claim_due(worker, kind, 'default', lim)
$$;
CREATE FUNCTION t.later(run uuid) RETURNS void LANGUAGE sql AS $$ UPDATE pawl.agent_runs SET due_at = now() WHERE run_id = run $$;

-- never rung
SELECT t.start() AS run \gset
SELECT is(t.due(:e, 'executor'), '-', 'the hands have nothing to do with a step to be planned');
SELECT is(t.due(:p, 'planner'), 'plan', 'a run that nobody rang for is due');
SELECT is(t.due(:p, 'planner'), '-', 'what was handed out is left alone for a while');
SELECT t.claim_plan(:p, :'run', 1) \gset _
SELECT t.later(:'run');
SELECT is(t.due(:p, 'planner'), '-', 'a step in good hands is not handed out');
SELECT is((SELECT due_at FROM agent_runs WHERE run_id = :'run'), (SELECT deadline FROM agent_runs WHERE run_id = :'run'), 'and is next looked at when its time is up');
SELECT t.commit_plan(:p, :'run', 1, '{look,look,send}') \gset _
SELECT ok(t.is_due(:'run'), 'calls fall due soon');
SELECT t.claim(:e, :'run', 1, 2) \gset _
SELECT t.later(:'run');
SELECT is(t.due(:p, 'planner'), '-', 'the brain has nothing to do with calls');
SELECT is(t.due(:e, 'executor'), 'act.0 act.2', 'only the calls that nobody claimed: claiming one does not clear the wake-up of another');
SELECT ok(t.is_due(:'run'), 'they fall due again');
SELECT t.claim(:e, :'run', 0, 3) \gset _
SELECT t.claim(:e, :'run', 2, 4) \gset _
SELECT t.commit(:e, :'run', 1, 0, 1, 3, 'failed', 600000) \gset _
SELECT t.later(:'run');
SELECT is(t.due(:e, 'executor'), '-', 'a call that waits for its back-off is not handed out');
SELECT is((SELECT round(extract(epoch FROM due_at - now()) / 10) FROM agent_runs WHERE run_id = :'run'), 60::numeric, 'but is looked at then');

-- two lookers
SELECT t.planned(:p, '{look}') AS run2 \gset
SELECT t.later(:'run2');
SELECT t.worker('executor', 'f') AS f \gset
SELECT is(t.due(:e, 'executor', 1) || ' ' || t.due(:f, 'executor', 1), 'act.0 -', 'the same work is not handed to two');

-- retry of the model waits
SELECT t.start() AS run3 \gset
SELECT t.claim_plan(:p, :'run3', 1) \gset _
SELECT answer FROM commit_plans(:p, ARRAY[t.token(1)], ARRAY[:'run3'::uuid], ARRAY[1], ARRAY[1], ARRAY[1], ARRAY['retry'], ARRAY[30000::bigint], ARRAY['x'], ARRAY['x'],
    ARRAY['m'], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[1], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}') \gset _
SELECT t.later(:'run3');
SELECT is(t.due(:p, 'planner'), '-', 'a model call that waits for its back-off is not handed out');
SELECT is(t.claim_plan(:p, :'run3', 2), 'later', 'nor claimed by an early doorbell');

-- a run's own limit is among the moments at which somebody must look
CREATE FUNCTION t.in_time(run uuid) RETURNS boolean LANGUAGE sql AS $$ SELECT due_at <= deadline FROM pawl.agent_runs WHERE run_id = run $$;
CREATE FUNCTION t.short(run uuid) RETURNS void LANGUAGE sql AS $$
    UPDATE pawl.agent_runs SET deadline = clock_timestamp() + interval '300 ms', due_at = least(due_at, clock_timestamp() + interval '300 ms') WHERE run_id = run
$$;
SELECT run_id AS run4 FROM accept(NULL, '{s}', '{short}', '{x}', '{billing}', '{t}', '{default}', '{1}', '{NULL}',
    ARRAY[clock_timestamp() + interval '300 ms'], '{NULL}', 'tests', 2000) \gset
SELECT ok(t.in_time(:'run4'), 'when it is accepted');
SELECT t.start() AS run4 \gset
SELECT t.claim_plan(:p, :'run4', 1), t.short(:'run4') \gset _
SELECT answer FROM commit_plans(:p, ARRAY[t.token(1)], ARRAY[:'run4'::uuid], ARRAY[1], ARRAY[1], ARRAY[1], ARRAY['retry'], ARRAY[3600000::bigint], ARRAY['x'], ARRAY['x'],
    ARRAY['m'], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[1], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}') \gset _
SELECT ok(t.in_time(:'run4'), 'when its model asks for a longer pause');
SELECT t.planned(:p, '{look}') AS run4 \gset
SELECT t.short(:'run4'), t.claim(:e, :'run4', 0, 1), t.commit(:e, :'run4', 1, 0, 1, 1, 'failed', 3600000) \gset _
SELECT ok(t.in_time(:'run4'), 'when a tool does');
SELECT t.planned(:p, '{look}') AS run4 \gset
SELECT t.short(:'run4'), t.claim(:e, :'run4', 0, 1), t.commit(:e, :'run4', 1, 0, 1, 1, 'succeeded') \gset _
SELECT ok(t.in_time(:'run4'), 'when a step completes');
SELECT t.start() AS run4, t.worker('planner', 'mortal') AS q \gset
UPDATE agent_runs SET deaths = 1 WHERE run_id = :'run4';
SELECT t.claim_plan(:q, :'run4', 1), t.short(:'run4'), t.kill(:q) \gset _
SELECT ok(t.in_time(:'run4'), 'when its planner dies');

-- out of time
SELECT t.planned(:p, '{look,send,put}') AS run4 \gset
SELECT t.claim(:e, :'run4', 0, 1) \gset _
SELECT t.claim(:e, :'run4', 1, 2) \gset _
UPDATE agent_runs SET deadline = now(), due_at = now() WHERE run_id = :'run4';
SELECT is(t.claim(:e, :'run4', 2, 3), 'later', 'nothing new is begun after the deadline');
SELECT is(t.claim(:e, :'run4', 1, 2), 'yours call v1', 'but who asks again for what it holds is told so');
SELECT is((SELECT d.what FROM claim_due(:p, 'planner', 'default', 100) d WHERE d.run_id = :'run4'), 'moved', 'whoever looks ends it');
SELECT is(t.run_state(:'run4'), 'failed step=1 open=0 waiting=0', 'as failed');
SELECT is((SELECT error_code FROM agent_runs WHERE run_id = :'run4'), 'deadline_exceeded', 'by its deadline');
SELECT is(t.call_state(:'run4', 1, 0) || ', ' || t.call_state(:'run4', 1, 1), 'cancelled v1, unknown v1', 'a call that may have been sent is unknown, never cancelled');
SELECT is((SELECT count(*) FROM cancellations WHERE incarnation = :e), 2::bigint, 'the holder is told');
SELECT is((SELECT count(*) FROM heartbeat(:e, 2) WHERE what = 'cancel'), 2::bigint, 'at its next beat');
SELECT is(t.commit(:e, :'run4', 1, 1, 1, 2, 'succeeded'), 'stored succeeded next=0', 'what still arrives is stored');
SELECT is(t.run_state(:'run4'), 'failed step=1 open=0 waiting=0', 'and advances nothing');
SELECT is(t.commit(:e, :'run4', 1, 0, 1, 1, 'handed_back', 0), 'stored cancelled next=0', 'also what was not sent');
SELECT is((SELECT count(*) FROM cancellations WHERE incarnation = :e), 0::bigint, 'then the holder knows');

-- announcements
UPDATE announcements SET taken_until = now() - interval '1 s';
SELECT isnt((SELECT count(*) FROM take_announcements(NULL, 100)), 0::bigint, 'announcements that nobody made are taken up');
SELECT is((SELECT count(*) FROM take_announcements(NULL, 100)), 0::bigint, 'by one process');
UPDATE announcements SET taken_until = now() - interval '1 s';
SELECT t.worker('planner', 'host/taker') AS taker \gset
SELECT isnt((SELECT count(*) FROM take_announcements(:taker, 100)), 0::bigint, 'a process takes them');
SELECT is((SELECT count(*) FROM take_announcements(:p, 100)), 0::bigint, 'others leave them to it while it lives');
SELECT is((SELECT answer FROM declare_dead(:p, ARRAY[:taker]::bigint[], ARRAY[0::bigint])), 'dead', 'it dies');
SELECT is((SELECT count(*) FROM take_announcements(:p, 100)), (SELECT count(*) FROM announcements), 'what it had not done is due at once');
SELECT is(announce((SELECT array_agg(id) FROM announcements)), (SELECT count(*)::int FROM announcements), 'and forgotten when the broker has them');

SELECT * FROM finish();
ROLLBACK;
