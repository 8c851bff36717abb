-- Written by the gateway alone. Amounts are base units (18 decimals) unless the name says shillings.

CREATE TABLE mint_intents (
    intent_id       bytea PRIMARY KEY CHECK (length(intent_id) = 32),
    integrator      text NOT NULL,
    chain_id        bigint NOT NULL,
    escrow          bytea NOT NULL CHECK (length(escrow) = 20),
    depositor       bytea NOT NULL CHECK (length(depositor) = 20),
    user_address    bytea NOT NULL CHECK (length(user_address) = 20),
    amount          numeric(39, 0) NOT NULL CHECK (amount > 0),
    country_code    text NOT NULL,
    tx_ref          text NOT NULL UNIQUE,
    idempotency_key text NOT NULL,
    trace_parent    text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Over intent id, integrator and time; its key is not in the database, so a row that someone else wrote is
    -- never commanded.
    mac_key_id      text NOT NULL,
    mac             bytea NOT NULL CHECK (length(mac) = 32)
);
CREATE INDEX mint_intents_by_time ON mint_intents (created_at);

-- Append only. The raw bytes, so that the MAC can be verified again whenever something follows from them.
CREATE TABLE mpesa_reports (
    report_id        uuid PRIMARY KEY,
    tx_ref           text NOT NULL,
    key_id           text NOT NULL,
    body             bytea NOT NULL,
    timestamp_header text NOT NULL,
    signature_header text NOT NULL,
    path             text NOT NULL,
    query            text NOT NULL,
    receipt          text,
    amount_shillings numeric(20, 0) NOT NULL,
    paid             boolean NOT NULL,
    -- sha256 of what counts as content: txRef, receipt, amount, paid or not.
    content_hash     bytea NOT NULL CHECK (length(content_hash) = 32),
    -- Authentic, but its timestamp was stale: kept for a person to accept.
    late             boolean NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (content_hash, late)
);
CREATE INDEX mpesa_reports_by_tx_ref ON mpesa_reports (tx_ref);
CREATE INDEX mpesa_reports_by_time ON mpesa_reports (received_at);

-- Stored answers. The MAC's key is not in the database.
CREATE TABLE idempotency_keys (
    integrator      text NOT NULL,
    idempotency_key text NOT NULL,
    fingerprint     bytea NOT NULL CHECK (length(fingerprint) = 32),
    status          smallint NOT NULL,
    location        text,
    body            bytea NOT NULL,
    mac_key_id      text NOT NULL,
    mac             bytea NOT NULL CHECK (length(mac) = 32),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (integrator, idempotency_key)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);

-- What a user was granted per UTC day; the row is the lock that makes the limit exact.
CREATE TABLE user_daily_totals (
    user_address bytea NOT NULL CHECK (length(user_address) = 20),
    day          date NOT NULL,
    total        numeric(39, 0) NOT NULL,
    PRIMARY KEY (user_address, day)
);

CREATE TABLE key_uses (
    key_id       text PRIMARY KEY,
    last_used_at timestamptz NOT NULL
);

-- When an intent or a report was last sent again, so that re-drives are paced.
CREATE TABLE gateway_redrives (
    subject      text PRIMARY KEY,
    times        integer NOT NULL,
    last_sent_at timestamptz NOT NULL
);

CREATE TABLE gateway_outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    uuid NOT NULL UNIQUE,
    queue         text NOT NULL,
    -- The intent id or txRef the message is about.
    subject       text NOT NULL,
    envelope      bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz
);
CREATE INDEX gateway_outbox_by_subject ON gateway_outbox (subject);

GRANT SELECT, INSERT ON mint_intents, mpesa_reports TO fiatrails_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys, user_daily_totals, key_uses, gateway_redrives, gateway_outbox
    TO fiatrails_gateway;
GRANT SELECT ON mint_intents, mpesa_reports TO fiatrails_callback, fiatrails_executor, fiatrails_ops;
GRANT SELECT ON idempotency_keys, user_daily_totals, key_uses, gateway_redrives, gateway_outbox TO fiatrails_ops;
