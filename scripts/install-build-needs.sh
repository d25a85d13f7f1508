#!/usr/bin/env bash
# Installs what a build needs beside Rust: a C compiler, because the TLS library has C in it.
# Does nothing where there is one.
set -euo pipefail

if command -v cc >/dev/null; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "A C compiler is missing: please install one (cc)." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
echo "No C compiler found: installing Debian's gcc and libc6-dev."
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev
