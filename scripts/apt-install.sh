#!/usr/bin/env bash
# apt-install.sh WHAT PACKAGE…: installs Debian packages, because WHAT is missing. As root or by sudo.
set -euo pipefail
what=$1
shift
if ! command -v apt-get >/dev/null; then
  echo "Missing: $what. This is no Debian, so please install it by hand." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
echo "Missing: $what. Installing Debian's $*."
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
