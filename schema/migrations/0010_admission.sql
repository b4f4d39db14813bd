-- 0010_admission.sql -- who may begin: places, tenants, admission.
--
-- A run that is `running` holds a place of its class and tenant; one that is
-- suspended holds none, and takes one again when it wakes, without asking: it
-- was admitted before, and half of its work is done.  Runs for which there is
-- no place are `queued`: a row and an entry in an index, nothing else.
--
--   accept     gives places as long as there are some, in the order of requests
--   end_runs, count_calls   note what they free or take
--   admit      takes notice, and gives places to queued runs
--
-- Ends lock no counter: they append a note, so that the commits of a fleet do
-- not queue up behind one row.  A counter is changed only by who holds its row,
-- and notes are folded into it by who needs the room, at the latest by the next
-- sweep.  So a counter is never too low but for runs that woke.
--
-- Order of locks: the worker's row, run rows by id, then rows of pawl.places by
-- (class, tenant).  accept has no run rows before; admit skips those in use.

-- What operators said of a tenant; one that has no row here has these defaults.
CREATE TABLE pawl.tenants (
    tenant      text PRIMARY KEY,
    weight      int  NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    concurrency int  CHECK (concurrency > 0), -- runs of one class at a time; NULL: its share of the class
    changed_at  timestamptz NOT NULL DEFAULT now(),
    changed_by  text NOT NULL
);

CREATE TABLE pawl.places (
    class   text NOT NULL,
    tenant  text NOT NULL,
    running int  NOT NULL DEFAULT 0,
    queued  int  NOT NULL DEFAULT 0,
    active  boolean NOT NULL DEFAULT false, -- it may have runs: the other two change without touching an index
    PRIMARY KEY (class, tenant)
) WITH (fillfactor = 20);

CREATE INDEX places_active ON pawl.places (class, tenant) WHERE active;

CREATE TABLE pawl.place_notes (
    class   text NOT NULL,
    tenant  text NOT NULL,
    running int  NOT NULL,
    queued  int  NOT NULL
);

CREATE INDEX place_notes_of ON pawl.place_notes (class, tenant);

CREATE INDEX agent_runs_queue ON pawl.agent_runs (class, tenant, priority DESC, run_id) WHERE status = 'queued';
CREATE INDEX agent_runs_waiting ON pawl.agent_runs (class, not_before) WHERE not_before IS NOT NULL;
CREATE INDEX agent_runs_oldest ON pawl.agent_runs (class, run_id) WHERE status = 'queued';

-- How many runs of a class may be in progress: as many as its living planners
-- can plan for at once, and beside them those that wait for their provider.  So
-- whoever comes meets at most one model call of another's run in each place of
-- the fleet, and a provider that is away for an hour keeps nobody's place.
CREATE FUNCTION pawl.class_limit(p_class text) RETURNS int
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_limit int;
BEGIN
    SELECT s.class_places INTO v_limit FROM settings s;
    IF v_limit IS NULL THEN
        SELECT least(sum(w.capacity), 1000000) INTO v_limit FROM workers w
        WHERE w.state = 'alive' AND w.kind = 'planner' AND w.class = p_class HAVING count(*) > 0;
    END IF;
    RETURN coalesce(v_limit, 100) -- nobody is there yet
           + (SELECT count(*) FROM agent_runs r WHERE r.class = p_class AND r.not_before > clock_timestamp() AND r.status = 'running');
END
$$;

-- A tenant's share of a class while it is full; everybody has one place at least.
CREATE FUNCTION pawl.share_of(p_limit int, p_weight int, p_weights bigint) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(1, p_limit::bigint * p_weight / greatest(p_weights, p_weight));

