-- The whole schema: every table with its one writer, its rights, and why it is there. Amounts are base units
-- (18 decimals) unless the name says shillings; hashes, addresses and ids are raw bytes.

-- ---------------------------------------------------------------------------------------------------------------
-- Roles: one per service. They belong to the whole server, so they may be there already; the migration of a second
-- database may be creating them at this very moment.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['fiatrails_gateway', 'fiatrails_callback', 'fiatrails_executor', 'fiatrails_ops'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO fiatrails_gateway, fiatrails_callback, fiatrails_executor, fiatrails_ops;

-- ---------------------------------------------------------------------------------------------------------------
-- The gateway alone writes these.

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
    -- Over intent id, integrator and time. The database does not hold its key, so nothing is commanded for a row
    -- that somebody else wrote.
    mac_key_id      text NOT NULL,
    mac             bytea NOT NULL CHECK (length(mac) = 32)
);
CREATE INDEX mint_intents_by_time ON mint_intents (created_at);

-- Append only. It keeps the raw bytes, so that the MAC can be verified again whenever something follows from them.
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
    -- The report is authentic, but its timestamp was stale: it waits for a person to accept it.
    late             boolean NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (content_hash, late)
);
CREATE INDEX mpesa_reports_by_tx_ref ON mpesa_reports (tx_ref);
CREATE INDEX mpesa_reports_by_time ON mpesa_reports (received_at);

-- Stored answers. The database does not hold the key of their MAC.
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

-- When each key of an integrator or of M-Pesa last signed a request.
CREATE TABLE api_key_usage (
    key_id       text PRIMARY KEY,
    last_used_at timestamptz NOT NULL
);

