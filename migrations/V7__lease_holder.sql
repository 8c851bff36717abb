-- The gateway judges the health of the executors by whoever holds the lease.
GRANT SELECT (lease_holder, lease_until) ON signers TO fiatrails_gateway;
