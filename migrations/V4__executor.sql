-- Written by the executor alone. Rows say what was done; nothing is signed on the word of a row.

CREATE TABLE chain_legs (
    intent_id    bytea PRIMARY KEY CHECK (length(intent_id) = 32),
    tx_ref       text NOT NULL,
    -- The intent's fields as JSON; believed only when they hash to the id.
    preimage     text NOT NULL,
    leg          text NOT NULL,
    final        boolean NOT NULL DEFAULT false,
    -- Recorded at the first attempt, never recomputed.
    signer       bytea CHECK (signer IS NULL OR length(signer) = 20),
    tx_hash      bytea CHECK (tx_hash IS NULL OR length(tx_hash) = 32),
    block_number bigint,
    reason       text,
    version      bigint NOT NULL DEFAULT 0,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX chain_legs_by_tx_ref ON chain_legs (tx_ref);
CREATE INDEX chain_legs_settling ON chain_legs (block_number) WHERE leg IN ('executed', 'refunded') AND NOT final;
CREATE INDEX chain_legs_recent ON chain_legs (updated_at);

CREATE TABLE leg_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    intent_id  bytea NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    from_leg   text NOT NULL,
    to_leg     text NOT NULL,
    cause      text NOT NULL,
    tx_hash    bytea,
    message_id uuid
);
CREATE INDEX leg_history_by_intent ON leg_history (intent_id, id);

-- A nonce is allocated here, never guessed by a node. The lease says who may.
CREATE TABLE signers (
    address       bytea PRIMARY KEY CHECK (length(address) = 20),
    shard         integer NOT NULL UNIQUE,
    next_nonce    bigint NOT NULL,
    lease_holder  uuid,
    lease_until   timestamptz,
    fencing_token bigint NOT NULL DEFAULT 0
);

-- A command taken from its queue. The sealed envelope is verified again whenever a call is built from it.
CREATE TABLE work_items (
    message_id  uuid PRIMARY KEY,
    intent_id   bytea NOT NULL,
    command     text NOT NULL CHECK (command IN ('submit', 'execute', 'refund')),
    state       text NOT NULL CHECK (state IN ('ready', 'in_attempt', 'done', 'parked')),
    envelope    bytea NOT NULL,
    -- Not before this time: waiting for a deposit, or for a breaker.
    not_before  timestamptz NOT NULL DEFAULT now(),
    attempts    integer NOT NULL DEFAULT 0,
    -- Upper bound of the batch this item may share; halves when gas ran out.
    batch_limit integer,
    reason      text,
    -- Parked, but the copy on the dead queue is not confirmed yet.
    unsent      boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX work_items_unsent ON work_items (updated_at) WHERE unsent;
CREATE INDEX work_items_ready ON work_items (command, not_before) WHERE state = 'ready';
CREATE INDEX work_items_parked ON work_items (updated_at) WHERE state = 'parked';
CREATE INDEX work_items_open ON work_items (intent_id) WHERE state IN ('ready', 'in_attempt');

CREATE TABLE attempts (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    signer            bytea NOT NULL REFERENCES signers (address),
    nonce             bigint NOT NULL,
    tx_hash           bytea NOT NULL UNIQUE CHECK (length(tx_hash) = 32),
    -- The signed bytes: what is broadcast, first time and every time.
    raw               bytea NOT NULL,
    command           text NOT NULL CHECK (command IN ('submit', 'execute', 'refund', 'cancel')),
    state             text NOT NULL CHECK (state IN ('signed', 'mined', 'final', 'superseded')),
    replaces          bigint REFERENCES attempts (id),
    fencing_token     bigint NOT NULL,
    block_number      bigint,
    block_hash        bytea,
    created_at        timestamptz NOT NULL DEFAULT now(),
    last_broadcast_at timestamptz
);
CREATE INDEX attempts_open ON attempts (signer, nonce) WHERE state IN ('signed', 'mined');
CREATE INDEX attempts_by_block ON attempts (block_number) WHERE state IN ('mined', 'final');

CREATE TABLE attempt_items (
    attempt_id bigint NOT NULL REFERENCES attempts (id),
    position   integer NOT NULL,
    message_id uuid NOT NULL REFERENCES work_items (message_id),
    intent_id  bytea NOT NULL,
    -- Null while no block holds the attempt.
    outcome    text,
    PRIMARY KEY (attempt_id, position)
);
CREATE INDEX attempt_items_by_message ON attempt_items (message_id);
CREATE INDEX attempt_items_by_intent ON attempt_items (intent_id);

CREATE TABLE blocks (
    number      bigint PRIMARY KEY,
    hash        bytea NOT NULL CHECK (length(hash) = 32),
    parent_hash bytea NOT NULL CHECK (length(parent_hash) = 32),
    at          timestamptz NOT NULL
);

-- Every event of the escrow, deposits that are not ours included.
CREATE TABLE escrow_events (
    block_number bigint NOT NULL,
    log_index    integer NOT NULL,
    block_hash   bytea NOT NULL,
    tx_hash      bytea NOT NULL,
    kind         text NOT NULL,
    intent_id    bytea NOT NULL,
    user_address bytea,
    amount       numeric(78, 0),
    detail       text,
    PRIMARY KEY (block_number, log_index)
);
CREATE INDEX escrow_events_by_intent ON escrow_events (intent_id);

-- What the executor last saw of the chain; the gateway's /health reads it.
CREATE TABLE executor_heartbeats (
    instance       uuid PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    rpc_connected  boolean NOT NULL,
    rpc_latency_ms integer,
    head           bigint,
    -- Why it refuses to work, if it does.
    problem        text
);

CREATE TABLE executor_inbox (LIKE callback_inbox INCLUDING ALL);
CREATE TABLE executor_outbox (LIKE gateway_outbox INCLUDING ALL);

GRANT SELECT, INSERT, UPDATE ON chain_legs, signers, work_items, attempts, attempt_items TO fiatrails_executor;
GRANT SELECT, INSERT ON leg_history TO fiatrails_executor;
GRANT SELECT, INSERT, UPDATE, DELETE ON blocks, escrow_events, executor_heartbeats, executor_inbox, executor_outbox
    TO fiatrails_executor;
GRANT SELECT ON chain_legs, leg_history, work_items, attempts, attempt_items, escrow_events, executor_heartbeats
    TO fiatrails_gateway, fiatrails_callback, fiatrails_ops;
GRANT SELECT ON signers, blocks, executor_inbox, executor_outbox TO fiatrails_ops;
