-- 0012_quota.sql -- requests and tokens a minute of a provider's key, for the
-- whole fleet.
--
-- A planner asks before a model call, if the model's definition has limits; the
-- answer is 0 (go on) or how long the run waits, in Postgres, with neither a slot
-- nor a connection.  A planner has one such statement under way at a time, with
-- all that waits for it there, so a row is locked once a statement and not once a
-- call, and never until a disk has answered.
--
--     bucket   requests and tokens left; it fills evenly, to a twelfth of a minute's
--     ticket   of a run that waits: when its turn comes
--     queue    of a tenant: when the turn of its last ticket comes
--
-- Tickets of one tenant are spaced by its share of the rate, by weight among the
-- tenants that wait.  So a tenant with a thousand tickets does not push back the
-- first one of another.  Whose turn has come and who finds the bucket empty all the
-- same comes back as soon as it fits, before any new ticket of its tenant.

CREATE TABLE pawl.provider_limits (
    provider     text PRIMARY KEY,    -- base_url and the name of the secret: never the secret
    requests     float8 NOT NULL,     -- left; below 0: owed
    tokens       float8 NOT NULL,
    filled_at    timestamptz NOT NULL,
    paused_until timestamptz          -- the provider said so
) WITH (fillfactor = 20);

CREATE TABLE pawl.provider_queues (
    provider text NOT NULL,
    tenant   text NOT NULL,
    next_at  timestamptz NOT NULL,
    PRIMARY KEY (provider, tenant)
) WITH (fillfactor = 20);

CREATE TABLE pawl.provider_tickets (
    run_id   uuid NOT NULL,
    provider text NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (run_id, provider)
);

