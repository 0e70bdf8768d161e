#!/bin/bash
# Makes what the experiment's three guests boot from: one Debian with the three
# services in DIR/root.img, its kernel in DIR/vmlinuz, and a first program with
# the drivers it needs in DIR/initrd.gz. What is there stays until this text or
# a file beside it changes. Usage: build.sh DIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1"
made_from=$(cd "$here" && find . -type f | sort | xargs sha256sum | sha256sum)
[[ -e made-from && $(cat made-from) = "$made_from" ]] && exit 0
rm -f made-from
work=$(mktemp -d -p .)
trap 'rm -rf "$work"' EXIT
root=$work/root

# Whatever a guest that lives for minutes can do without.
mask=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer
  dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
  sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount kmod-static-nodes.service ldconfig.service systemd-binfmt.service
  systemd-firstboot.service systemd-hwdb-update.service systemd-journal-catalog-update.service systemd-journal-flush.service
  systemd-logind.service systemd-machine-id-commit.service systemd-modules-load.service systemd-pstore.service
  systemd-random-seed.service systemd-remount-fs.service systemd-sysusers.service systemd-timesyncd.service
  systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
  systemd-update-utmp.service modprobe@.service systemd-sysctl.service systemd-tmpfiles-setup-dev.service systemd-repart.service
  systemd-ask-password-console.path systemd-ask-password-wall.path)

# An image that another kernel's initramfs-tools would spend half a minute on is not needed.
no_initramfs='mkdir -p "$1/etc/initramfs-tools"; echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"'
# The log goes to a file first: a listener in a pipe would keep Ctrl-C from mmdebstrap.
if ! mmdebstrap --quiet --variant=minbase \
  --include=systemd,systemd-sysv,busybox-static,linux-image-cloud-amd64,vsftpd,nginx-light,libnginx-mod-rtmp,apache2 \
  --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt=force-unsafe-io --dpkgopt=force-confold --essential-hook="$no_initramfs" \
  bookworm "$root" "${SLUICE_DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1; then
  tail -n 20 "$work/log" >&2
  echo "the guests' Debian could not be put together" >&2
  exit 1
fi

cp -r "$here/etc/." "$root/etc/"
for unit in "${mask[@]}"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
mkdir -p "$root/etc/systemd/system-generators" # a program each that would run before anything else
for generator in "$root"/lib/systemd/system-generators/*; do ln -s /dev/null "$root/etc/systemd/system-generators/$(basename "$generator")"; done
mkdir -p "$root/srv/ftp"
truncate -s 4G "$root/srv/ftp/disk.iso" # takes no room, neither here nor in the guest
head -c 32768 /dev/urandom >"$root/var/www/html/page"

# The drivers that the first program loads, in the order they need each other.
first=$work/first
mkdir -p "$first"/{bin,lib,proc,sys,dev,root,run}
release=$(basename "$root"/lib/modules/*)
cp "$root/bin/busybox" "$first/bin/busybox"
cp "$here/init" "$first/init"
chmod 755 "$first/init"
for module in virtio_blk virtio_net virtio_console virtio-rng virtio_pci; do
  modprobe -d "$root" -S "$release" --show-depends "$module" | awk '/^insmod/ { print $2 }'
done | awk '!seen[$0]++' | while read -r file; do
  case $file in *.ko) cp "$file" "$first/lib/" ;; *.xz) xz -dc "$file" >"$first/lib/$(basename "$file" .xz)" ;; esac
  basename "${file%.xz}" >>"$first/lib/order"
done
(cd "$first" && find . | cpio --quiet -o -H newc) | gzip >initrd.gz

cp "$root/boot/vmlinuz-$release" vmlinuz
rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
rm -f root.img
truncate -s 1G root.img
mkfs.ext4 -q -O ^has_journal -d "$root" root.img
echo "$made_from" >made-from
