// Package xen_test shows Sluice on real Xen: xenstored, xl, netback and PV
// guests. On a machine without Xen it builds a Xen host from Debian's packages
// (testdata/build.sh; kept under /var/cache/sluice), boots it under QEMU, and
// runs itself there: go test ./e2e/xen, and its flags, work as anywhere.
package xen_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	cache       = "/var/cache/sluice"
	bootWithin  = 28 * time.Minute
	insideEnv   = "SLUICE_INSIDE_XEN" // set in dom0
	projectRoot = "../.."
)

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	if err := outside(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e/xen:", err)
		os.Exit(1)
	}
}

// outside builds the host, boots it and runs this package's tests in its dom0.
func outside() error {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: only root can build a Debian root file system")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootWithin)
	defer cancel()
	host, err := image(ctx)
	if err != nil {
		return err
	}
	job, err := os.MkdirTemp("", "sluice-xen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(job)
	if err := fill(ctx, job); err != nil {
		return err
	}
	return boot(ctx, host, job)
}

// image returns the folder of the Xen host that testdata describes.
func image(ctx context.Context) (string, error) {
	recipe := sha256.New()
	err := fs.WalkDir(os.DirFS("testdata"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join("testdata", path))
		fmt.Fprintln(recipe, path, len(b))
		recipe.Write(b)
		return err
	})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("xen-%x", recipe.Sum(nil)[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	making, err := os.MkdirTemp(cache, ".xen")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(making)
	fmt.Println("building a Xen host from Debian's packages, once: about a minute ...")
	// apt fetches as a user of its own, who may not read a private folder.
	if err := os.Chmod(making, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "testdata/build.sh", making).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the Xen host: %w\n%s", err, out)
	}
	if err := os.Rename(making, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}

// fill puts into the job what runs in dom0, as static programs: the tests,
// sluice, which here can be ended at any step, and the collector.
func fill(ctx context.Context, job string) error {
	for name, args := range map[string][]string{
		"xen.test":            {"test", "-c", "./e2e/xen"},
		"xenstore.test":       {"test", "-c", "./xen/xenstore"},
		"sluice":              {"build", "-tags=faults", "./cmd/sluice"},
		"guest/bin/collector": {"build", "./cmd/sluice-guest"},
	} {
		args = append(args[:len(args)-1:len(args)-1], "-ldflags=-s -w", "-o", filepath.Join(job, name), args[len(args)-1])
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = projectRoot
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	// What the guests have besides: the collector, begun as their service.
	service := `#!/bin/busybox sh
mkdir -p /var/lib/sluice-guest
exec collector --interval 2s --port "" --listen "$(sed -n 's/.*collector=\([^ ]*\).*/\1/p' /proc/cmdline)"
`
	if err := os.WriteFile(filepath.Join(job, "guest/bin/service"), []byte(service), 0o755); err != nil {
		return err
	}
	pack := exec.CommandContext(ctx, "sh", "-c", "find . | cpio --quiet -o -H newc >../collector.cpio")
	pack.Dir = filepath.Join(job, "guest")
	if out, err := pack.CombinedOutput(); err != nil {
		return fmt.Errorf("packing the collector: %w\n%s", err, out)
	}
	var flags []string
	for _, f := range os.Args[1:] {
		if !strings.HasPrefix(f, "-test.testlogfile") && !strings.HasPrefix(f, "-test.paniconexit0") && !strings.HasPrefix(f, "-test.timeout") {
			flags = append(flags, "'"+strings.ReplaceAll(f, "'", `'\''`)+"'")
		}
	}
	script := fmt.Sprintf(`export %s=1
(gunzip -c /guest/initrd.gz && cat collector.cpio) >/guest/collector.img
cp sluice *.test /tmp && cd /tmp # quicker than from the shared folder
exec ./xen.test -test.timeout=25m %s
`, insideEnv, strings.Join(flags, " "))
	return os.WriteFile(filepath.Join(job, "job.sh"), []byte(script), 0o755)
}

// boot runs the job in dom0 and copies what it prints to standard output.
func boot(ctx context.Context, host, job string) error {
	console, err := os.Create(filepath.Join(job, "console"))
	if err != nil {
		return err
	}
	defer console.Close()
	file := func(name string) string { return filepath.Join(host, name) }
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi",
		// What Xen 4.17 does not pass to a PV dom0 under emulation stops it at
		// boot; and with XSAVE programs in dom0 now and then find a register
		// cleared, which shows as a nil pointer where there is none.
		"-cpu", "max,-la57,-smap,-smep,-umip,-pku,-xsave",
		"-smp", "2", "-m", "3500", "-nographic", "-no-reboot", "-net", "none", "-snapshot",
		"-kernel", file("xen"),
		"-append", "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M dom0_max_vcpus=2 loglvl=error spec-ctrl=no xpti=0 noreboot",
		"-initrd", file("vmlinuz")+" console=hvc0 quiet mitigations=off,"+file("initrd.gz"),
		"-drive", "file="+file("dom0.img")+",if=virtio,format=raw",
		"-virtfs", "local,path="+job+",mount_tag=job,security_model=none")
	qemu.Stdout, qemu.Stderr = console, console
	// The emulator must not outlive us, however we end.
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := qemu.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- qemu.Wait() }()
	shown := int64(0)
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-time.After(300 * time.Millisecond):
		}
		shown += show(filepath.Join(job, "out.txt"), shown)
	}
	status, statusErr := os.ReadFile(filepath.Join(job, "rc"))
	if statusErr != nil {
		said, _ := os.ReadFile(console.Name())
		return fmt.Errorf("the tests did not end in dom0 (%v); its console:\n%s", err, said[max(0, len(said)-4000):])
	}
	if s := strings.TrimSpace(string(status)); s != "0" {
		return fmt.Errorf("the tests in dom0 failed with status %s", s)
	}
	return nil
}

// show prints a file from an offset on and returns how much that was.
func show(path string, from int64) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0
	}
	n, _ := io.Copy(os.Stdout, f)
	return n
}
