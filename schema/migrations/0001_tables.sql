-- 0001_tables.sql -- what is stored.
--
-- The truth of every run is in three tables that share (run_id, step, index,
-- version): agent_runs says where a run stands, agent_step_content what the
-- brain planned, agent_actions what the hands did.  Content and actions are
-- appended; only the run row is updated often, so it is small and its hot
-- updates touch no index (due_at is rounded to whole seconds for that).
--
-- Nobody but the owner of the schema has rights on these tables.  Daemons and
-- people go through the functions of the following files.

CREATE SCHEMA IF NOT EXISTS pawl;

-- ---------------------------------------------------------------- statuses

-- Every status of a run and of an action, and whether it is an end.
CREATE TABLE pawl.statuses (
    of_what text    NOT NULL CHECK (of_what IN ('run', 'action')),
    status  text    NOT NULL,
    final   boolean NOT NULL,
    meaning text    NOT NULL,
    PRIMARY KEY (of_what, status)
);

INSERT INTO pawl.statuses VALUES
    ('run', 'queued', false, 'accepted; waits for a place of its class and tenant'),
    ('run', 'running', false, 'brain or hands can move it'),
    ('run', 'suspended', false, 'waits for something outside; held by no process'),
    ('run', 'succeeded', true, 'the brain gave its answer'),
    ('run', 'failed', true, 'ended by an error or a limit'),
    ('run', 'cancelled', true, 'ended by a person or a program'),
    ('action', 'running', false, 'claimed by an incarnation; may have been sent'),
    ('action', 'succeeded', true, 'the tool answered; the result is stored'),
    ('action', 'failed', true, 'the tool answered with an error'),
    ('action', 'failed_before_effect', true, 'it is certain that the tool was not reached'),
    ('action', 'unknown', true, 'nobody knows whether the tool ran'),
    ('action', 'denied', true, 'a person refused it'),
    ('action', 'cancelled', true, 'the run was cancelled before it had an effect'),
    ('action', 'awaiting_decision', false, 'a person must say whether it happened'),
    ('action', 'awaiting_approval', false, 'a person must allow it first'),
    ('action', 'awaiting_child', false, 'a sub-agent is at work'),
    ('action', 'awaiting_event', false, 'a named event has not come yet'),
    ('action', 'awaiting_timer', false, 'the time has not come yet');

