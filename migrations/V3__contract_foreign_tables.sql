-- A service reads the tables of others by the views of `published` alone. Operators read every table.

REVOKE SELECT ON mint_intents, mpesa_reports FROM fiatrails_callback, fiatrails_executor;
REVOKE SELECT ON decisions, payments, report_outcomes, exceptions, decision_history
    FROM fiatrails_gateway, fiatrails_executor;
REVOKE SELECT ON chain_legs, chain_leg_history, work_items, attempts, attempt_items, escrow_events, executor_heartbeats
    FROM fiatrails_gateway, fiatrails_callback;
REVOKE SELECT (lease_holder, lease_until) ON signers FROM fiatrails_gateway;
REVOKE SELECT ON api_keys, tx_ref_prefixes, halts FROM fiatrails_gateway, fiatrails_callback, fiatrails_executor;
REVOKE SELECT ON signer_admin_states FROM fiatrails_executor;
REVOKE SELECT ON renewed_intent_macs FROM fiatrails_gateway;