-- How much a bucket holds, and how much comes back in a second: so that no minute
-- sees more than the limit.
CREATE FUNCTION pawl.burst_of(p_limit float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(1, floor(p_limit / 12));

CREATE FUNCTION pawl.rate_of(p_limit float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (p_limit - greatest(1, floor(p_limit / 12)) + 1) / 60;

-- Seconds until so much is in a bucket; 0: it is.  More than the bucket holds is
-- given from a full one, and owed.
CREATE FUNCTION pawl.seconds_until(p_left float8, p_want float8, p_limit float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_limit > 0 THEN greatest(0, least(p_want, pawl.burst_of(p_limit)) - p_left) / pawl.rate_of(p_limit) ELSE 0 END;

-- The turn of a run that has none yet: behind its tenant's last one.
CREATE FUNCTION pawl.draw_ticket(p_provider text, p_tenant text, p_now timestamptz, p_from timestamptz, p_cost_s float8) RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    v_weight  int := coalesce((SELECT t.weight FROM tenants t WHERE t.tenant = p_tenant), 1);
    v_weights bigint;
    v_at      timestamptz;
BEGIN
    SELECT coalesce(sum(coalesce(t.weight, 1)), 0) INTO v_weights
    FROM provider_queues q LEFT JOIN tenants t ON t.tenant = q.tenant
    WHERE q.provider = p_provider AND q.tenant <> p_tenant AND q.next_at > p_now;
    INSERT INTO provider_queues AS q (provider, tenant, next_at)
    VALUES (p_provider, p_tenant, p_from + p_cost_s * (v_weights + v_weight) / v_weight * interval '1 s')
    ON CONFLICT (provider, tenant) DO UPDATE
    SET next_at = greatest(p_from, q.next_at) + p_cost_s * (v_weights + v_weight) / v_weight * interval '1 s'
    RETURNING q.next_at INTO v_at;
    RETURN v_at;
END
$$;

-- Takes a request and so many tokens (estimated) for each run; and puts right what
-- was taken before, when a call has ended.
-- p_secret: its name, or NULL
-- p_..._per_minute: 0: without that limit
-- p_run: NULL: only to settle
-- p_settle: tokens that a call has used beyond what was taken for it; may be negative
-- p_pause_ms: the provider wants no request for so long; 0: it did not say so
-- answers: wait_ms per item; 0: go on
CREATE FUNCTION pawl.take_quota(
    p_base_url text[], p_secret text[], p_requests_per_minute bigint[], p_tokens_per_minute bigint[], p_run uuid[], p_tenant text[], p_tokens bigint[],
    p_settle bigint[], p_pause_ms bigint[]
) RETURNS TABLE (item int, wait_ms bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pawl, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_key    text[] := (SELECT array_agg(concat_ws(' ', u.url, u.secret) ORDER BY u.n) FROM unnest(p_base_url, p_secret) WITH ORDINALITY u (url, secret, n));
    v_now    timestamptz := now(); -- of the transaction, which is this statement's
    v_bucket pawl.provider_limits;
    v        record;
    v_ticket timestamptz;
    v_turn   boolean;
    v_empty  float8; -- seconds until it fits
    v_at     timestamptz;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true); -- a crash may forget the last moment: it is not worth a disk's time
    INSERT INTO provider_limits (provider, requests, tokens, filled_at)
    SELECT DISTINCT ON (u.provider) u.provider, burst_of(u.rpm), burst_of(u.tpm), v_now
    FROM unnest(v_key, p_requests_per_minute, p_tokens_per_minute) AS u (provider, rpm, tpm) ORDER BY u.provider
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM provider_limits l WHERE l.provider = ANY (v_key) ORDER BY l.provider FOR NO KEY UPDATE;

    FOR v IN SELECT (u.n - 1)::int AS item, u.* FROM unnest(v_key, p_requests_per_minute, p_tokens_per_minute, p_run, p_tenant, p_tokens, p_settle,
                                                          p_pause_ms)
                 WITH ORDINALITY AS u (provider, rpm, tpm, run, tenant, tokens, settle, pause_ms, n) LOOP
        SELECT * INTO v_bucket FROM provider_limits l WHERE l.provider = v.provider;
        v_at := greatest(v_bucket.filled_at, v_now);
        v_bucket.requests := least(burst_of(v.rpm), v_bucket.requests + extract(epoch FROM v_at - v_bucket.filled_at) * rate_of(v.rpm));
        v_bucket.tokens := least(burst_of(v.tpm), v_bucket.tokens + extract(epoch FROM v_at - v_bucket.filled_at) * rate_of(v.tpm)) - coalesce(v.settle, 0);
        IF v.pause_ms > 0 THEN
            v_bucket.paused_until := greatest(v_bucket.paused_until, v_now + v.pause_ms * interval '1 ms');
        END IF;
        item := v.item;
        wait_ms := 0;
        IF v.run IS NOT NULL THEN
            SELECT t.at INTO v_ticket FROM provider_tickets t WHERE t.run_id = v.run AND t.provider = v.provider;
            v_turn := CASE WHEN v_ticket IS NOT NULL THEN v_ticket <= v_now
                           ELSE NOT EXISTS (SELECT FROM provider_queues q WHERE q.provider = v.provider AND q.tenant = v.tenant AND q.next_at > v_now) END;
            v_empty := greatest(seconds_until(v_bucket.requests, 1, v.rpm), seconds_until(v_bucket.tokens, v.tokens, v.tpm),
                                extract(epoch FROM v_bucket.paused_until - v_now));
            IF v_turn AND v_empty <= 0 THEN
                v_bucket.requests := v_bucket.requests - 1;
                v_bucket.tokens := v_bucket.tokens - v.tokens;
                DELETE FROM provider_tickets t WHERE t.run_id = v.run AND t.provider = v.provider;
            ELSE
                v_at := CASE WHEN v_ticket > v_now THEN v_ticket -- its turn has not come
                             WHEN v_ticket IS NOT NULL AND NOT coalesce(v_bucket.paused_until > v_now, false)
                                 THEN v_now + greatest(0.01, v_empty) * (1 + random()) * interval '1 s' -- it has, but the bucket is empty
                             ELSE draw_ticket(v.provider, v.tenant, v_now, greatest(v_now, v_bucket.paused_until),
                                              greatest(CASE WHEN v.rpm > 0 THEN 1 / rate_of(v.rpm) ELSE 0 END,
                                                       CASE WHEN v.tpm > 0 THEN v.tokens / rate_of(v.tpm) ELSE 0 END)) END;
                v_at := greatest(v_at, v_now + v_empty * interval '1 s');
                INSERT INTO provider_tickets AS t (run_id, provider, at) VALUES (v.run, v.provider, v_at)
                ON CONFLICT (run_id, provider) DO UPDATE SET at = v_at;
                wait_ms := greatest(1, ceil(extract(epoch FROM v_at - v_now) * 1000));
            END IF;
        END IF;
        UPDATE provider_limits l SET requests = v_bucket.requests, tokens = v_bucket.tokens, filled_at = greatest(l.filled_at, v_now),
                                     paused_until = v_bucket.paused_until
        WHERE l.provider = v.provider;
        RETURN NEXT;
    END LOOP;
    IF random() < 0.01 THEN -- of runs that ended while they waited
        DELETE FROM provider_tickets t WHERE t.at < v_now - interval '1 hour';
    END IF;
END
$$;

-- Keys of providers, for people.
CREATE VIEW pawl.provider_load AS
SELECT l.provider, floor(l.requests) AS requests_left, floor(l.tokens) AS tokens_left, l.filled_at AS asked_at,
       CASE WHEN l.paused_until > now() THEN l.paused_until END AS paused_until,
       (SELECT count(*) FROM pawl.provider_tickets t WHERE t.provider = l.provider AND t.at > now()) AS waiting
FROM pawl.provider_limits l;

REVOKE ALL ON FUNCTION
    pawl.burst_of(float8), pawl.rate_of(float8), pawl.seconds_until(float8, float8, float8),
    pawl.draw_ticket(text, text, timestamptz, timestamptz, float8),
    pawl.take_quota(text[], text[], bigint[], bigint[], uuid[], text[], bigint[], bigint[], bigint[])
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pawl.take_quota(text[], text[], bigint[], bigint[], uuid[], text[], bigint[], bigint[], bigint[]) TO pawl_planner;
GRANT SELECT ON pawl.provider_load TO pawl_operator;
