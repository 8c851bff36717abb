#!/bin/sh
# upgrade.sh RPC_URL SYSTEM_JSON CONTRACT OUT_JSON: deploys this checkout's CONTRACT (MintEscrow, ComplianceManager
# or UserRegistry), tries the upgrade and its rollback on a copy of the chain's state, and writes the calls with
# which the multisig brings it about. Changes nothing by itself. docs/CONTRACTS.md has the whole procedure.
#   DEPLOYER_KEY  pays for the deployment and gets no power
#   MIGRATION     calldata the new code is called with in the same transaction; default none
#
# upgrade.sh --rollback RPC_URL UPGRADE_JSON OUT_JSON: writes the calls that take that upgrade back.
set -eu
run=$(dirname "$0")/tools/run-script
if [ "${1:-}" = --rollback ] && [ $# -eq 4 ]; then
    PLAN=$(cat "$3") exec "$run" Rollback "$2" "$4"
elif [ $# -eq 4 ]; then
    : "${DEPLOYER_KEY:?is not set}"
    export DEPLOYER_KEY
    SYSTEM=$(cat "$2") CONTRACT=$3 MIGRATION=${MIGRATION:-0x} exec "$run" Upgrade "$1" "$4"
fi
echo "usage: $0 RPC_URL SYSTEM_JSON CONTRACT OUT_JSON | $0 --rollback RPC_URL UPGRADE_JSON OUT_JSON" >&2
exit 2
