#!/bin/bash
# Makes the packages into DIR: .deb and .rpm of sluice and of sluice-guest, for amd64 and arm64.
# Usage: build.sh DIR VERSION [ARCH...]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1 VERSION=$2
shift 2
arches=("${@:-amd64}")
(($#)) || arches=(amd64 arm64)
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
mkdir -p "$out" "$STAGE"/{man/sluice,completion}
format=$(awk '$1 == "const" && $2 == "stateFormat" { print $4 }' cmd/sluice/format.go)
for script in packaging/scripts/*; do sed "s/@FORMAT@/$format/g" "$script" >"$STAGE/$(basename "$script")"; done
# A day of its own, so that the same source makes the same package.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

go run -tags man ./cmd/sluice man "$STAGE/man/sluice"
cp packaging/sluice-guest.8 "$STAGE/man/"
gzip -9n "$STAGE"/man/sluice/*.1 "$STAGE/man/sluice-guest.8"
for shell in bash zsh fish; do
  case $shell in bash) name=sluice.bash ;; zsh) name=_sluice ;; fish) name=sluice.fish ;; esac
  go run ./cmd/sluice completion $shell >"$STAGE/completion/$name"
done
gzip -9nc CHANGELOG.md >"$STAGE/changelog.gz"
for program in sluice sluice-guest; do
  printf '%s (%s-1) unstable; urgency=medium\n\n  * /usr/share/doc/%s/changelog.gz says what is new.\n\n -- Sluice maintainers <sluice@users.noreply.github.com>  %s\n' \
    $program "$VERSION" $program "$(date -Ru -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$STAGE/$program.changelog.gz"
  # A Go program without C needs no library.
  echo "$program: statically-linked-binary [usr/bin/$program]" >"$STAGE/$program.overrides"
done
{
  echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
  echo "Upstream-Name: sluice"
  echo
  echo "Files: *"
  echo "Copyright: 2026 the Sluice maintainers"
  echo "License: Apache-2.0"
  echo " On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0."
} >"$STAGE/copyright"

for ARCH in "${arches[@]}"; do
  mkdir -p "$STAGE/$ARCH"
  for program in sluice sluice-guest; do
    CGO_ENABLED=0 GOARCH=$ARCH go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$STAGE/$ARCH/$program" ./cmd/$program
    sed "s,\${STAGE},$STAGE,; s,\${ARCH},$ARCH,; s,\${VERSION},$VERSION," packaging/$program.yaml >"$STAGE/$program.yaml"
    for kind in deb rpm; do
      go tool -modfile=packaging/tools.mod nfpm package --config "$STAGE/$program.yaml" --packager $kind --target "$out/" >"$STAGE/log" 2>&1 || { cat "$STAGE/log" >&2; exit 1; }
    done
  done
done
