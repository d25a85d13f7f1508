#!/usr/bin/env bash
# Installs the proxies that `make proxies` runs Tidewire behind: Debian's packages, some 30 MB.
# Says what it does, does nothing twice, and starts nothing: no service runs afterwards, and none
# that this script brought will run at the next boot.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin

# Program, package, its service. Apache comes without one: `apache2-bin` is only the programs.
TABLE='
nginx     nginx        nginx.service
haproxy   haproxy      haproxy.service
apache2   apache2-bin  -
varnishd  varnish      varnish.service varnishncsa.service
caddy     caddy        caddy.service
lighttpd  lighttpd     lighttpd.service
squid     squid        squid.service
c-icap    c-icap       c-icap.service
privoxy   privoxy      privoxy.service privoxy-cleanup.timer
mitmdump  mitmproxy    -
'

packages=()
services=()
while read -r program package units; do
  [ -n "$program" ] || continue
  command -v "$program" >/dev/null && continue
  packages+=("$package")
  for unit in $units; do [ "$unit" = - ] || services+=("$unit"); done
done <<<"$TABLE"
[ ${#packages[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi

# Debian's packages ask `policy-rc.d` before they start a service. Ours says no, for as long as the
# installation takes; a policy that is there already comes back afterwards.
policy=/usr/sbin/policy-rc.d
kept=$policy.before-tidewire
restore() {
  "${as_root[@]}" rm -f "$policy"
  if [ -e "$kept" ]; then "${as_root[@]}" mv "$kept" "$policy"; fi
}
if [ "$("$policy" 2>/dev/null; echo $?)" != 101 ]; then
  if [ -e "$policy" ] && [ ! -e "$kept" ]; then "${as_root[@]}" mv "$policy" "$kept"; fi
  trap restore EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi

scripts/apt-install.sh "proxies to test behind" "${packages[@]}"

if [ ${#services[@]} -gt 0 ] && command -v systemctl >/dev/null; then
  for unit in "${services[@]}"; do "${as_root[@]}" systemctl --quiet disable "$unit" 2>/dev/null || true; done
fi
