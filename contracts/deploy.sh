#!/bin/sh
# deploy.sh RPC_URL OUT_JSON: deploys everything and writes the addresses to OUT_JSON.
#
# Every value may be set in the environment (see README.md). The defaults are for development only: the
# accounts of the well-known test mnemonic "test test test test test test test test test test test junk",
# whose keys are public test vectors and must never hold anything of worth.
#
# deploy.sh --production RPC_URL OUT_JSON: the same where money is real. Nothing has a default; MULTISIG
# administers, a timelock of its own upgrades, and DEPLOYER_KEY ends without a role.
set -eu
script=Deploy
if [ "${1:-}" = --production ]; then
    script=Production
    shift
    : "${DEPLOYER_KEY:?is not set}" "${MULTISIG:?is not set}" "${STABLECOIN:?is not set}" "${TREASURY:?is not set}"
    : "${PAUSER:?is not set}" "${COMPLIANCE_OFFICER:?is not set}" "${EXECUTOR:?is not set}"
fi
if [ $# -ne 2 ]; then
    echo "usage: $0 [--production] RPC_URL OUT_JSON" >&2
    exit 2
fi

if [ -z "${DEPLOYER_KEY:-}" ]; then
    account0=0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266
    account1=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    account2=0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC
    account3=0x90F79bf6EB2c4f870365E785982E1f101E93b906
    account4=0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65
    account5=0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc
    DEPLOYER_KEY=0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80
    : "${ADMIN:=$account0}" "${COMPLIANCE_OFFICER:=$account0}"
    : "${EXECUTOR:=$account1,$account2,$account3,$account4}"
    : "${ADMIN_DELAY:=0}"
    if [ -z "${TREASURY:-}" ]; then
        TREASURY=$account5
        : "${TREASURY_KEY:=0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba}"
        export TREASURY_KEY
    fi
    export DEPLOYER_KEY ADMIN COMPLIANCE_OFFICER EXECUTOR ADMIN_DELAY TREASURY
fi
exec "$(dirname "$0")/tools/run-script" "$script" "$1" "$2"