-- The legal transitions, in one place.  An action that is tried again is a
-- new version with a row of its own; within a row only these can happen.
-- unknown -> succeeded is the late result (or a probe, or a person's word).
CREATE FUNCTION pawl.may_become(of_what text, old_status text, new_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (of_what, old_status, new_status) IN (
    ('run', 'queued', 'running'),
    ('run', 'queued', 'failed'),
    ('run', 'queued', 'cancelled'),
    ('run', 'running', 'suspended'),
    ('run', 'running', 'succeeded'),
    ('run', 'running', 'failed'),
    ('run', 'running', 'cancelled'),
    ('run', 'suspended', 'running'),
    ('run', 'suspended', 'failed'),
    ('run', 'suspended', 'cancelled'),
    ('run', 'succeeded', 'running'), -- retry: a new epoch
    ('run', 'failed', 'running'),
    ('run', 'cancelled', 'running'),
    ('run', 'succeeded', 'queued'),
    ('run', 'failed', 'queued'),
    ('run', 'cancelled', 'queued'),
    ('action', 'running', 'succeeded'),
    ('action', 'running', 'failed'),
    ('action', 'running', 'failed_before_effect'),
    ('action', 'running', 'unknown'),
    ('action', 'running', 'cancelled'),
    ('action', 'running', 'awaiting_decision'),
    ('action', 'failed', 'unknown'), -- an earlier attempt was cut, and the run ended before the next
    ('action', 'failed_before_effect', 'unknown'),
    ('action', 'unknown', 'succeeded'),
    ('action', 'unknown', 'failed'),
    ('action', 'unknown', 'failed_before_effect'),
    ('action', 'unknown', 'cancelled'),
    ('action', 'unknown', 'awaiting_decision'),
    ('action', 'awaiting_decision', 'succeeded'),
    ('action', 'awaiting_decision', 'failed'),
    ('action', 'awaiting_decision', 'failed_before_effect'),
    ('action', 'awaiting_decision', 'unknown'),
    ('action', 'awaiting_decision', 'cancelled'),
    ('action', 'cancelled', 'succeeded'), -- a result that arrived after the cancel
    ('action', 'cancelled', 'failed')
);

-- The columns' types.  Domains and these two triggers, not CHECKs: the text of
-- a CHECK is read and compiled anew by every statement that writes a row,
-- which costs more than the row.
CREATE DOMAIN pawl.run_status AS text NOT NULL
    CHECK (VALUE IN ('queued', 'running', 'suspended', 'succeeded', 'failed', 'cancelled'));
CREATE DOMAIN pawl.action_status AS text NOT NULL
    CHECK (VALUE IN ('running', 'succeeded', 'failed', 'failed_before_effect', 'unknown', 'denied', 'cancelled', 'awaiting_decision',
                     'awaiting_approval', 'awaiting_child', 'awaiting_event', 'awaiting_timer'));
CREATE DOMAIN pawl.content_type AS text NOT NULL CHECK (VALUE IN ('text', 'reasoning', 'function_call', 'error'));
CREATE DOMAIN pawl.effect AS text CHECK (VALUE IN ('read_only', 'idempotent', 'once'));
CREATE DOMAIN pawl.on_unknown AS text CHECK (VALUE IN ('probe', 'ask', 'tell_model'));
CREATE DOMAIN pawl.counter AS int NOT NULL CHECK (VALUE >= 0);

CREATE FUNCTION pawl.check_run_transition() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pawl.may_become('run', OLD.status, NEW.status) THEN
        RAISE EXCEPTION 'pawl: a run may not go from % to %', OLD.status, NEW.status USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.ended_at IS NULL) <> (NEW.status IN ('queued', 'running', 'suspended'))
       OR (NEW.ended_at IS NOT NULL AND (NEW.claim_by IS NOT NULL OR NEW.due_at IS NOT NULL OR NEW.open_calls > 0))
       OR NEW.waiting_calls > NEW.open_calls THEN
        RAISE EXCEPTION 'pawl: the row of run % contradicts its status %', NEW.run_id, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION pawl.check_action_transition() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pawl.may_become('action', OLD.status, NEW.status) THEN
        RAISE EXCEPTION 'pawl: an action may not go from % to %', OLD.status, NEW.status USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.open AND NEW.status = 'succeeded')
       OR (NOT NEW.open AND (NEW.retry_at IS NOT NULL OR NEW.probe_after IS NOT NULL OR NEW.wait_until IS NOT NULL)) THEN
        RAISE EXCEPTION 'pawl: the row of action %/%/% contradicts its status %', NEW.run_id, NEW.step, NEW.index, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

-- ---------------------------------------------------------------- settings

-- One row.  Change it with UPDATE; every function reads it anew.
CREATE TABLE pawl.settings (
    one                boolean PRIMARY KEY DEFAULT true CHECK (one),
    ring_grace_ms      bigint NOT NULL DEFAULT 2000,  -- a doorbell may take so long before idle processes look for the work themselves
    send_by_ms         bigint NOT NULL DEFAULT 5000,  -- after a claim, nothing is sent later than this
    probe_margin_ms    bigint NOT NULL DEFAULT 1000,  -- added to send_by and the timeout of a call before "it did not happen" is believed
    probes_max         int    NOT NULL DEFAULT 5,     -- read-backs tried before a person is asked
    deaths_max         int    NOT NULL DEFAULT 3,     -- processes that may die with one item in their hands
    death_backoff_ms   bigint NOT NULL DEFAULT 5000,  -- wait before an item is tried again after its second death
    class_places       int    CHECK (class_places > 0), -- runs of a class in progress; NULL: as many as its planners have places
    requests_keep_days int    NOT NULL DEFAULT 30,    -- older requests are refused: they can no longer be de-duplicated
    partition_days     int    NOT NULL DEFAULT 30,    -- time covered by one partition
    daily_budgets      boolean NOT NULL DEFAULT false, -- some tenant has a budget by the day: kept by set_budget()
    catalog_changes    bigint NOT NULL DEFAULT 0      -- counted by publish(): daemons read the catalogue again when it changes
);