-- When an intent or a report was last sent again, so that re-drives are paced.
CREATE TABLE gateway_redrives (
    subject       text PRIMARY KEY,
    redrive_count integer NOT NULL,
    last_sent_at  timestamptz NOT NULL
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

-- When each pipeline key last sealed or opened a message, by queue: each service writes a table of its own. An old
-- key that was not used for a while may be retired.
CREATE TABLE gateway_pipeline_key_usage (
    queue        text NOT NULL,
    key_id       text NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (queue, key_id)
);

GRANT SELECT, INSERT ON mint_intents, mpesa_reports TO fiatrails_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON idempotency_keys, user_daily_totals, api_key_usage, gateway_redrives, gateway_outbox TO fiatrails_gateway;
GRANT SELECT, INSERT, UPDATE ON gateway_pipeline_key_usage TO fiatrails_gateway;
GRANT SELECT ON mint_intents, mpesa_reports TO fiatrails_callback, fiatrails_executor, fiatrails_ops;
GRANT SELECT
    ON idempotency_keys, user_daily_totals, api_key_usage, gateway_redrives, gateway_outbox, gateway_pipeline_key_usage
    TO fiatrails_ops;

-- ---------------------------------------------------------------------------------------------------------------
-- The callback service alone writes these; operators act through sealed messages and their own tables.

-- One row per txRef: the lock under which every decision is made. `intent_id` is null for an orphan payment.
CREATE TABLE decisions (
    tx_ref           text PRIMARY KEY,
    intent_id        bytea CHECK (intent_id IS NULL OR length(intent_id) = 32),
    -- The callback service's copy of the chain leg, written from mint.outcome only.
    chain_leg        text NOT NULL DEFAULT 'queued',
    chain_final      boolean NOT NULL DEFAULT false,
    -- The sequence number of the last outcome that was believed; an outcome with a smaller one is old.
    outcome_sequence bigint,
    payment_leg      text NOT NULL DEFAULT 'awaiting',
    -- The contract refused the mint: the user is not compliant.
    mint_refused     boolean NOT NULL DEFAULT false,
    -- A txRef has at most one live command.
    live_command     text CHECK (live_command IN ('execute', 'refund')),
    live_message_id  uuid,
    live_since       timestamptz,
    refund_commanded boolean NOT NULL DEFAULT false,
    -- How often the live command was sent again.
    redrive_count    integer NOT NULL DEFAULT 0,
    version          bigint NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
-- Facts that ask for a command which is not out yet.
CREATE INDEX decisions_undecided ON decisions (updated_at)
    WHERE live_command IS NULL AND chain_leg IN ('queued', 'submitting', 'escrowed');
CREATE INDEX decisions_by_live_since ON decisions (live_since) WHERE live_command IS NOT NULL;
CREATE INDEX decisions_awaiting_payment ON decisions (created_at) WHERE payment_leg = 'awaiting';

-- Every paid receipt once, across all txRefs. The first paid report of a txRef is its payment; a further receipt
-- is other money.
CREATE TABLE payments (
    receipt          text PRIMARY KEY,
    tx_ref           text NOT NULL,
    report_id        uuid NOT NULL UNIQUE,
    amount_shillings numeric(20, 0) NOT NULL,
    phone            text NOT NULL,
    is_first         boolean NOT NULL,
    received_at      timestamptz NOT NULL,
    processed_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX payments_first ON payments (tx_ref) WHERE is_first;
CREATE INDEX payments_by_tx_ref ON payments (tx_ref);

-- What became of each stored report.
CREATE TABLE report_outcomes (
    report_id    uuid PRIMARY KEY,
    tx_ref       text NOT NULL,
    outcome      text NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX report_outcomes_by_tx_ref ON report_outcomes (tx_ref);

-- What a person must look at. A hold stops every command of the txRef until somebody resolves it.
CREATE TABLE exceptions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL,
    tx_ref           text NOT NULL,
    intent_id        bytea,
    receipt          text,
    amount_shillings numeric(20, 0),
    detail           text NOT NULL,
    is_hold          boolean NOT NULL,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    resolved_at      timestamptz,
    resolved_by      text,
    resolution       text,
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
CREATE INDEX exceptions_by_tx_ref ON exceptions (tx_ref);
-- The same exception is open once.
CREATE UNIQUE INDEX exceptions_one_open_per_kind ON exceptions (kind, tx_ref, coalesce(receipt, ''))
    WHERE resolved_at IS NULL;

CREATE TABLE decision_history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx_ref      text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    event       text NOT NULL,
    cause       text NOT NULL,
    message_id  uuid
);
CREATE INDEX decision_history_by_tx_ref ON decision_history (tx_ref, id);

CREATE TABLE reconcile_differences (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_at   timestamptz NOT NULL,
    kind     text NOT NULL,
    subject  text NOT NULL,
    detail   text NOT NULL
);

CREATE TABLE callback_inbox (
    queue       text NOT NULL,
    message_id  uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue, message_id)
);

CREATE TABLE callback_outbox (LIKE gateway_outbox INCLUDING ALL);
CREATE TABLE callback_pipeline_key_usage (LIKE gateway_pipeline_key_usage INCLUDING ALL);

GRANT SELECT, INSERT, UPDATE ON decisions, report_outcomes, callback_pipeline_key_usage TO fiatrails_callback;
GRANT SELECT, INSERT ON payments, exceptions, decision_history TO fiatrails_callback;
GRANT SELECT, INSERT, UPDATE, DELETE ON reconcile_differences, callback_inbox, callback_outbox TO fiatrails_callback;
GRANT SELECT ON decisions, payments, report_outcomes, exceptions, decision_history
    TO fiatrails_gateway, fiatrails_executor, fiatrails_ops;
GRANT SELECT ON reconcile_differences, callback_inbox, callback_outbox, callback_pipeline_key_usage TO fiatrails_ops;
-- An exception is resolved, by a person or by the late report that one accepted; nothing else of it ever changes.
GRANT UPDATE (resolved_at, resolved_by, resolution) ON exceptions TO fiatrails_callback, fiatrails_ops;

-- ---------------------------------------------------------------------------------------------------------------
-- The executor alone writes these. Rows say what was done; nothing is signed on the word of a row.

CREATE TABLE chain_legs (
    intent_id    bytea PRIMARY KEY CHECK (length(intent_id) = 32),
    tx_ref       text NOT NULL,
    -- The intent's fields as JSON; believed only when they hash to the id.
    preimage     text NOT NULL,
    leg          text NOT NULL,
    final        boolean NOT NULL DEFAULT false,
    -- Recorded at the first attempt; another signer takes over only when this one's nonces are final.
    signer       bytea CHECK (signer IS NULL OR length(signer) = 20),
    tx_hash      bytea CHECK (tx_hash IS NULL OR length(tx_hash) = 32),
    block_number bigint,
    reason       text,
    version      bigint NOT NULL DEFAULT 0,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    -- The W3C trace context of the first command, so that everything published about a leg later belongs to one
    -- trace. It is a hint: no decision reads it.
    trace_parent text
);
CREATE INDEX chain_legs_by_tx_ref ON chain_legs (tx_ref);
CREATE INDEX chain_legs_awaiting_finality ON chain_legs (block_number)
    WHERE leg IN ('executed', 'refunded') AND NOT final;
CREATE INDEX chain_legs_by_updated_at ON chain_legs (updated_at);
-- Intents whose deposit may never have been made: the executor looks at them once their payment window is over.
CREATE INDEX chain_legs_not_deposited ON chain_legs (intent_id) WHERE leg IN ('queued', 'submitting');

CREATE TABLE chain_leg_history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    intent_id   bytea NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    from_leg    text NOT NULL,
    to_leg      text NOT NULL,
    cause       text NOT NULL,
    tx_hash     bytea,
    message_id  uuid
);
CREATE INDEX chain_leg_history_by_intent ON chain_leg_history (intent_id, id);

-- When the callback service was last sent the outcome of a leg that it seems not to have heard, so that it is sent ever more
-- rarely. Of one version of the leg: what is new is sent at once.
CREATE TABLE outcome_redrives (
    intent_id     bytea PRIMARY KEY REFERENCES chain_legs (intent_id),
    leg_version   bigint NOT NULL,
    redrive_count integer NOT NULL,
    last_sent_at  timestamptz NOT NULL
);

-- A nonce is allocated here, never guessed by a node. The lease says who may.
CREATE TABLE signers (
    address       bytea PRIMARY KEY CHECK (length(address) = 20),
    next_nonce    bigint NOT NULL,
    lease_holder  uuid,
    lease_until   timestamptz,
    fencing_token bigint NOT NULL DEFAULT 0
);

-- The right to ingest blocks, for all signing keys at once. One row; the lease runs on the database's clock, like a
-- signer's.
CREATE TABLE block_follower_lease (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    lease_holder  uuid,
    lease_until   timestamptz,
    fencing_token bigint NOT NULL DEFAULT 0
);
INSERT INTO block_follower_lease DEFAULT VALUES;

-- A command taken from its queue. The sealed envelope is verified again whenever a call is built from it.
CREATE TABLE work_items (
    message_id          uuid PRIMARY KEY,
    intent_id           bytea NOT NULL,
    command             text NOT NULL CHECK (command IN ('submit', 'execute', 'refund')),
    state               text NOT NULL CHECK (state IN ('ready', 'in_attempt', 'done', 'parked')),
    envelope            bytea NOT NULL,
    -- Not before this time: the item waits for a deposit, or for a breaker.
    not_before          timestamptz NOT NULL DEFAULT now(),
    -- Upper bound of the batch this item may share; it halves when gas ran out.
    max_batch_size      integer,
    reason              text,
    -- The item is parked, but the broker has not confirmed the copy on the dead-letter queue yet.
    dead_letter_pending boolean NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Why an item was parked, in the bounded words of a dead letter; `reason` is the sentence.
    error_class         text
);
CREATE INDEX work_items_dead_letter_pending ON work_items (updated_at) WHERE dead_letter_pending;
CREATE INDEX work_items_ready ON work_items (command, not_before) WHERE state = 'ready';
CREATE INDEX work_items_parked ON work_items (updated_at) WHERE state = 'parked';
CREATE INDEX work_items_open ON work_items (intent_id) WHERE state IN ('ready', 'in_attempt');

CREATE TABLE attempts (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    signer              bytea NOT NULL REFERENCES signers (address),
    nonce               bigint NOT NULL,
    tx_hash             bytea NOT NULL UNIQUE CHECK (length(tx_hash) = 32),
    -- The signed bytes: what is broadcast, first time and every time.
    raw_transaction     bytea NOT NULL,
    command             text NOT NULL CHECK (command IN ('submit', 'execute', 'refund', 'fill_gap')),
    state               text NOT NULL CHECK (state IN ('signed', 'mined', 'final', 'superseded')),
    replaces_attempt_id bigint REFERENCES attempts (id),
    fencing_token       bigint NOT NULL,
    block_number        bigint,
    block_hash          bytea,
    created_at          timestamptz NOT NULL DEFAULT now(),
    last_broadcast_at   timestamptz
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
    block_time  timestamptz NOT NULL
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
    reported_at    timestamptz NOT NULL DEFAULT now(),
    rpc_connected  boolean NOT NULL,
    rpc_latency_ms integer,
    head           bigint,
    -- Why the executor refuses to work, if it does.
    blocked_reason text
);

CREATE TABLE executor_inbox (LIKE callback_inbox INCLUDING ALL);
CREATE TABLE executor_outbox (LIKE gateway_outbox INCLUDING ALL);
CREATE TABLE executor_pipeline_key_usage (LIKE gateway_pipeline_key_usage INCLUDING ALL);

GRANT SELECT, INSERT, UPDATE
    ON chain_legs, signers, work_items, attempts, attempt_items, executor_pipeline_key_usage TO fiatrails_executor;
GRANT SELECT, UPDATE ON block_follower_lease TO fiatrails_executor;
GRANT SELECT, INSERT ON chain_leg_history TO fiatrails_executor;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON outcome_redrives, blocks, escrow_events, executor_heartbeats, executor_inbox, executor_outbox
    TO fiatrails_executor;
GRANT SELECT ON chain_legs, chain_leg_history, work_items, attempts, attempt_items, escrow_events, executor_heartbeats
    TO fiatrails_gateway, fiatrails_callback, fiatrails_ops;
GRANT SELECT
    ON signers, block_follower_lease, outcome_redrives, blocks, executor_inbox, executor_outbox,
       executor_pipeline_key_usage
    TO fiatrails_ops;
-- The gateway judges the health of the executors by whoever holds the lease.
GRANT SELECT (lease_holder, lease_until) ON signers TO fiatrails_gateway;

-- ---------------------------------------------------------------------------------------------------------------
-- Operators write these through the command line. An act that can move money is a sealed message in `ops_outbox`,
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
    scope      text PRIMARY KEY CHECK (scope IN ('intake', 'submit', 'execute', 'refund')),
    halted     boolean NOT NULL,
    reason     text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL,
    target      text NOT NULL,
    reason      text NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_by_target ON audit_log (target, action);

CREATE TABLE ops_outbox (LIKE gateway_outbox INCLUDING ALL);

-- What operators decided about a signing key: a key without a row is active. A state can hold work back or let it go
-- to another key; it signs nothing, and gives no key a right that it does not have on chain.
CREATE TABLE signer_admin_states (
    address    bytea PRIMARY KEY CHECK (length(address) = 20),
    state      text NOT NULL CHECK (state IN ('active', 'draining', 'retired')),
    reason     text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- What operators, and the automatic replay, did to dead letters: one row for each entry, written before the action
-- and marked after it. A row that stayed 'started' is an action that died half-way; doing it again is safe.
CREATE TABLE dead_letter_actions (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id          uuid NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor           text NOT NULL,
    reason          text NOT NULL,
    -- A rule decided it, not a person.
    is_automatic    boolean NOT NULL,
    action          text NOT NULL CHECK (action IN ('replay', 'close', 'discard', 'reseal')),
    queue           text NOT NULL,
    entry_id        text NOT NULL,
    message_id      uuid,
    -- Of a replay: the message that went out instead.
    new_message_id  uuid,
    intent_id       bytea CHECK (intent_id IS NULL OR length(intent_id) = 32),
    tx_ref          text,
    error_class     text NOT NULL,
    -- Of a close: what is done already.
    note            text,
    state           text NOT NULL DEFAULT 'started' CHECK (state IN ('started', 'done', 'failed')),
    error           text,
    finished_at     timestamptz,
    -- The replay was parked in its turn.
    parked_again_at timestamptz
);
CREATE INDEX dead_letter_actions_by_entry ON dead_letter_actions (entry_id);
CREATE INDEX dead_letter_actions_by_new_message ON dead_letter_actions (new_message_id)
    WHERE new_message_id IS NOT NULL;
CREATE INDEX dead_letter_actions_automatic ON dead_letter_actions (started_at) WHERE is_automatic;

-- MACs of stored intents that an operator made anew because their key is to go; the row itself is evidence and is
-- never rewritten. Without a stored-answer key, which the database does not hold, all that can be made here is an
-- intent that is refused.
CREATE TABLE renewed_intent_macs (
    intent_id  bytea PRIMARY KEY REFERENCES mint_intents CHECK (length(intent_id) = 32),
    mac_key_id text NOT NULL,
    mac        bytea NOT NULL CHECK (length(mac) = 32)
);

GRANT SELECT, INSERT, UPDATE ON halts, signer_admin_states TO fiatrails_ops;
-- A key's owner and window are for ever, and so is a prefix: changing one would hand payments to somebody else.
GRANT SELECT, INSERT ON api_keys, tx_ref_prefixes TO fiatrails_ops;
GRANT UPDATE (state, updated_at) ON api_keys TO fiatrails_ops;
GRANT SELECT, INSERT ON audit_log, dead_letter_actions, renewed_intent_macs TO fiatrails_ops;
GRANT UPDATE (state, error, finished_at, parked_again_at) ON dead_letter_actions TO fiatrails_ops;
GRANT UPDATE (mac_key_id, mac) ON renewed_intent_macs TO fiatrails_ops;
GRANT SELECT, INSERT, UPDATE, DELETE ON ops_outbox TO fiatrails_ops;
GRANT SELECT ON api_keys, tx_ref_prefixes, halts TO fiatrails_gateway, fiatrails_callback, fiatrails_executor;
GRANT SELECT ON signer_admin_states TO fiatrails_executor;
GRANT SELECT ON renewed_intent_macs TO fiatrails_gateway;

-- The callback service halts executes by itself when it sees a mint without a payment. This is all it may do to
-- switches and audit: it can stop, never resume, and it signs with its own name.
CREATE FUNCTION halt_executes(halt_reason text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
        WITH changed AS (
            INSERT INTO halts (scope, halted, reason, changed_by) VALUES ('execute', true, halt_reason, 'callback')
            ON CONFLICT (scope) DO UPDATE
                SET halted = true, reason = excluded.reason, changed_by = excluded.changed_by, changed_at = now()
                WHERE NOT halts.halted
            RETURNING scope
        ), audited AS (
            INSERT INTO audit_log (actor, action, target, reason)
                SELECT 'callback', 'halt', scope, halt_reason FROM changed
        )
        SELECT EXISTS (SELECT FROM changed)
    $$;
REVOKE ALL ON FUNCTION halt_executes(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION halt_executes(text) TO fiatrails_callback;
