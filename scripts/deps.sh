#!/bin/bash
# Installs the Debian packages that a step of the Makefile needs and this
# machine lacks; asks apt for nothing when all are there.
# Usage: deps.sh [npm|demo]      npm: only what building the page needs; demo: what the experiment needs besides
set -euo pipefail

need() { # need COMMAND-OR-FILE PACKAGE...
  local probe=$1; shift
  if [[ $probe = /* ]]; then [[ -e $probe ]] && return; else command -v "$probe" >/dev/null && return; fi
  missing+=("$@")
}

PATH=$PATH:/usr/sbin:/sbin
missing=()
need node nodejs
need npm npm
if [[ ${1:-} != npm ]]; then
  need ip iproute2
  need qemu-system-x86_64 qemu-system-x86
  need mmdebstrap mmdebstrap
  need mkfs.ext4 e2fsprogs
  need cpio cpio
  need xz xz-utils
  need modprobe kmod
fi
if [[ -z ${1:-} ]]; then
  need gcc gcc libc6-dev
  need ethtool ethtool
  need iperf3 iperf3
  need qemu-img qemu-utils
  need chromium chromium
  need /usr/share/fonts/truetype/wqy fonts-wqy-microhei # the page in Chinese
  need /usr/lib/cni/bandwidth containernetworking-plugins
  need libvirtd libvirt-daemon
  need /usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so libvirt-daemon-driver-qemu
  need virsh libvirt-clients
  need lxd lxd
  need ovs-dpctl openvswitch-switch
  need busybox busybox-static
  need lintian lintian
  need rpm rpm
fi
((${#missing[@]})) || exit 0

if ((EUID)); then
  echo "these Debian packages are missing: ${missing[*]}; run as root, or: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]} ..."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "could not install ${missing[*]}; nothing else was changed" >&2
  exit 1
fi