INSERT INTO pawl.settings DEFAULT VALUES;

-- ------------------------------------------------------------ time in ids

-- A UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, version and
-- variant, the rest random.
CREATE FUNCTION pawl.uuid7_at(p_time timestamptz) RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN encode(
    set_byte(
        overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM p_time) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
        6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112),
    'hex')::uuid;

-- The smallest UUIDv7 of a moment: the bounds of partitions.
CREATE FUNCTION pawl.uuid7_floor(p_time timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM p_time) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

CREATE FUNCTION pawl.uuid7_time(p_id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_timestamp(('x' || replace(left(p_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0);

-- Some moment from now, rounded up to a whole second: so that most updates
-- of a run leave its due_at, and the index on it, as they are.  VOLATILE like the
-- clock it reads: a function that says less of itself is not put in place.
CREATE FUNCTION pawl.soon(p_ms bigint) RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN to_timestamp(ceil(extract(epoch FROM clock_timestamp()) + p_ms / 1000.0));

-- --------------------------------------------------------------- revisions

-- Agents, tools and models as they were published.  A row never changes; a
-- run keeps the seq of the agent that it began with, and an agent's body
-- names the digests of its tools and model.
CREATE TABLE pawl.revisions (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('agent', 'tool', 'model')),
    name            text NOT NULL,
    digest          text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    body            json NOT NULL,
    published_at    timestamptz NOT NULL DEFAULT now(),
    published_by    text NOT NULL,
    -- what the protocol itself needs to know, taken from the body
    time_ms         bigint, -- agent: how long a run may take
    parallel_calls  int,    -- agent: calls of one run at a time
    tokens_max      bigint, -- agent: of a run with all its descendants
    micros_max      bigint, -- agent: the same in money
    effect          pawl.effect,     -- tool
    on_unknown      pawl.on_unknown, -- tool
    timeout_ms      int,
    attempts        int,
    ask_timeout_ms  bigint,
    UNIQUE (kind, name, digest)
);

CREATE TABLE pawl.current_revisions (
    kind       text   NOT NULL,
    name       text   NOT NULL,
    seq        bigint NOT NULL REFERENCES pawl.revisions,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    PRIMARY KEY (kind, name)
);

-- ----------------------------------------------------------------- workers

-- One row per incarnation: one start of one process.
CREATE TABLE pawl.workers (
    incarnation bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance    text   NOT NULL,           -- host and slot; the same after a restart
    kind        text   NOT NULL CHECK (kind IN ('planner', 'executor')),
    class       text   NOT NULL,
    program     text   NOT NULL,           -- version of the binary
    pid         int    NOT NULL,
    capacity    int    NOT NULL,
    in_flight   int    NOT NULL DEFAULT 0,
    state       text   NOT NULL DEFAULT 'alive'
                CHECK (state IN ('alive', 'leaving', 'gone', 'dead')),
    beat        bigint NOT NULL DEFAULT 0,
    beat_at     timestamptz NOT NULL DEFAULT now(),
    lock_server text,                      -- the server where its session lock was taken
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    ended_by    bigint                     -- the observer that declared it dead
) WITH (fillfactor = 50);

CREATE INDEX workers_live ON pawl.workers (incarnation) WHERE state IN ('alive', 'leaving');

-- ---------------------------------------------------------------- requests

-- Which requests were seen.  Partitioned by hash: it has no time to lead with.
CREATE TABLE pawl.requests (
    source     text  NOT NULL,
    id         text  NOT NULL,
    digest     bytea NOT NULL, -- of what was asked: same id, other digest is a conflict
    run_id     uuid  NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, id)
) PARTITION BY HASH (source, id);

CREATE TABLE pawl.requests_0 PARTITION OF pawl.requests FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE pawl.requests_1 PARTITION OF pawl.requests FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE pawl.requests_2 PARTITION OF pawl.requests FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE pawl.requests_3 PARTITION OF pawl.requests FOR VALUES WITH (MODULUS 4, REMAINDER 3);

-- -------------------------------------------------------------------- runs

CREATE TABLE pawl.agent_runs (
    run_id        uuid        NOT NULL,
    root_id       uuid        NOT NULL,             -- of the tree of runs
    parent_id     uuid,
    parent_step   int,
    parent_index  int,
    revision      bigint      NOT NULL,             -- of the agent: pinned
    agent         text        NOT NULL,
    variant       text        NOT NULL DEFAULT '',
    tenant        text        NOT NULL,
    class         text        NOT NULL,
    priority      smallint    NOT NULL DEFAULT 0,   -- among the queued runs of its tenant: higher first
    status        pawl.run_status NOT NULL DEFAULT 'running',
    epoch         int         NOT NULL DEFAULT 1,   -- raised by retry
    step          int         NOT NULL DEFAULT 1,
    version       int         NOT NULL DEFAULT 0,   -- of the plan of this step: last one claimed
    open_calls    pawl.counter NOT NULL DEFAULT 0,   -- > 0: the hands are at work
    waiting_calls pawl.counter NOT NULL DEFAULT 0,   -- of these, held by nobody
    parallel      int         NOT NULL DEFAULT 16,  -- calls at a time
    change        bigint      NOT NULL DEFAULT 0,   -- what a prompt was built on
    claim_by      bigint,                           -- incarnation that plans this step
    claim_token   uuid,
    model_at      int         NOT NULL DEFAULT 0,   -- which of the agent's models this step has come to
    messages      int         NOT NULL DEFAULT 0,   -- how many people sent to it
    unread        int         NOT NULL DEFAULT 0,   -- of these: not yet part of its prompt
    failures      int         NOT NULL DEFAULT 0,   -- calls of that model in this step that failed
    deaths        int         NOT NULL DEFAULT 0,   -- planners that died with this step
    not_before    timestamptz,                      -- back-off of the plan
    due_at        timestamptz,                      -- if nobody moved it by then, look
    deadline      timestamptz NOT NULL,
    model_calls   int         NOT NULL DEFAULT 0,
    tokens_in     bigint      NOT NULL DEFAULT 0,
    tokens_out    bigint      NOT NULL DEFAULT 0,
    tokens_cached bigint      NOT NULL DEFAULT 0,
    cost_micros   bigint      NOT NULL DEFAULT 0,   -- millionths of the price's currency
    -- NULL, like what is held: most runs have none, and then it takes no room
    wasted_calls  int,                              -- model calls that brought nothing: failed, or their answer was lost
    wasted_tokens bigint,                           -- of tokens_in and tokens_out, as far as it is known
    wasted_micros bigint,                           -- of cost_micros
    budgeted      boolean     NOT NULL DEFAULT false, -- its tree has a row in budgets
    held_tokens   bigint,                           -- reserved for the model call of the present claim
    held_micros   bigint,
    held_day      date,                             -- the tenant's day from which they are taken; suspended: that has no more
    created_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    error_code    text,
    error         text,
    PRIMARY KEY (run_id)
) PARTITION BY RANGE (run_id);

CREATE INDEX agent_runs_due ON pawl.agent_runs (class, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX agent_runs_live ON pawl.agent_runs (run_id) WHERE ended_at IS NULL;
CREATE INDEX agent_runs_tree ON pawl.agent_runs (parent_id) WHERE parent_id IS NOT NULL;

CREATE TRIGGER agent_runs_transition BEFORE UPDATE OF status ON pawl.agent_runs
    FOR EACH ROW
    WHEN (OLD.status <> NEW.status)
    EXECUTE FUNCTION pawl.check_run_transition();

-- What a run was asked, and by whom: written once, read at the first step.
CREATE TABLE pawl.agent_run_inputs (
    run_id     uuid NOT NULL,
    input      json NOT NULL,
    source     text,
    request_id text,
    meta       json,           -- subject, traceparent, tracestate
    created_by text NOT NULL,
    PRIMARY KEY (run_id)
) PARTITION BY RANGE (run_id);

-- What people said to a run while it ran.  A message becomes part of the prompt
-- at a claim: from then on it stands before the plan of `step`, for ever.
CREATE TABLE pawl.agent_messages (
    run_id  uuid NOT NULL,
    seq     int  NOT NULL,   -- 1, 2, ...: the order in which they were sent
    step    int,             -- null: not read yet
    content text NOT NULL,
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);

-- --------------------------------------------------------------- the brain

-- One row per item of a model's output.  All items of one attempt share the
-- version; the maximal version is the plan of the step.
CREATE TABLE pawl.agent_step_content (
    run_id        uuid NOT NULL,
    step          int  NOT NULL,
    index         int  NOT NULL,
    version       int  NOT NULL,
    epoch         int  NOT NULL,
    type          pawl.content_type NOT NULL,
    content       text,        -- text, reasoning; error: what went wrong
    call_id       text,        -- the provider's id of a call
    tool          text,
    revision      bigint,      -- of the tool: null where it is unknown
    arguments     text,        -- as the model gave them
    digest        bytea,       -- of the canonical arguments
    refused       text,        -- why this call is not made: the model reads it
    raw           json,        -- index 0: the provider's own message, sent back as it is
    dialect       text,        -- index 0: whose form `raw` has
    -- index 0: of the attempt
    token         uuid,        -- of the claim that wrote it
    incarnation   bigint,
    model         text,
    tokens_in     bigint,
    tokens_out    bigint,
    tokens_cached bigint,      -- of tokens_in: read from the provider's cache
    tokens_written bigint,     -- of tokens_in: written to it
    tokens_reasoning bigint,   -- of tokens_out
    cost_micros   bigint,
    duration_ms   int,
    context       json,        -- what its prompt showed of the run, and what it counted: planner/context.h
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, step, index, version)
) PARTITION BY RANGE (run_id);

-- --------------------------------------------------------------- the hands

-- One row per attempt of one call.
CREATE TABLE pawl.agent_actions (
    run_id       uuid NOT NULL,
    step         int  NOT NULL,
    index        int  NOT NULL,
    version      int  NOT NULL,
    epoch        int  NOT NULL,
    plan_version int  NOT NULL,
    tool         text NOT NULL,
    revision     bigint NOT NULL,
    digest       bytea,
    key          uuid NOT NULL,   -- idempotency key: one per logical call, minted at its first claim
    -- policy, frozen at the claim
    effect       pawl.effect NOT NULL,
    on_unknown   pawl.on_unknown NOT NULL,
    timeout_ms   int  NOT NULL,
    attempts     int  NOT NULL,
    -- claim
    claim_by     bigint,
    claim_token  uuid,
    send_by      timestamptz,     -- nothing is sent after this
    -- state
    status       pawl.action_status NOT NULL,
    open         boolean NOT NULL, -- no final result yet
    cut          boolean NOT NULL DEFAULT false, -- some attempt of this call may have reached the tool
    failures     int NOT NULL DEFAULT 0,         -- attempts that failed before this one
    deaths       int NOT NULL DEFAULT 0,
    retry_at     timestamptz,     -- open: may be claimed again from then on
    probe_after  timestamptz,     -- open: may be probed from then on
    probe_by     bigint,
    probe_token  uuid,
    probes       int NOT NULL DEFAULT 0,
    wait_until   timestamptz,     -- open: the default end of a suspension
    result       text,
    error_code   text,
    error        text,
    copied_from  int,             -- version of an earlier epoch whose success this is
    copied_index int,
    duration_ms  int,
    claimed_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    PRIMARY KEY (run_id, step, index, version)
) PARTITION BY RANGE (run_id);

CREATE INDEX agent_actions_claimed ON pawl.agent_actions (claim_by) WHERE status = 'running';
CREATE INDEX agent_actions_probed ON pawl.agent_actions (probe_by) WHERE probe_by IS NOT NULL;

CREATE TRIGGER agent_actions_transition BEFORE UPDATE OF status ON pawl.agent_actions
    FOR EACH ROW
    WHEN (OLD.status <> NEW.status)
    EXECUTE FUNCTION pawl.check_action_transition();

-- Calls that are not repeatable and whose outcome nobody knows: another call
-- with the same tool and arguments in the same tree is not sent.
CREATE TABLE pawl.unknown_calls (
    root_id uuid  NOT NULL,
    tool    text  NOT NULL,
    digest  bytea NOT NULL,
    run_id  uuid  NOT NULL,
    step    int   NOT NULL,
    index   int   NOT NULL,
    version int   NOT NULL,
    PRIMARY KEY (root_id, tool, digest, run_id, step, index)
);

-- Claims whose run was ended under them: their holder is told at its next beat.
CREATE TABLE pawl.cancellations (
    incarnation bigint NOT NULL,
    run_id      uuid   NOT NULL,
    step        int    NOT NULL,
    index       int    NOT NULL, -- -1: the plan
    PRIMARY KEY (incarnation, run_id, step, index)
);

-- What must still be announced on the events topic.  Deleted once the broker
-- has it.
CREATE TABLE pawl.announcements (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      uuid NOT NULL,
    epoch       int  NOT NULL,
    step        int  NOT NULL,
    type        text NOT NULL CHECK (type IN ('accepted', 'waiting', 'succeeded', 'failed', 'cancelled')),
    at          timestamptz NOT NULL DEFAULT now(),
    taken_until timestamptz NOT NULL, -- till then somebody is about to send it
    taken_by    bigint,               -- this one; when it is declared dead, it is due
    -- of an end: the run's own row forgets them when it is retried
    version     int,
    error_code  text,
    error       text
);

-- What people did.
CREATE TABLE pawl.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    who    text NOT NULL,
    verb   text NOT NULL,
    run_id uuid,
    detail json
);
CREATE INDEX audit_run ON pawl.audit (run_id) WHERE run_id IS NOT NULL;

-- Request records that were in the hands of a planner that died: see
-- open_records().
CREATE TABLE pawl.suspect_records (
    topic     text   NOT NULL,
    part      int    NOT NULL,
    record_no bigint NOT NULL, -- the record's offset in its partition
    attempts  int    NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, part, record_no)
);

