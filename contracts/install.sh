#!/bin/sh
# Installs the pinned npm packages (compiler, forge, anvil, libraries) when they are missing or stale.
# The mark is a copy of the lock file the installation was made from.
set -eu
cd "$(dirname "$0")"
mark=node_modules/.installed-lock

fresh() { [ -f "$mark" ] && cmp -s package-lock.json "$mark"; }
install() {
    # Asked again: whoever held the lock before may have done the work.
    fresh && return
    npm ci --ignore-scripts --no-audit --no-fund
    cp package-lock.json "$mark"
}

fresh && exit 0
if command -v flock >/dev/null; then
    mkdir -p cache
    (flock 9 && install) 9>cache/.install-lock
else
    install
fi
