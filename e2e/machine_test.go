package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// debian is a folder with the kernel and the image of the experiment's guests.
func debian(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a guest's image needs root")
	}
	const cache = "/var/cache/sluice-lab"
	if out, err := exec.Command("../lab/image/build.sh", cache).CombinedOutput(); err != nil {
		t.Fatalf("the image: %v\n%s", err, out)
	}
	return cache
}

// static has go build a program that needs no library.
func static(t *testing.T, args ...string) {
	t.Helper()
	build := exec.Command("go", append(args[:1:1], append([]string{"-ldflags", "-s -w"}, args[1:]...)...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
}

// machine runs Debian's kernel in QEMU, with what is in dir, of which init is
// the first program, until it ends; it returns what was said.
func machine(t *testing.T, dir string, within time.Duration, more ...string) string {
	t.Helper()
	cache := debian(t)
	initrd, err := os.ReadFile(filepath.Join(cache, "initrd.gz"))
	if err != nil {
		t.Fatal(err)
	}
	initrd = append(initrd, make([]byte, -len(initrd)&3)...)
	pack := exec.Command("sh", "-c", "find . | cpio --quiet -o -H newc")
	pack.Dir = dir
	archive, err := pack.Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(file, append(initrd, archive...), 0o600); err != nil {
		t.Fatal(err)
	}
	qemu := exec.Command("qemu-system-x86_64", append([]string{"-accel", "tcg,thread=multi", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", filepath.Join(cache, "vmlinuz"), "-initrd", file, "-append", "console=ttyS0 quiet mitigations=off random.trust_cpu=on",
		"-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci"}, more...)...)
	timer := time.AfterFunc(within, func() { _ = qemu.Process.Kill() })
	defer timer.Stop()
	said := filepath.Join(t.TempDir(), "said") // a file: it can be looked at meanwhile
	f, err := os.Create(said)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	qemu.Stdout, qemu.Stderr = f, f
	failed := qemu.Run()
	out, err := os.ReadFile(said)
	if err := errors.Join(failed, err); err != nil {
		t.Fatalf("QEMU: %v\n%s", err, out)
	}
	return string(bytes.ReplaceAll(out, []byte("\r"), nil))
}

// with copies a program of this machine and its libraries into dir.
func with(t *testing.T, dir, program string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	script := `install -D "$0" "$1/bin/$(basename "$0")"; for f in $(ldd "$0" | grep -o '/[^ ]*'); do install -D "$f" "$1$f"; done`
	if out, err := exec.Command("sh", "-c", script, path, dir).CombinedOutput(); err != nil {
		t.Fatalf("copying %s: %v\n%s", path, err, out)
	}
}

// part is what a machine said between "== name" and the status.
func part(said, name string) string {
	_, rest, _ := strings.Cut(said, "== "+name+"\n")
	text, rest, _ := strings.Cut(rest, "== status ")
	status, _, _ := strings.Cut(rest, "\n")
	return text + "status " + status
}
