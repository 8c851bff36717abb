-- Written by the executor alone.

-- Intents whose deposit may never have been made: looked at once their payment window is over.
CREATE INDEX chain_legs_not_deposited ON chain_legs (intent_id) WHERE leg IN ('queued', 'submitting');

-- When the decider was last told about a leg that it seems deaf to, so that it is told ever more rarely. Of one
-- version of the leg: what is new is told at once.
CREATE TABLE executor_redrives (
    intent_id    bytea PRIMARY KEY REFERENCES chain_legs (intent_id),
    leg_version  bigint NOT NULL,
    times        integer NOT NULL,
    last_sent_at timestamptz NOT NULL
);

-- Why an item was parked, in the bounded words of a dead letter; `reason` is the sentence.
ALTER TABLE work_items ADD COLUMN class text;
-- Never counted anything: the attempts of an item are its rows in attempt_items.
ALTER TABLE work_items DROP COLUMN attempts;

GRANT SELECT, INSERT, UPDATE, DELETE ON executor_redrives TO fiatrails_executor;
GRANT SELECT ON executor_redrives TO fiatrails_ops;
