#!/usr/bin/env bash
# Installs what the tests need beside Rust and Node: a C compiler, valgrind, a Chromium, a Firefox,
# and the packages of package-lock.json. Says what it does, and does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-build-needs.sh

command -v valgrind >/dev/null || scripts/apt-install.sh "valgrind" valgrind

have_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}
have_chromium || scripts/apt-install.sh "Chromium (or say where it is with CHROMIUM=/path)" chromium fonts-dejavu-core

have_firefox() {
  [ -n "${FIREFOX:-}" ] || command -v firefox-esr >/dev/null || command -v firefox >/dev/null
}
have_firefox || scripts/apt-install.sh "Firefox (or say where it is with FIREFOX=/path)" firefox-esr fonts-dejavu-core

echo "Installing the npm packages of package-lock.json."
npm ci --no-audit --no-fund
