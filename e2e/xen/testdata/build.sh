#!/bin/bash
# Builds a Xen host to boot under QEMU: Xen 4.17, a Debian dom0 with xl, oxenstored and
# netback, and a small PV guest. Everything comes from Debian's packages.
# Usage: build.sh DIR      DIR: an empty folder; needs 2 GB there for the time being
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cd "$1"

newest() { apt-cache depends "$1" | awk '/Depends: linux-image-/ {print $2; exit}'; }
dom0_kernel=$(newest linux-image-amd64)        # the general kernel, which has Xen's back-ends
guest_kernel=$(newest linux-image-cloud-amd64) # the small one, which has netfront
apt-get -o APT::Sandbox::User=root download busybox-static xen-hypervisor-4.17-amd64 "$dom0_kernel" "$guest_kernel" >/dev/null
mkdir host guest
dpkg -x xen-hypervisor-4.17-amd64_*.deb host
dpkg -x "$dom0_kernel"_*.deb host
dpkg -x "$guest_kernel"_*.deb guest
dpkg -x busybox-static_*.deb guest
dom0_version=${dom0_kernel#linux-image-}
guest_version=${guest_kernel#linux-image-}
depmod -b host "$dom0_version"
gunzip -c host/boot/xen-4.17-amd64.gz >xen
cp "host/boot/vmlinuz-$dom0_version" vmlinuz

pack() { (cd "$1" && find . | cpio --quiet -o -H newc | gzip -1); }

# The PV guest: busybox, iperf3, the front-end's module and an init.
mkdir -p g/{bin,proc,sys,dev,tmp,run,usr/bin}
cp guest/bin/busybox /usr/bin/iperf3 g/bin/
for library in $(ldd /usr/bin/iperf3 | grep -o '/[^ ]*'); do install -D "$library" "g$library"; done
cp "$(find guest/lib/modules -name xen-netfront.ko)" g/
install -m 755 "$here/guest-init" g/init

# dom0's disk
mmdebstrap --quiet --variant=minbase --include=xen-utils-4.17,xenstore-utils,iproute2,iperf3,kmod,procps,iputils-ping,udev bookworm rootfs
modules=rootfs/lib/modules/$dom0_version
mkdir -p "$modules/kernel/drivers" rootfs/guest rootfs/job
for part in arch crypto fs lib net drivers/block drivers/net drivers/virtio drivers/xen; do
  cp -r "host/lib/modules/$dom0_version/kernel/$part" "$modules/kernel/$part"
done
rm -rf "$modules/kernel/drivers/net/"{ethernet,wireless} "$modules/kernel/fs/"{xfs,btrfs}
cp "host/lib/modules/$dom0_version/"modules.{order,builtin,builtin.modinfo} "$modules/"
depmod -b rootfs "$dom0_version"
install -m 755 "$here/dom0-init" rootfs/init
cp guest/boot/vmlinuz-* rootfs/guest/vmlinuz
pack g >rootfs/guest/initrd.gz
truncate -s 1G dom0.img && mkfs.ext4 -q -F -d rootfs dom0.img

# dom0's initramfs: enough to mount that disk
mkdir -p i/{bin,proc,sys,dev,mnt}
cp guest/bin/busybox i/bin/
for module in virtio_pci virtio_blk ext4 crc32c_generic libcrc32c; do
  for file in $(grep "/$module.ko:" "host/lib/modules/$dom0_version/modules.dep" | tr -d ':'); do
    install -D "host/lib/modules/$dom0_version/$file" "i/lib/modules/$dom0_version/$file"
  done
done
depmod -b i "$dom0_version" 2>/dev/null
install -m 755 "$here/disk-init" i/init
pack i >initrd.gz

rm -rf host guest g i rootfs ./*.deb
