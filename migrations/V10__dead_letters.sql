-- What operators, and the automatic replay, did to dead letters: one row for each entry, written before the act and
-- marked after it. A row that stayed 'begun' is an act that died half-way; doing it again is safe.
CREATE TABLE dead_letter_acts (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         uuid NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    who            text NOT NULL,
    why            text NOT NULL,
    -- Decided by a rule, not by a person.
    automatic      boolean NOT NULL,
    act            text NOT NULL CHECK (act IN ('replay', 'close', 'discard', 'reseal')),
    queue          text NOT NULL,
    entry_id       text NOT NULL,
    message_id     uuid,
    -- Of a replay: the message that went out instead.
    new_message_id uuid,
    intent_id      bytea CHECK (intent_id IS NULL OR length(intent_id) = 32),
    tx_ref         text,
    class          text NOT NULL,
    -- Of a close: what is done already.
    note           text,
    state          text NOT NULL DEFAULT 'begun' CHECK (state IN ('begun', 'done', 'failed')),
    error          text,
    ended_at       timestamptz,
    -- The replay was parked in its turn.
    came_back_at   timestamptz
);
CREATE INDEX dead_letter_acts_by_entry ON dead_letter_acts (entry_id);
CREATE INDEX dead_letter_acts_by_new ON dead_letter_acts (new_message_id) WHERE new_message_id IS NOT NULL;
CREATE INDEX dead_letter_acts_automatic ON dead_letter_acts (at) WHERE automatic;

GRANT SELECT, INSERT ON dead_letter_acts TO fiatrails_ops;
GRANT UPDATE (state, error, ended_at, came_back_at) ON dead_letter_acts TO fiatrails_ops;
