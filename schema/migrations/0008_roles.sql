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

-- Functions by name alone: none of them has two forms.
-- every daemon: liveness, and what it needs to know
GRANT EXECUTE ON FUNCTION
    pawl.register, pawl.take_lock, pawl.heartbeat, pawl.declare_dead, pawl.leave, pawl.hand_back, pawl.server_identity,
    pawl.claim_due, pawl.read_revisions, pawl.find_revisions, pawl.schema_version
TO pawl_planner, pawl_executor;

GRANT EXECUTE ON FUNCTION
    pawl.accept, pawl.claim_plans, pawl.read_steps, pawl.commit_plans, pawl.read_announcements, pawl.take_announcements,
    pawl.announce, pawl.open_record, pawl.close_record, pawl.planner_died_lately
TO pawl_planner;

GRANT EXECUTE ON FUNCTION
    pawl.claim_actions, pawl.commit_actions
TO pawl_executor;

GRANT EXECUTE ON FUNCTION
    pawl.accept, pawl.publish, pawl.read_revisions, pawl.find_revisions, pawl.cancel, pawl.send, pawl.retry, pawl.decide,
    pawl.schema_version, pawl.ensure_partitions
TO pawl_operator;
