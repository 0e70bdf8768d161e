package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// poorInit is the first program of a machine whose kernel has neither HTB nor
// IFB nor anything else that is a module: there are none on its disk.
const poorInit = `#!/bin/busybox sh
export PATH=/bin HOME=/
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=200m run /run
for module in $(cat /lib/order); do insmod /lib/$module; done
ip link set lo up
ip link set eth0 up
say() { echo "== $1"; shift; "$@" 2>&1; echo "== status $?"; }
say doctor /sluice doctor
echo '[[vm]]
name = "web"
[[vm.vif]]
device = "eth0"' >/run/sluice.toml
/sluice serve --config /run/sluice.toml --state-dir /run/state 2>/run/log &
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  /sluice list >/dev/null 2>&1 && break
  sleep 1
done
say set /sluice set web 0 1mbit
say list /sluice list
say changes /sluice changes
say log cat /run/log
say links ip link
poweroff -f
`

// TestPoorKernel runs Debian's kernel without its modules in QEMU: doctor says
// what is missing, a change is refused in words and changes nothing, and
// everything is watched all the same.
func TestPoorKernel(t *testing.T) {
	debian(t)
	dir := t.TempDir()
	static(t, "build", "-o", filepath.Join(dir, "sluice"), "sluice/cmd/sluice")
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(poorInit), 0o755); err != nil {
		t.Fatal(err)
	}
	said := machine(t, dir, 3*time.Minute, "-m", "512")
	for name, wants := range map[string][]string{
		"doctor":  {"htb", "ifb", "status "},
		"set":     {"unlimited", "status 5"},
		"list":    {"eth0", "Connected", "unlimited", "status 0"},
		"changes": {"status 0"},
		"links":   {"eth0"},
	} {
		for _, want := range wants {
			if text := part(said, name); !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", name, want, text)
			}
		}
		t.Logf("%s:\n%s", name, part(said, name))
	}
	if links := part(said, "links"); strings.Contains(links, "sluice-") {
		t.Errorf("something is left:\n%s", links)
	}
	t.Log(part(said, "log"))
}

// richInit is the first program of a machine whose kernel has all modules of
// Debian's: it runs the driver's own tests.
const richInit = `#!/bin/busybox sh
export PATH=/bin HOME=/
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /sbin /tmp
for module in $(cat /lib/order); do insmod /lib/$module; done
mount -r /dev/vda /root
ln -s /root/lib/modules /lib/modules
ln -s /bin/modprobe /sbin/modprobe # where the kernel looks for it
modprobe tun # makes the device by which it is asked for later
ip link set lo up
echo "== tests"
# Not those that need a shell's own tc, files beside them, or another pace than
# emulation's; they ran under this machine's kernel.
/linux.test -test.v -test.count=1 -test.skip 'TestDisturbances|TestGlance|TestStartAfterLoss|TestCleanUpAfterLoss|TestCrowd|TestFoundBySet|TestOwnChanges|TestPlan$|TestDiff$|TestSoak|TestOthersFilters|TestBatches/bfifo|TestGroups' 2>&1
echo "== status $?"
poweroff -f
`

// TestDebianKernel runs the driver's tests under a kernel that has fq_codel.
func TestDebianKernel(t *testing.T) {
	cache, dir := debian(t), t.TempDir()
	static(t, "test", "-c", "-o", filepath.Join(dir, "linux.test"), "sluice/linux/htb")
	for _, program := range []string{"tc", "ip"} {
		with(t, dir, program)
	}
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(richInit), 0o755); err != nil {
		t.Fatal(err)
	}
	said := machine(t, dir, 5*time.Minute, "-m", "1024", "-smp", "2",
		"-drive", "file="+filepath.Join(cache, "root.img")+",format=raw,if=virtio,readonly=on")
	tests := part(said, "tests")
	t.Log(tests)
	if !strings.HasSuffix(tests, "status 0") {
		t.Error("they failed")
	}
	// The driver must have found what these tests were started here for.
	for _, name := range []string{"TestQueues", "TestSmallFlow"} {
		if !strings.Contains(tests, "--- PASS: "+name) {
			t.Errorf("%s was not run", name)
		}
	}
}
