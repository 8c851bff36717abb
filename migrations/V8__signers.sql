-- Several signing keys share the work, and one executor follows the chain for all of them.

-- The right to take in blocks. One row; the lease runs on the database's clock, like a signer's.
CREATE TABLE follower (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    lease_holder  uuid,
    lease_until   timestamptz,
    fencing_token bigint NOT NULL DEFAULT 0
);
INSERT INTO follower DEFAULT VALUES;
GRANT SELECT, UPDATE ON follower TO fiatrails_executor;
GRANT SELECT ON follower TO fiatrails_ops;

-- The ring of keys that hold a lease decides who works on what; a number per process is needed no longer.
-- An executor of before, which takes in blocks under a signer's lease, must not do so beside the follower: without the
-- column it cannot win a lease, and the one it has ends here.
ALTER TABLE signers DROP COLUMN shard;
UPDATE signers SET lease_until = NULL, fencing_token = fencing_token + 1;

-- What operators want of a key: a key without a row is active. It can hold work back or let it go to another key;
-- it signs nothing, and gives no key a right that it does not have on chain.
CREATE TABLE signer_orders (
    address    bytea PRIMARY KEY CHECK (length(address) = 20),
    state      text NOT NULL CHECK (state IN ('active', 'draining', 'retired')),
    reason     text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON signer_orders TO fiatrails_ops;
GRANT SELECT ON signer_orders TO fiatrails_executor;
