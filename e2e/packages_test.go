package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// packagesInit is the first program of a Debian whose systemd then runs
// packagesScript, with the packages in /pkg.
const packagesInit = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /lib/order); do insmod /lib/$module; done
mount -o noatime /dev/vda /root
mount -t tmpfs -o mode=755 run /root/run
mkdir -p /root/pkg /root/opt/bin /root/opt/lib
cp -r /pkg/* /root/pkg/
cp /tools/bin/* /root/opt/bin/
find /tools/lib* -name '*.so*' -exec cp {} /root/opt/lib/ \;
rm -f /root/etc/systemd/system/sluice-guest.service /root/opt/lib/libc.so.6 /root/opt/lib/ld-linux*
cat >/root/etc/systemd/system/packages.service <<'UNIT'
[Unit]
After=basic.target dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /pkg/script
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=file:/dev/ttyS0
StandardError=inherit
UNIT
printf '[Unit]\nRequires=basic.target packages.service\nAfter=basic.target\n' >/root/etc/systemd/system/packages.target
ln -sf packages.target /root/etc/systemd/system/default.target
mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root /sbin/init
`

const packagesScript = `
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin LD_LIBRARY_PATH=/opt/lib DEBIAN_FRONTEND=noninteractive
check() { local name=$1; shift; if out=$("$@" 2>&1); then echo "ok $name"; else echo "FAILED $name: $* is $?: $out"; journalctl --no-pager -n 40 -u sluice -u sluice-guest; fi; }
eventually() { for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep .2; done; "$@"; }
not() { ! "$@"; }
equal() { [ "$1" = "$2" ] || { diff <(echo "$1") <(echo "$2"); false; }; }
found() { for d in $(ls /sys/class/net); do echo "$d"; tc qdisc show dev $d; tc filter show dev $d ingress; tc filter show dev $d egress; done; }
limited() { for d in $(ls /sys/class/net); do tc class show dev $d; done | grep -q 'ceil 8Mbit'; }
pid() { systemctl show -p MainPID --value sluice; }

modprobe veth; modprobe bridge; modprobe ifb numifbs=0
ip link add br0 type bridge
ip addr add 192.0.2.1/24 dev br0
ip link set br0 up
ip netns add vm
ip link add tap-web type veth peer name eth9 netns vm
ip link set tap-web master br0 up
ip netns exec vm ip addr add 192.0.2.2/24 dev eth9
ip netns exec vm ip link set eth9 up
ip netns exec vm ip link set lo up
before=$(found)

check install apt-get install -y -q /pkg/1/sluice_*.deb /pkg/1/sluice-guest_*.deb
check active systemctl is-active sluice
check guest-active eventually systemctl is-active sluice-guest
check answers eventually sh -c 'sluice list | grep -q tap-web'
check nothing-shaped equal "$before" "$(found)"
check group getent group sluice
check socket equal "$(stat -c %U:%G:%a /run/sluice/sluice.sock)" root:sluice:660
check state equal "$(stat -c %U:%a /var/lib/sluice)" root:700
check set sluice set tap-web 8mbit --tx
check shaped limited
check doctor sluice doctor
check doctor-tried sh -c 'sluice doctor | grep -q "a limit was set on a device"'
check guest-keeps eventually sluice-guest show
for unit in sluice sluice-guest; do
  systemd-analyze security --no-pager $unit.service | grep -E '^→' | sed "s/^/exposure $unit /"
  check security-$unit systemd-analyze security --no-pager --threshold=25 $unit.service
done

old=$(pid)
[ "$old" -gt 1 ] && kill -9 $old
check killed eventually sh -c '[ "$(systemctl show -p MainPID --value sluice)" != '$old' ] && sluice list | grep -q 8mbit'
check killed-shaped limited
ip netns exec vm busybox ping -q -i 0.02 -c 400 192.0.2.1 >/run/ping &
ping=$!
sleep 1
check restart systemctl restart sluice
check restart-shaped limited
wait $ping
cat /run/ping
check restart-without-a-gap grep -q ' 0% packet loss' /run/ping
check restart-answers eventually sh -c 'sluice list | grep -q 8mbit'
check journald sh -c 'journalctl -u sluice --no-pager | grep -q "the page is open"'

echo '# mine' >>/etc/sluice/sluice.toml
(while :; do limited && echo shaped || echo bare; sleep .1; done) >/run/shaped & watch=$!
check upgrade apt-get install -y -q /pkg/2/sluice_*.deb
kill $watch
check upgrade-shaped not grep -q bare /run/shaped
check upgrade-version eventually sh -c 'sluice version | grep -q 0.1.2'
check upgrade-settings eventually sh -c 'sluice list | grep -q 8mbit'
check upgrade-file grep -q '# mine' /etc/sluice/sluice.toml

echo 99 >/var/lib/sluice/format
out=$(apt-get install -y -q --allow-downgrades /pkg/1/sluice_*.deb 2>&1)
check downgrade-refused grep -q 'is of a newer Sluice' <<<"$out"
check downgrade-nothing sh -c 'dpkg -s sluice | grep -q "Version: 0.1.2" && systemctl is-active sluice'
check downgrade-shaped limited
echo 1 >/var/lib/sluice/format

check remove apt-get remove -y -q sluice
check remove-kernel equal "$before" "$(found)"
check remove-state test -d /var/lib/sluice/store
check remove-unit not systemctl cat sluice
check again apt-get install -y -q /pkg/2/sluice_*.deb
check again-settings eventually limited
# A bridge of Open vSwitch's kernel datapath beside the other.
modprobe openvswitch
ovs-dpctl add-dp ovs-system
ovs-dpctl add-if ovs-system ovsbr0,type=internal
ip netns add vm2
ip link add tap-ovs type veth peer name eth9 netns vm2
ovs-dpctl add-if ovs-system tap-ovs
for type in 'eth_type(0x0806),arp()' 'eth_type(0x0800),ipv4(frag=no)'; do
  ovs-dpctl add-flow ovs-system "in_port(1),eth(),$type" 2
  ovs-dpctl add-flow ovs-system "in_port(2),eth(),$type" 1
done
ip addr add 198.51.100.1/24 dev ovsbr0
ip link set ovsbr0 up
ip link set tap-ovs up
ip netns exec vm2 ip addr add 198.51.100.2/24 dev eth9
ip netns exec vm2 ip link set eth9 up
send() { # how long 2 MiB of the VM's take, in ms
  rm -f /run/got
  sleep 30 | timeout 20 busybox nc -l -p 5000 2>&1 | head -c 2097152 | wc -c >/run/got & sleep 1
  local begin=$(date +%s%3N)
  ip netns exec vm2 sh -c 'dd if=/dev/zero bs=1k count=2048 2>/dev/null | timeout 15 busybox nc 198.51.100.1 5000' </dev/null
  while [ ! -s /run/got ] && [ $(($(date +%s%3N) - begin)) -lt 15000 ]; do sleep .02; done
  echo $(($(date +%s%3N) - begin))
}
check ovs-carries ip netns exec vm2 timeout 10 busybox ping -c 1 198.51.100.1
free=$(send)
sed -i 's/^#bridge.*/bridge = ["br0", "ovsbr0"]/' /etc/sluice/sluice.toml
check ovs-restart systemctl restart sluice
check ovs-listed eventually sh -c 'sluice list | grep -q tap-ovs'
check ovs-not-its-own not sh -c 'sluice list | grep -q "ovsbr0\|ovs-system"'
check ovs-set sluice set tap-ovs 8mbit
held=$(send)
echo "$(cat /run/got) bytes through Open vSwitch take $free ms, with 8 Mbit/s $held ms"
check ovs-held test $held -gt 1900 -a $held -lt 4000
check ovs-other limited
ip link del tap-ovs
ovs-dpctl del-dp ovs-system
check purge apt-get purge -y -q sluice sluice-guest
check purge-kernel equal "$before" "$(found)"
check purge-state not ls -d /var/lib/sluice /etc/sluice /var/lib/private/sluice-guest
check purge-group not getent group sluice
echo "== end"
`

// TestPackages installs the packages in a Debian with a systemd of its own,
// upgrades, removes and purges them, while a VM is shaped; and another one that
// is on Open vSwitch's kernel datapath.
func TestPackages(t *testing.T) {
	cache, dir := debian(t), t.TempDir()
	for version, to := range map[string]string{"0.1.1": "1", "0.1.2": "2"} {
		build := exec.Command("../packaging/build.sh", filepath.Join(dir, "pkg", to), version, "amd64")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building: %v\n%s", err, out)
		}
	}
	if out, err := exec.Command("sh", "-c", "lintian --fail-on error --tag-display-limit 0 "+filepath.Join(dir, "pkg/1/*.deb")).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	} else {
		t.Logf("lintian:\n%s", out)
	}
	listed, err := exec.Command("sh", "-c", "dpkg-deb -c "+filepath.Join(dir, "pkg/1/sluice_*.deb")+"; rpm -qlp "+filepath.Join(dir, "pkg/1/sluice-0*.rpm")).CombinedOutput()
	if err != nil {
		t.Errorf("listing: %v\n%s", err, listed)
	}
	for _, file := range []string{"/usr/share/man/man1/sluice-set.1.gz", "/usr/share/bash-completion/completions/sluice", "_sluice", "sluice.fish", "grafana.json", "sluice.service"} {
		if n := strings.Count(string(listed), file); n < 2 {
			t.Errorf("%s is in %d of the two packages", file, n)
		}
	}
	rpms, _ := filepath.Glob(filepath.Join(dir, "pkg/*/*.rpm"))
	for _, rpm := range rpms {
		os.Remove(rpm) // Debian has no use for them
	}
	for _, program := range []string{"tc", "ip", "ovs-dpctl"} {
		with(t, filepath.Join(dir, "tools"), program)
	}
	for name, text := range map[string]string{"init": packagesInit, "pkg/script": packagesScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	said := machine(t, dir, 10*time.Minute, "-m", "1536", "-smp", "2", "-drive", "file="+filepath.Join(cache, "root.img")+",format=raw,if=virtio,snapshot=on")
	t.Log(said)
	if !strings.Contains(said, "== end") {
		t.Error("it was not run to the end")
	}
	if failed := regexp.MustCompile("(?m)^FAILED .*").FindAllString(said, -1); len(failed) > 0 {
		t.Errorf("%s", strings.Join(failed, "\n"))
	}
}
