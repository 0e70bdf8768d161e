package e2e

import (
	"bytes"
	"os"
	"os/exec"
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
	if os.Geteuid() != 0 {
		t.Skip("making a guest's image needs root")
	}
	cache := "/var/cache/sluice-lab"
	if out, err := exec.Command("../lab/image/build.sh", cache).CombinedOutput(); err != nil {
		t.Fatalf("the image: %v\n%s", err, out)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "sluice"), "sluice/cmd/sluice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(poorInit), 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(cache, "initrd.gz"))
	if err != nil {
		t.Fatal(err)
	}
	first = append(first, make([]byte, -len(first)&3)...)
	pack := exec.Command("cpio", "--quiet", "-o", "-H", "newc")
	pack.Dir, pack.Stdin = dir, strings.NewReader("init\nsluice\n")
	archive, err := pack.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "initrd"), append(first, archive...), 0o600); err != nil {
		t.Fatal(err)
	}
	qemu := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", filepath.Join(cache, "vmlinuz"), "-initrd", filepath.Join(dir, "initrd"), "-append", "console=ttyS0 quiet mitigations=off random.trust_cpu=on",
		"-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci")
	timer := time.AfterFunc(3*time.Minute, func() { _ = qemu.Process.Kill() })
	defer timer.Stop()
	out, err := qemu.Output()
	if err != nil {
		t.Fatalf("QEMU: %v\n%s", err, out)
	}
	said := string(bytes.ReplaceAll(out, []byte("\r"), nil))
	part := func(name string) string {
		_, rest, _ := strings.Cut(said, "== "+name+"\n")
		text, rest, _ := strings.Cut(rest, "== status ")
		status, _, _ := strings.Cut(rest, "\n")
		return text + "status " + status
	}
	for name, wants := range map[string][]string{
		"doctor":  {"htb", "ifb", "status "},
		"set":     {"unlimited", "status 5"},
		"list":    {"eth0", "Connected", "unlimited", "status 0"},
		"changes": {"status 0"},
		"links":   {"eth0"},
	} {
		for _, want := range wants {
			if text := part(name); !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", name, want, text)
			}
		}
		t.Logf("%s:\n%s", name, part(name))
	}
	if links := part("links"); strings.Contains(links, "sluice-") {
		t.Errorf("something is left:\n%s", links)
	}
	t.Log(part("log"))
}
