-- MACs of stored intents that an operator made anew because their key is to go; the row itself is evidence and never
-- rewritten. Without a stored-answer key, which the database does not hold, all that can be made here is an intent
-- that is refused.
CREATE TABLE intent_macs (
    intent_id  bytea PRIMARY KEY REFERENCES mint_intents CHECK (length(intent_id) = 32),
    mac_key_id text NOT NULL,
    mac        bytea NOT NULL CHECK (length(mac) = 32)
);

GRANT SELECT, INSERT ON intent_macs TO fiatrails_ops;
GRANT UPDATE (mac_key_id, mac) ON intent_macs TO fiatrails_ops;
GRANT SELECT ON intent_macs TO fiatrails_gateway;
