#!/usr/bin/env bash
# Installs what the tests need beside Rust and Node: a C compiler, a Chromium, and the packages of
# package-lock.json. Says what it does, and does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-build-needs.sh

have_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}
if ! have_chromium; then
  if ! command -v apt-get >/dev/null; then
    echo "No Chromium found: please install one, or say where it is with CHROMIUM=/path." >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
  echo "No Chromium found: installing Debian's chromium and a font."
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
fi

echo "Installing the npm packages of package-lock.json."
npm ci --no-audit --no-fund
