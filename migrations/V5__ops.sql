-- Written by operators through the command line. An act that can move money is a sealed message in `ops_outbox`,
-- never an edited row.

-- Metadata of keys: it can only narrow what the mounted secret files allow.
CREATE TABLE api_keys (
    key_id     text PRIMARY KEY,
    purpose    text NOT NULL CHECK (purpose IN ('integrator', 'mpesa')),
    owner      text NOT NULL,
    not_before timestamptz,
    not_after  timestamptz,
    state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'revoked', 'retired', 'compromised')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A txRef belongs to the integrator with the longest matching prefix; '' matches everything.
CREATE TABLE tx_ref_prefixes (
    prefix text PRIMARY KEY,
    owner  text NOT NULL
);

CREATE TABLE halts (
    scope      text PRIMARY KEY CHECK (scope IN ('intake', 'deposit', 'execute', 'refund')),
    halted     boolean NOT NULL,
    reason     text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_log (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    who    text NOT NULL,
    act    text NOT NULL,
    target text NOT NULL,
    why    text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_by_target ON audit_log (target, act);

CREATE TABLE ops_outbox (LIKE gateway_outbox INCLUDING ALL);

GRANT SELECT, INSERT, UPDATE ON halts TO fiatrails_ops;
-- A key's owner and window are for ever, and so is a prefix: changing one would hand payments to somebody else.
GRANT SELECT, INSERT ON api_keys, tx_ref_prefixes TO fiatrails_ops;
GRANT UPDATE (state, updated_at) ON api_keys TO fiatrails_ops;
GRANT SELECT, INSERT ON audit_log TO fiatrails_ops;
GRANT SELECT, INSERT, UPDATE, DELETE ON ops_outbox TO fiatrails_ops;
GRANT SELECT ON api_keys, tx_ref_prefixes, halts TO fiatrails_gateway, fiatrails_callback, fiatrails_executor;

-- The callback service halts executes by itself when it sees a mint without a payment. This is all it may do to
-- switches and audit: it can stop, never resume, and it signs with its own name.
CREATE FUNCTION halt_executes(why text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
        WITH turned AS (
            INSERT INTO halts (scope, halted, reason, changed_by) VALUES ('execute', true, why, 'callback')
            ON CONFLICT (scope) DO UPDATE
                SET halted = true, reason = excluded.reason, changed_by = excluded.changed_by, changed_at = now()
                WHERE NOT halts.halted
            RETURNING scope
        ), audited AS (
            INSERT INTO audit_log (who, act, target, why) SELECT 'callback', 'halt', scope, why FROM turned
        )
        SELECT EXISTS (SELECT FROM turned)
    $$;
REVOKE ALL ON FUNCTION halt_executes(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION halt_executes(text) TO fiatrails_callback;
