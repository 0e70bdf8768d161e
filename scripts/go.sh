#!/bin/bash
# Says whether this machine's Go can build Sluice, and what to do if not.
# Go before 1.21 cannot fetch the version that go.mod names; from 1.21 on it does, unless GOTOOLCHAIN=local.
set -euo pipefail
want=$(awk '$1 == "go" { print $2 }' "$(dirname "$0")/../go.mod")
minor=${want#*.}; minor=${minor%%.*}
say() {
  echo "sluice needs Go $want: $1" >&2
  echo "nothing was built (try: https://go.dev/dl/; or as root on Debian 12: apt-get install -t bookworm-backports golang-go, if that is 1.21 or later)" >&2
  exit 1
}
command -v go >/dev/null || say "there is no go in PATH"
have=$(GOTOOLCHAIN=local go version | awk '{ sub("^go", "", $3); print $3 }') # "go version go1.19.8 linux/amd64"
h=${have#*.}; h=${h%%[!0-9]*}
[[ $have == 1.* && $h =~ ^[0-9]+$ ]] || exit 0 # a development version, or Go 2
((h >= minor)) && exit 0
((h < 21)) && say "$(command -v go) is $have, which cannot fetch it"
case $(go env GOTOOLCHAIN) in
  local) say "$(command -v go) is $have, and GOTOOLCHAIN=local forbids it to fetch $want: unset it, or set GOTOOLCHAIN=auto" ;;
esac
echo "Go $have fetches Go $want by itself (GOTOOLCHAIN=auto) ..." >&2
