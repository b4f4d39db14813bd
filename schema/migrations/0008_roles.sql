-- 0008_roles.sql -- who may do what.  Three roles without rights on any table:
-- everything goes through functions.  Grant them to the login roles of the
-- daemons and of people, or give them a password and LOGIN.

DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['pawl_planner', 'pawl_executor', 'pawl_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON ALL TABLES IN SCHEMA pawl FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pawl FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA pawl REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA pawl TO pawl_planner, pawl_executor, pawl_operator;

-- every daemon: liveness, and what it needs to know
GRANT EXECUTE ON FUNCTION
    pawl.register(text, text, text, text, int, int), pawl.take_lock(bigint), pawl.heartbeat(bigint, int),
    pawl.declare_dead(bigint, bigint[], bigint[]), pawl.leave(bigint), pawl.hand_back(bigint), pawl.server_identity(),
    pawl.claim_due(bigint, text, text, int), pawl.read_revisions(bigint[]), pawl.find_revisions(text[], text[], text[]),
    pawl.schema_version()
TO pawl_planner, pawl_executor;

GRANT EXECUTE ON FUNCTION
    pawl.accept(bigint, text[], text[], bytea[], text[], text[], text[], text[], text[], timestamptz[], timestamptz[], text, bigint, bigint[],
                int[]),
    pawl.claim_plans(bigint, uuid[], uuid[], boolean), pawl.read_steps(uuid[], int[]),
    pawl.commit_plans(bigint, uuid[], uuid[], int[], int[], int[], text[], bigint[], text[], text[], text[], bigint[], bigint[],
                      bigint[], bigint[], int[], int[], int[], text[], text[], text[], text[], text[], bigint[], text[], bytea[], text[],
                      text[], bigint[], bigint[], int[], int[]),
    pawl.read_announcements(bigint[]), pawl.take_announcements(bigint, int), pawl.announce(bigint[]),
    pawl.open_record(text, int, bigint), pawl.close_record(text, int, bigint), pawl.planner_died_lately(text)
TO pawl_planner;

GRANT EXECUTE ON FUNCTION
    pawl.claim_actions(bigint, uuid[], uuid[], int[], int[], boolean, bigint[]),
    pawl.commit_actions(bigint, uuid[], uuid[], int[], int[], int[], text[], text[], text[], text[], bigint[], int[])
TO pawl_executor;

GRANT EXECUTE ON FUNCTION
    pawl.accept(bigint, text[], text[], bytea[], text[], text[], text[], text[], text[], timestamptz[], timestamptz[], text, bigint, bigint[],
                int[]),
    pawl.publish(text, text, text, text, text, bigint, int, text, text, int, int, bigint), pawl.read_revisions(bigint[]),
    pawl.find_revisions(text[], text[], text[]), pawl.cancel(uuid[], text, text), pawl.retry(uuid, int, text),
    pawl.decide(uuid, int, int, boolean, text, text), pawl.schema_version(), pawl.ensure_partitions(interval)
TO pawl_operator;