-- ---------------------------------------------------------------- look-ups

-- Rows by their full keys, in the one partition between lo and hi (see
-- lock_runs).  Each is put in place where it is used; OFFSET 0 keeps it a query
-- of its own there, so that Postgres always goes through the primary key: a
-- join would do so only as long as its statistics are right.
CREATE FUNCTION pawl.run_at(p_run uuid, p_lo uuid, p_hi uuid) RETURNS SETOF pawl.agent_runs LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_runs r WHERE r.run_id = p_run AND r.run_id BETWEEN p_lo AND p_hi OFFSET 0
$$;

CREATE FUNCTION pawl.input_at(p_run uuid, p_lo uuid, p_hi uuid) RETURNS SETOF pawl.agent_run_inputs LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_run_inputs i WHERE i.run_id = p_run AND i.run_id BETWEEN p_lo AND p_hi OFFSET 0
$$;

-- What was said to a run and is read after the plan of step p_known.
CREATE FUNCTION pawl.messages_after(p_run uuid, p_known int, p_lo uuid, p_hi uuid) RETURNS SETOF pawl.agent_messages LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_messages m WHERE m.run_id = p_run AND m.step > p_known AND m.run_id BETWEEN p_lo AND p_hi OFFSET 0
$$;

CREATE FUNCTION pawl.items_of(p_run uuid, p_step int, p_version int, p_lo uuid, p_hi uuid)
RETURNS SETOF pawl.agent_step_content LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_step_content c
    WHERE c.run_id = p_run AND c.step = p_step AND c.version = p_version AND c.run_id BETWEEN p_lo AND p_hi OFFSET 0