-- Folds the notes of a tenant into its counter.  The caller holds the row, and
-- has held it before this statement.
CREATE FUNCTION pawl.fold_notes(p_class text, p_tenant text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS (
        DELETE FROM place_notes n WHERE n.class = p_class AND n.tenant = p_tenant RETURNING n.running, n.queued
    )
    UPDATE places p SET running = p.running + g.running, queued = p.queued + g.queued,
                        active = p.running + g.running <> 0 OR p.queued + g.queued <> 0
    FROM (SELECT sum(x.running)::int AS running, sum(x.queued)::int AS queued FROM gone x) g
    WHERE g.running IS NOT NULL AND p.class = p_class AND p.tenant = p_tenant;
END
$$;

-- How many more runs of a tenant may begin now, as far as its counter and the
-- class' say; those of others may be a second old.
CREATE FUNCTION pawl.room_of(p_class text, p_tenant text) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_mine    pawl.places;
    v_total   bigint;
    v_weights bigint;
    v_weight  int;
    v_most    int;
    v_limit   int := class_limit(p_class);
BEGIN
    SELECT * INTO v_mine FROM places p WHERE p.class = p_class AND p.tenant = p_tenant;
    IF v_mine.queued > 0 THEN
        RETURN 0; -- others come first
    END IF;
    SELECT coalesce(sum(p.running), 0), coalesce(sum(coalesce(t.weight, 1)) FILTER (WHERE p.tenant <> p_tenant), 0)
    INTO v_total, v_weights
    FROM places p LEFT JOIN tenants t ON t.tenant = p.tenant WHERE p.class = p_class AND p.active;
    SELECT t.weight, t.concurrency INTO v_weight, v_most FROM tenants t WHERE t.tenant = p_tenant;
    v_weight := coalesce(v_weight, 1);
    RETURN greatest(0, least(v_most - v_mine.running, greatest(v_limit - v_total,
                                                               share_of(v_limit, v_weight, v_weights + v_weight) - v_mine.running)));
END
$$;

-- Locks the counters of these tenants in their one order, and answers how many
-- of as many runs as each is named for may begin.
CREATE FUNCTION pawl.hold_places(p_class text[], p_tenant text[]) RETURNS TABLE (class text, tenant text, room int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_wanted int;
BEGIN
    FOR class, tenant, v_wanted IN
        SELECT u.class, u.tenant, count(*) FROM unnest(p_class, p_tenant) AS u (class, tenant)
        WHERE u.class IS NOT NULL AND u.tenant IS NOT NULL GROUP BY u.class, u.tenant ORDER BY u.class, u.tenant
    LOOP
        PERFORM 1 FROM places p WHERE p.class = hold_places.class AND p.tenant = hold_places.tenant FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            INSERT INTO places (class, tenant) VALUES (hold_places.class, hold_places.tenant) ON CONFLICT DO NOTHING;
            PERFORM 1 FROM places p WHERE p.class = hold_places.class AND p.tenant = hold_places.tenant FOR NO KEY UPDATE;
        END IF;
        room := room_of(hold_places.class, hold_places.tenant);
        IF room < v_wanted THEN -- what ended since then
            PERFORM fold_notes(hold_places.class, hold_places.tenant);
            room := room_of(hold_places.class, hold_places.tenant);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Runs that took places or began to wait for one; the caller holds the counters.
CREATE FUNCTION pawl.count_places(p_class text, p_tenant text, p_running int, p_queued int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE places p SET running = p.running + p_running, queued = p.queued + p_queued, active = true
    WHERE p.class = p_class AND p.tenant = p_tenant;
END
$$;

-- Runs that free a place (-1) or take one again (1); the caller holds their rows.
CREATE FUNCTION pawl.note_places(p_run uuid[], p_change int, p_lo uuid, p_hi uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO place_notes (class, tenant, running, queued)
    SELECT r.class, r.tenant, p_change * count(*), 0 FROM unnest(p_run) u JOIN LATERAL run_at(u, p_lo, p_hi) r ON true
    GROUP BY r.class, r.tenant;
END
$$;

-- Gives free places of a class to queued runs: to the tenant that has the
-- fewest for its weight, and of a tenant's runs to the one with the highest
-- priority, then the oldest.  Nobody gets more than its own limit; a full class
-- still gives to those who have less than their share.  One process at a time
-- does this for a class; the others leave it to it, and look again later.
--
-- rows: run_id   to be rung for
--       NULL     the last row: the class as a whole, for people and metrics
CREATE FUNCTION pawl.admit(p_class text, p_limit int)
RETURNS TABLE (run_id uuid, step int, queued bigint, running bigint, oldest_ms bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_grace  bigint;
    v_tenant text;
    v_taken  int;
    v_queued int;
BEGIN
    IF (EXISTS (SELECT FROM place_notes n WHERE n.class = p_class)
        OR EXISTS (SELECT FROM places p WHERE p.class = p_class AND p.active AND p.queued > 0))
       AND pg_try_advisory_xact_lock(1885435757, hashtext(p_class)) THEN
        SELECT x.ring_grace_ms INTO v_grace FROM settings x;
        -- a tenant whose requests are just being accepted is left for later
        FOR v_tenant IN SELECT p.tenant FROM places p WHERE p.class = p_class AND p.active ORDER BY p.tenant
                        FOR NO KEY UPDATE SKIP LOCKED LOOP
            PERFORM fold_notes(p_class, v_tenant);
        END LOOP;
        FOR v_tenant, v_taken IN SELECT c.tenant, c.places FROM choose_places(p_class, p_limit) c LOOP
            RETURN QUERY
            UPDATE agent_runs r SET status = 'running', due_at = least(soon(v_grace), r.deadline)
            FROM (SELECT q.run_id FROM agent_runs q WHERE q.class = p_class AND q.tenant = v_tenant AND q.status = 'queued'
                  ORDER BY q.priority DESC, q.run_id LIMIT v_taken FOR NO KEY UPDATE SKIP LOCKED) q
            WHERE r.run_id = q.run_id
            RETURNING r.run_id, r.step, NULL::bigint, NULL::bigint, NULL::bigint;
            GET DIAGNOSTICS v_taken = ROW_COUNT;
            PERFORM count_places(p_class, v_tenant, v_taken, -v_taken);
        END LOOP;
    END IF;

    RETURN QUERY
    SELECT NULL::uuid, 0, greatest(0, coalesce(sum(c.queued), 0)), greatest(0, coalesce(sum(c.running), 0)),
           CASE WHEN sum(c.queued) > 0 THEN
               (SELECT greatest(0, (extract(epoch FROM clock_timestamp() - uuid7_time(q.run_id)) * 1000)::bigint) FROM agent_runs q
                WHERE q.class = p_class AND q.status = 'queued' ORDER BY q.run_id LIMIT 1) END
    FROM (SELECT p.running, p.queued FROM places p WHERE p.class = p_class AND p.active
          UNION ALL
          SELECT n.running, n.queued FROM place_notes n WHERE n.class = p_class) c;
END
$$;

-- Which tenants get how many places now: filled from the lowest level, where a
-- tenant's level is the number of its runs by its weight.
CREATE FUNCTION pawl.choose_places(p_class text, p_limit int) RETURNS TABLE (tenant text, places int)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_limit   int := class_limit(p_class);
    v_total   bigint;
    v_weights bigint;
BEGIN
    SELECT coalesce(sum(p.running), 0), coalesce(sum(coalesce(t.weight, 1)), 0) INTO v_total, v_weights
    FROM places p LEFT JOIN tenants t ON t.tenant = p.tenant WHERE p.class = p_class AND p.active;
    RETURN QUERY
    SELECT x.tenant, count(*)::int
    FROM (SELECT c.tenant, s.level, row_number() OVER (ORDER BY s.level::float8 / c.weight, c.tenant) AS nth,
                 share_of(v_limit, c.weight, v_weights) AS share
          FROM (SELECT p.tenant, p.running, p.queued, coalesce(t.weight, 1) AS weight, t.concurrency
                FROM places p LEFT JOIN tenants t ON t.tenant = p.tenant
                WHERE p.class = p_class AND p.active AND p.queued > 0
                ORDER BY p.running::float8 / coalesce(t.weight, 1), p.tenant LIMIT p_limit) c
          CROSS JOIN LATERAL generate_series(c.running + 1, least(c.running + c.queued, c.running + p_limit, c.concurrency)) AS s (level)) x
    WHERE x.nth <= p_limit AND (x.nth <= v_limit - v_total OR x.level <= x.share)
    GROUP BY x.tenant ORDER BY x.tenant;
END
$$;

-- --------------------------------------------------------------- operators

-- What is said of a tenant; NULL leaves as it is, and concurrency 0 takes its
-- own limit away.
CREATE FUNCTION pawl.set_tenant(p_tenant text, p_weight int, p_concurrency int, p_who text) RETURNS TABLE (weight int, concurrency int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pawl, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    INSERT INTO tenants AS t (tenant, weight, concurrency, changed_by)
    VALUES (p_tenant, coalesce(p_weight, 1), nullif(p_concurrency, 0), p_who)
    ON CONFLICT (tenant) DO UPDATE SET weight = coalesce(p_weight, t.weight),
        concurrency = CASE WHEN p_concurrency IS NULL THEN t.concurrency ELSE nullif(p_concurrency, 0) END,
        changed_at = now(), changed_by = p_who
    RETURNING t.weight, t.concurrency;
    INSERT INTO audit (who, verb, detail)
    VALUES (p_who, 'set tenant', json_build_object('tenant', p_tenant, 'weight', p_weight, 'concurrency', p_concurrency));
END
$$;

-- Tenants with their runs, by class; a class of NULL is a tenant that has none.
CREATE VIEW pawl.tenant_load AS
SELECT coalesce(c.tenant, t.tenant) AS tenant, c.class, coalesce(t.weight, 1) AS weight, t.concurrency,
       coalesce(c.running, 0) AS running, coalesce(c.queued, 0) AS queued,
       (SELECT pawl.uuid7_time(q.run_id) FROM pawl.agent_runs q
        WHERE c.queued > 0 AND q.class = c.class AND q.tenant = c.tenant AND q.status = 'queued' ORDER BY q.run_id LIMIT 1) AS oldest
FROM (SELECT x.class, x.tenant, sum(x.running) AS running, sum(x.queued) AS queued
      FROM (SELECT p.class, p.tenant, p.running, p.queued FROM pawl.places p
            UNION ALL
            SELECT n.class, n.tenant, n.running, n.queued FROM pawl.place_notes n) x
      GROUP BY x.class, x.tenant) c
FULL JOIN pawl.tenants t ON t.tenant = c.tenant;

REVOKE ALL ON FUNCTION
    pawl.class_limit(text), pawl.share_of(int, int, bigint), pawl.fold_notes(text, text), pawl.room_of(text, text),
    pawl.hold_places(text[], text[]), pawl.count_places(text, text, int, int), pawl.note_places(uuid[], int, uuid, uuid),
    pawl.admit(text, int), pawl.choose_places(text, int), pawl.set_tenant(text, int, int, text)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pawl.admit(text, int) TO pawl_planner;
GRANT EXECUTE ON FUNCTION pawl.set_tenant(text, int, int, text), pawl.uuid7_time(uuid) TO pawl_operator;
GRANT SELECT ON pawl.tenant_load TO pawl_operator;
