-- What a service shows of its tables stands in the schema `published`. Each view reads the tables of one writer and
-- lists its columns: the writer may change whatever it does not publish. Like the tables, the views belong to the
-- database's owner, because the owner of a view may drop it. The planner puts a view's query in the place of its name,
-- so reading by a view costs nothing.

CREATE SCHEMA published;
GRANT USAGE ON SCHEMA published TO fiatrails_gateway, fiatrails_callback, fiatrails_executor, fiatrails_ops;

-- The gateway's.
CREATE VIEW published.mint_intents AS
    SELECT intent_id, chain_id, escrow, depositor, user_address, amount, country_code, tx_ref, trace_parent, created_at
    FROM public.mint_intents;
CREATE VIEW published.mpesa_reports AS
    SELECT report_id, tx_ref, body, timestamp_header, signature_header, path, query, received_at
    FROM public.mpesa_reports;

-- The callback service's.
CREATE VIEW published.decisions AS
    SELECT tx_ref, chain_leg, chain_final, payment_leg, mint_refused, updated_at FROM public.decisions;
CREATE VIEW published.payments AS
    SELECT receipt, tx_ref, amount_shillings, is_first, received_at FROM public.payments;
CREATE VIEW published.report_outcomes AS SELECT report_id, outcome FROM public.report_outcomes;
CREATE VIEW published.decision_history AS SELECT tx_ref, occurred_at, event FROM public.decision_history;

-- The executor's.
CREATE VIEW published.chain_legs AS
    SELECT intent_id, tx_ref, leg, final, tx_hash, block_number, reason, updated_at FROM public.chain_legs;
CREATE VIEW published.chain_leg_history AS
    SELECT intent_id, occurred_at, to_leg, tx_hash FROM public.chain_leg_history;
CREATE VIEW published.work_items AS
    SELECT message_id, intent_id, command, state, error_class, reason, updated_at FROM public.work_items;
-- The commands of an intent that were ever signed.
CREATE VIEW published.signed_commands AS
    SELECT i.intent_id, a.command FROM public.attempt_items i JOIN public.attempts a ON a.id = i.attempt_id;
CREATE VIEW published.escrow_events AS SELECT intent_id, kind, amount FROM public.escrow_events;
CREATE VIEW published.executors AS
    SELECT b.instance, b.reported_at, b.rpc_connected, b.rpc_latency_ms, b.blocked_reason,
           EXISTS (SELECT FROM public.signers s
                   WHERE s.lease_holder = b.instance AND s.lease_until > clock_timestamp()) AS holds_lease
    FROM public.executor_heartbeats b;

-- The operators'.
CREATE VIEW published.api_keys AS
    SELECT key_id, purpose, owner, not_before, not_after, state FROM public.api_keys;
CREATE VIEW published.tx_ref_prefixes AS SELECT prefix, owner FROM public.tx_ref_prefixes;
CREATE VIEW published.halts AS SELECT scope, halted, reason, changed_by FROM public.halts;
CREATE VIEW published.signer_admin_states AS SELECT address, state FROM public.signer_admin_states;
CREATE VIEW published.renewed_intent_macs AS SELECT intent_id, mac_key_id, mac FROM public.renewed_intent_macs;

GRANT SELECT
    ON published.decisions, published.payments, published.report_outcomes, published.decision_history,
       published.chain_legs, published.chain_leg_history, published.work_items, published.executors,
       published.api_keys, published.tx_ref_prefixes, published.halts, published.renewed_intent_macs
    TO fiatrails_gateway;
GRANT SELECT
    ON published.mint_intents, published.mpesa_reports, published.chain_legs, published.work_items,
       published.signed_commands, published.escrow_events, published.api_keys, published.halts
    TO fiatrails_callback;
GRANT SELECT
    ON published.mint_intents, published.decisions, published.signer_admin_states, published.halts
    TO fiatrails_executor;
GRANT SELECT ON published.halts TO fiatrails_ops;
