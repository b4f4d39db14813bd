-- 0007_operator.sql -- what people do: publish, cancel, send, retry, decide.  Each
-- is recorded in pawl.audit with who and when.

-- Publishes one revision; the newest one of a name is what new runs begin
-- with.  answer: published, current (this digest is current already),
-- restored (an older revision is current again).
CREATE FUNCTION pawl.publish(p_kind text, p_name text, p_digest text, p_body text, p_who text, p_time_ms bigint, p_parallel_calls int,
                             p_effect text, p_on_unknown text, p_timeout_ms int, p_attempts int, p_ask_timeout_ms bigint,
                             p_tokens_max bigint DEFAULT NULL, p_micros_max bigint DEFAULT NULL)
RETURNS TABLE (answer text, seq bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_seq bigint;
    v_new boolean := false;
BEGIN
    INSERT INTO revisions (kind, name, digest, body, published_by, time_ms, parallel_calls, effect, on_unknown, timeout_ms, attempts, ask_timeout_ms,
                           tokens_max, micros_max)
    VALUES (p_kind, p_name, p_digest, p_body::json, p_who, p_time_ms, p_parallel_calls, p_effect, p_on_unknown, p_timeout_ms, p_attempts,
            p_ask_timeout_ms, p_tokens_max, p_micros_max)
    ON CONFLICT (kind, name, digest) DO NOTHING
    RETURNING revisions.seq INTO v_seq;
    v_new := FOUND;
    IF NOT v_new THEN
        SELECT r.seq INTO v_seq FROM revisions r WHERE r.kind = p_kind AND r.name = p_name AND r.digest = p_digest;
    END IF;
    INSERT INTO current_revisions AS c (kind, name, seq, changed_by) VALUES (p_kind, p_name, v_seq, p_who)
    ON CONFLICT (kind, name) DO UPDATE SET seq = v_seq, changed_at = now(), changed_by = p_who WHERE c.seq <> v_seq;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'current', v_seq;
        RETURN;
    END IF;
    UPDATE settings SET catalog_changes = catalog_changes + 1;
    INSERT INTO audit (who, verb, detail)
    VALUES (p_who, 'publish', json_build_object('kind', p_kind, 'name', p_name, 'digest', p_digest, 'seq', v_seq));
    RETURN QUERY SELECT CASE WHEN v_new THEN 'published' ELSE 'restored' END, v_seq;
END
$$;

-- Revisions by seq, or all current ones (p_seq NULL): what the registries of
-- the daemons read.
CREATE FUNCTION pawl.read_revisions(p_seq bigint[])
RETURNS TABLE (seq bigint, kind text, name text, digest text, body text, is_current boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    SELECT r.seq, r.kind, r.name, r.digest, r.body::text, c.seq IS NOT NULL
    FROM revisions r LEFT JOIN current_revisions c ON c.seq = r.seq
    WHERE CASE WHEN p_seq IS NULL THEN c.seq IS NOT NULL ELSE r.seq = ANY (p_seq) END
    ORDER BY r.seq
$$;

-- The same by what an agent's body pins.
CREATE FUNCTION pawl.find_revisions(p_kind text[], p_name text[], p_digest text[])
RETURNS TABLE (seq bigint, kind text, name text, digest text, body text, is_current boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
    SELECT r.seq, r.kind, r.name, r.digest, r.body::text, c.seq IS NOT NULL
    FROM unnest(p_kind, p_name, p_digest) AS u (kind, name, digest)
    JOIN revisions r ON r.kind = u.kind AND r.name = u.name AND r.digest = u.digest
    LEFT JOIN current_revisions c ON c.seq = r.seq
$$;

-- answers: cancelled, ended (it had ended before), no (no such run)
CREATE FUNCTION pawl.cancel(p_run uuid[], p_who text, p_reason text) RETURNS TABLE (run_id uuid, answer text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_run uuid[];
    v_lo  uuid;
    v_hi  uuid;
BEGIN
    SELECT l.lo, l.hi INTO v_lo, v_hi FROM lock_runs(p_run) l;
    SELECT array_agg(DISTINCT r.run_id) INTO v_run FROM unnest(p_run) u JOIN agent_runs r ON r.run_id = u WHERE r.ended_at IS NULL;
    IF v_run IS NOT NULL THEN
        PERFORM end_runs(v_run, array_fill('cancelled'::text, ARRAY[cardinality(v_run)]),
                         array_fill('cancelled'::text, ARRAY[cardinality(v_run)]),
                         array_fill(coalesce(p_reason, 'cancelled by ' || p_who), ARRAY[cardinality(v_run)]), NULL, v_lo, v_hi);
        INSERT INTO audit (who, verb, run_id, detail) SELECT p_who, 'cancel', u, json_build_object('reason', p_reason) FROM unnest(v_run) u;
    END IF;
    RETURN QUERY
    SELECT u, CASE WHEN u = ANY (v_run) THEN 'cancelled' WHEN r.run_id IS NULL THEN 'no' ELSE 'ended' END
    FROM unnest(p_run) u LEFT JOIN agent_runs r ON r.run_id = u;
END
$$;

-- Says something to a run that has not ended: its model reads it at the run's next
-- step.  A run that waits goes on waiting.
-- answers: sent (seq: its number in the run), ended, no (no such run), bad (no text,
--          or more than 1 MiB), full (a hundred wait to be read)
CREATE FUNCTION pawl.send(p_run uuid, p_content text, p_who text) RETURNS TABLE (answer text, seq int, step int, detail text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_run agent_runs;
BEGIN
    PERFORM lock_runs(ARRAY[p_run]);
    SELECT * INTO v_run FROM agent_runs r WHERE r.run_id = p_run;
    IF v_run.run_id IS NULL THEN
        RETURN QUERY SELECT 'no', 0, 0, format('there is no run %s', p_run);
    ELSIF v_run.ended_at IS NOT NULL THEN
        RETURN QUERY SELECT 'ended', 0, v_run.step, format('the run has ended (%s) and reads nothing any more', v_run.status);
    ELSIF coalesce(p_content, '') = '' OR octet_length(p_content) > 1048576 THEN
        RETURN QUERY SELECT 'bad', 0, v_run.step, 'a message has at least one byte and at most 1 MiB';
    ELSIF v_run.unread >= 100 THEN
        RETURN QUERY SELECT 'full', 0, v_run.step, '100 messages wait for the next step of the run; send this one when it has read them';
    ELSE
        INSERT INTO agent_messages (run_id, seq, content, sent_by) VALUES (p_run, v_run.messages + 1, p_content, p_who);
        UPDATE agent_runs r SET messages = r.messages + 1, unread = r.unread + 1 WHERE r.run_id = p_run;
        INSERT INTO audit (who, verb, run_id, detail)
        VALUES (p_who, 'send', p_run, json_build_object('message', v_run.messages + 1, 'text', left(p_content, 200)));
        RETURN QUERY SELECT 'sent', v_run.messages + 1, v_run.step, NULL::text;
    END IF;
END
$$;

-- Opens a new epoch of an ended run, from its last step or an earlier one.
-- What was done stays: a success of the same tool with the same arguments in
-- that step is returned, not run again.
-- answers: retried, running (it has not ended), busy (a call of that step is
-- still being closed by its executor), bad_step, no
CREATE FUNCTION pawl.retry(p_run uuid, p_step int, p_who text) RETURNS TABLE (answer text, epoch int, step int, detail text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_run  agent_runs;
    v_step int;
    v_goes boolean;
BEGIN
    PERFORM lock_runs(ARRAY[p_run]);
    SELECT * INTO v_run FROM agent_runs r WHERE r.run_id = p_run;
    v_step := coalesce(p_step, v_run.step);
    IF v_run.run_id IS NULL THEN
        RETURN QUERY SELECT 'no', 0, 0, format('there is no run %s', p_run);
    ELSIF v_run.ended_at IS NULL THEN
        RETURN QUERY SELECT 'running', v_run.epoch, v_run.step, 'the run has not ended; cancel it first';
    ELSIF v_step < 1 OR v_step > v_run.step THEN
        RETURN QUERY SELECT 'bad_step', v_run.epoch, v_run.step, format('the run has steps 1 to %s', v_run.step);
    ELSIF EXISTS (SELECT FROM cancellations k JOIN workers w ON w.incarnation = k.incarnation AND w.state IN ('alive', 'leaving')
                  WHERE k.run_id = p_run AND k.step >= v_step AND k.index >= 0) THEN
        RETURN QUERY SELECT 'busy', v_run.epoch, v_run.step, 'a call of that step is still running; try again in a moment';
    ELSE
        SELECT h.room > 0 INTO v_goes FROM hold_places(ARRAY[v_run.class], ARRAY[v_run.tenant]) h;
        PERFORM count_places(v_run.class, v_run.tenant, v_goes::int, (NOT v_goes)::int);
        v_run.deadline := clock_timestamp() + coalesce((SELECT v.time_ms FROM revisions v WHERE v.seq = v_run.revision), 3600000) * interval '1 ms';
        -- what was read later is read at the step that is begun anew
        UPDATE agent_messages m SET step = NULL WHERE m.run_id = p_run AND m.step > v_step;
        UPDATE agent_runs r
        SET unread = (SELECT count(*) FROM agent_messages m WHERE m.run_id = p_run AND m.step IS NULL),
            status = CASE WHEN v_goes THEN 'running' ELSE 'queued' END, epoch = r.epoch + 1, step = v_step, version = 0, model_at = 0,
            failures = 0, deaths = 0, not_before = NULL,
            due_at = CASE WHEN v_goes THEN clock_timestamp() ELSE v_run.deadline END, ended_at = NULL, error_code = NULL, error = NULL,
            change = r.change + 1, deadline = v_run.deadline
        WHERE r.run_id = p_run;
        DELETE FROM cancellations k WHERE k.run_id = p_run;
        INSERT INTO audit (who, verb, run_id, detail)
        VALUES (p_who, 'retry', p_run, json_build_object('step', v_step, 'epoch', v_run.epoch + 1));
        RETURN QUERY SELECT 'retried', v_run.epoch + 1, v_step, NULL::text;
    END IF;
END
$$;

-- A person's word about a call whose outcome nobody knows.
-- p_happened: true with p_result = what the model shall read as its result;
--             false: it may be sent (again)
-- answers: decided, no (no such call waits for a decision), early (it did not
--          happen so far, but the process that was declared dead with it may
--          be alive, or its bytes on the wire: nobody can know yet)
CREATE FUNCTION pawl.decide(p_run uuid, p_step int, p_index int, p_happened boolean, p_result text, p_who text)
RETURNS TABLE (answer text, detail text, next_step int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_action agent_actions;
    v_root   uuid;
    v_next   int;
    v_known  timestamptz;
BEGIN
    PERFORM lock_runs(ARRAY[p_run]);
    SELECT a.* INTO v_action FROM agent_actions a JOIN agent_runs r ON r.run_id = a.run_id AND r.step = a.step AND r.ended_at IS NULL
    WHERE a.run_id = p_run AND a.step = p_step AND a.index = p_index AND a.open AND a.status = 'awaiting_decision'
    ORDER BY a.version DESC LIMIT 1;
    IF v_action.run_id IS NULL THEN
        RETURN QUERY SELECT 'no', format('call %s of step %s of run %s waits for no decision', p_index, p_step, p_run), 0;
        RETURN;
    ELSIF p_happened IS NULL THEN
        RETURN QUERY SELECT 'no', 'whether it happened was not said', 0;
        RETURN;
    END IF;
    SELECT r.root_id INTO v_root FROM agent_runs r WHERE r.run_id = p_run;
    IF NOT p_happened THEN
        SELECT max(a.send_by + (a.timeout_ms + s.probe_margin_ms) * interval '1 ms') INTO v_known
        FROM (SELECT v_action.run_id, v_action.step, v_action.index, v_action.version
              UNION
              SELECT k.run_id, k.step, k.index, k.version FROM unknown_calls k
              WHERE k.root_id = v_root AND k.tool = v_action.tool AND k.digest = coalesce(v_action.digest, '')) u
        JOIN agent_actions a ON a.run_id = u.run_id AND a.step = u.step AND a.index = u.index AND a.version = u.version
        JOIN workers w ON w.incarnation = a.claim_by AND w.state IN ('dead', 'gone')
        CROSS JOIN settings s;
        IF v_known > clock_timestamp() THEN
            RETURN QUERY SELECT 'early', format('the process that made this call was declared dead with it, and what it sent may still arrive: '
                                                'say that it did not happen after %s', to_char(v_known AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')), 0;
            RETURN;
        END IF;
    END IF;
    -- the word holds for its unknown twins in the tree too: they hold up nobody any more
    DELETE FROM unknown_calls k WHERE k.root_id = v_root AND k.tool = v_action.tool AND k.digest = coalesce(v_action.digest, '');
    SELECT s.next_step INTO v_next
    FROM settle_calls(ARRAY[p_run], ARRAY[p_step], ARRAY[p_index], ARRAY[v_action.version],
                      ARRAY[CASE WHEN p_happened THEN 'happened' ELSE 'handed_back' END],
                      ARRAY[coalesce(p_result, '{"happened":true}')], ARRAY[CASE WHEN NOT p_happened THEN 'decided' END],
                      ARRAY[CASE WHEN NOT p_happened THEN 'a person said that it did not happen' END],
                      ARRAY[0::bigint], ARRAY[NULL::int], false, p_run, p_run) s;
    UPDATE agent_actions a SET cut = false
    WHERE NOT p_happened AND a.run_id = p_run AND a.step = p_step AND a.index = p_index AND a.version = v_action.version;
    INSERT INTO audit (who, verb, run_id, detail)
    VALUES (p_who, 'decide', p_run, json_build_object('step', p_step, 'index', p_index, 'version', v_action.version,
                                                      'happened', p_happened, 'result', p_result));
    RETURN QUERY SELECT 'decided', NULL::text, coalesce(v_next, 0);
END
$$;
