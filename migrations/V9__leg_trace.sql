-- The W3C trace context of the first command, so that everything told about a leg later belongs to one trace. A hint:
-- nothing is decided by it.
ALTER TABLE chain_legs ADD COLUMN trace_parent text;
