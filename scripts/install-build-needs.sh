#!/usr/bin/env bash
# Installs what a build needs beside Rust: a C compiler, because the TLS library has C in it.
# Does nothing where there is one.
set -euo pipefail
cd "$(dirname "$0")"

command -v cc >/dev/null || ./apt-install.sh "a C compiler (cc)" gcc libc6-dev