$$;

CREATE FUNCTION pawl.item_at(p_run uuid, p_step int, p_index int, p_version int, p_lo uuid, p_hi uuid)
RETURNS SETOF pawl.agent_step_content LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_step_content c
    WHERE c.run_id = p_run AND c.step = p_step AND c.index = p_index AND c.version = p_version AND c.run_id BETWEEN p_lo AND p_hi OFFSET 0
$$;

-- The newest plan of a step, by its first item.
CREATE FUNCTION pawl.newest_plan(p_run uuid, p_step int, p_lo uuid, p_hi uuid) RETURNS SETOF pawl.agent_step_content LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_step_content c
    WHERE c.run_id = p_run AND c.step = p_step AND c.index = 0 AND c.run_id BETWEEN p_lo AND p_hi ORDER BY c.version DESC LIMIT 1
$$;

-- What the last prompt of a run showed of it: that of an attempt at this step
-- that failed, or of the plan before it.
CREATE FUNCTION pawl.last_context(p_run uuid, p_step int, p_lo uuid, p_hi uuid) RETURNS TABLE (context json) LANGUAGE sql STABLE AS $$
    SELECT c.context FROM pawl.agent_step_content c
    WHERE c.run_id = p_run AND c.step BETWEEN p_step - 1 AND p_step AND c.index = 0 AND c.context IS NOT NULL
      AND c.run_id BETWEEN p_lo AND p_hi
    ORDER BY c.step DESC, c.version DESC LIMIT 1
$$;

CREATE FUNCTION pawl.action_at(p_run uuid, p_step int, p_index int, p_version int, p_lo uuid, p_hi uuid)
RETURNS SETOF pawl.agent_actions LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_actions a
    WHERE a.run_id = p_run AND a.step = p_step AND a.index = p_index AND a.version = p_version AND a.run_id BETWEEN p_lo AND p_hi OFFSET 0
$$;

CREATE FUNCTION pawl.newest_action(p_run uuid, p_step int, p_index int, p_lo uuid, p_hi uuid) RETURNS SETOF pawl.agent_actions LANGUAGE sql STABLE AS $$
    SELECT * FROM pawl.agent_actions a
    WHERE a.run_id = p_run AND a.step = p_step AND a.index = p_index AND a.run_id BETWEEN p_lo AND p_hi ORDER BY a.version DESC LIMIT 1
$$;

-- Calls of a step that are with an executor now.
CREATE FUNCTION pawl.running_calls(p_run uuid, p_step int, p_lo uuid, p_hi uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM pawl.agent_actions a
    WHERE a.run_id = p_run AND a.step = p_step AND a.status = 'running' AND a.run_id BETWEEN p_lo AND p_hi
$$;

-- -------------------------------------------------------------- partitions

-- Makes sure that there is a partition for every moment up to `p_ahead` from
-- now.  The bounds are multiples of partition_days since 1970, so that they
-- never overlap as long as the setting stays; a default partition catches
-- what falls between.
CREATE FUNCTION pawl.ensure_partitions(p_ahead interval DEFAULT '30 days') RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
DECLARE
    span_s  bigint := (SELECT partition_days FROM settings) * 86400;
    from_s  bigint := extract(epoch FROM now())::bigint / span_s * span_s;
    made    int := 0;
    parent  text;
    part    text;
BEGIN
    PERFORM pg_advisory_xact_lock(1885435756, 0);
    FOREACH parent IN ARRAY ARRAY['agent_runs', 'agent_run_inputs', 'agent_messages', 'agent_step_content', 'agent_actions'] LOOP
        IF to_regclass('pawl.' || parent || '_default') IS NULL THEN
            EXECUTE format('CREATE TABLE pawl.%I PARTITION OF pawl.%I DEFAULT', parent || '_default', parent);
        END IF;
        FOR s IN 0 .. (extract(epoch FROM p_ahead)::bigint / span_s) + 1 LOOP
            part := parent || to_char(to_timestamp(from_s + s * span_s) AT TIME ZONE 'UTC', '"_"YYYYMMDD');
            CONTINUE WHEN to_regclass('pawl.' || part) IS NOT NULL;
            EXECUTE format('CREATE TABLE pawl.%I PARTITION OF pawl.%I FOR VALUES FROM (%L) TO (%L)', part, parent,
                           uuid7_floor(to_timestamp(from_s + s * span_s)),
                           uuid7_floor(to_timestamp(from_s + (s + 1) * span_s)));
            IF parent = 'agent_runs' THEN
                EXECUTE format('ALTER TABLE pawl.%I SET (fillfactor = 60)', part);
            END IF;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

REVOKE EXECUTE ON FUNCTION pawl.ensure_partitions(interval) FROM PUBLIC;

SELECT pawl.ensure_partitions();
