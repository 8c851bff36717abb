#!/bin/sh
# Installs the pinned npm packages (compiler, forge, anvil, libraries) when they are missing or stale.
# The mark is a copy of the lock file the installation was made from.
set -eu
cd "$(dirname "$0")"
mark=node_modules/.installed-lock
if [ -f "$mark" ] && cmp -s package-lock.json "$mark"; then
    exit 0
fi
npm ci --ignore-scripts --no-audit --no-fund
cp package-lock.json "$mark"
