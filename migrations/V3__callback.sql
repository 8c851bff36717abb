-- Written by the callback service alone (operators act through sealed messages and their own tables).

-- One row per txRef: the lock under which every decision is made. `intent_id` is null for an orphan payment.
CREATE TABLE decisions (
    tx_ref           text PRIMARY KEY,
    intent_id        bytea CHECK (intent_id IS NULL OR length(intent_id) = 32),
    -- The decider's copy of the chain leg, written from mint.outcome only.
    chain_leg        text NOT NULL DEFAULT 'queued',
    chain_final      boolean NOT NULL DEFAULT false,
    -- Of the last outcome that was believed; an outcome with a smaller one is old.
    chain_sequence   bigint,
    payment_leg      text NOT NULL DEFAULT 'awaiting',
    refused          boolean NOT NULL DEFAULT false,
    -- At most one live command.
    live_command     text CHECK (live_command IN ('execute', 'refund')),
    live_message_id  uuid,
    live_since       timestamptz,
    refund_commanded boolean NOT NULL DEFAULT false,
    -- How often the live command was sent again.
    redrives         integer NOT NULL DEFAULT 0,
    version          bigint NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
-- Facts that ask for a command which is not out yet.
CREATE INDEX decisions_undecided ON decisions (updated_at)
    WHERE live_command IS NULL AND chain_leg IN ('queued', 'submitting', 'escrowed');
CREATE INDEX decisions_live ON decisions (live_since) WHERE live_command IS NOT NULL;
CREATE INDEX decisions_waiting ON decisions (created_at) WHERE payment_leg = 'awaiting';

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

-- What a person must look at. `holds` stops every command of the txRef until resolved.
CREATE TABLE exceptions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL,
    tx_ref           text NOT NULL,
    intent_id        bytea,
    receipt          text,
    amount_shillings numeric(20, 0),
    detail           text NOT NULL,
    holds            boolean NOT NULL,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    resolved_at      timestamptz,
    resolved_by      text,
    resolution       text,
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
CREATE INDEX exceptions_by_tx_ref ON exceptions (tx_ref);
-- The same trouble is opened once.
CREATE UNIQUE INDEX exceptions_once ON exceptions (kind, tx_ref, coalesce(receipt, '')) WHERE resolved_at IS NULL;

CREATE TABLE decision_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx_ref     text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    what       text NOT NULL,
    cause      text NOT NULL,
    message_id uuid
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

GRANT SELECT, INSERT, UPDATE ON decisions, report_outcomes TO fiatrails_callback;
GRANT SELECT, INSERT ON payments, exceptions, decision_history TO fiatrails_callback;
GRANT SELECT, INSERT, UPDATE, DELETE ON reconcile_differences, callback_inbox, callback_outbox TO fiatrails_callback;
GRANT SELECT ON decisions, payments, report_outcomes, exceptions, decision_history TO fiatrails_gateway, fiatrails_executor, fiatrails_ops;
GRANT SELECT ON reconcile_differences, callback_inbox, callback_outbox TO fiatrails_ops;
-- An exception is resolved, by a person or by the late report that one accepted; nothing else of it ever changes.
GRANT UPDATE (resolved_at, resolved_by, resolution) ON exceptions TO fiatrails_callback, fiatrails_ops;
