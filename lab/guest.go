package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	probeTime = 5 * time.Second // for KVM to show that it works; a guest's first program takes one
	bootTime  = 3 * time.Minute // for a guest under software emulation on a busy machine
)

// accelerator is kvm where a guest really runs under it, else tcg. That
// /dev/kvm exists proves nothing: a guest may hang. What was found holds until
// the next boot.
func (l *Lab) accelerator(ctx context.Context) string {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg"
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	known := filepath.Join(l.Cache, "accelerator")
	if b, err := os.ReadFile(known); err == nil {
		if before, which, _ := strings.Cut(string(b), " "); before == strings.TrimSpace(string(boot)) {
			return which
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	which := "tcg"
	out, _ := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-m", "128", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", l.cached("vmlinuz"), "-initrd", l.cached("initrd.gz"), "-append", "console=ttyS0 quiet lab.probe").Output()
	if bytes.Contains(out, []byte("sluice-lab: alive")) {
		which = "kvm"
	}
	_ = os.WriteFile(known, []byte(strings.TrimSpace(string(boot))+" "+which), 0o644)
	return which
}

// initrd is the first program with sluice-guest appended: the kernel unpacks
// one archive after the other.
func (l *Lab) initrd(ctx context.Context) error {
	collector := filepath.Join(filepath.Dir(l.Program), "sluice-guest")
	if _, err := os.Stat(collector); err != nil {
		return fmt.Errorf("the collector must lie beside %s (make build): %w", l.Program, err)
	}
	first, err := os.ReadFile(l.cached("initrd.gz"))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "cpio", "--quiet", "-o", "-H", "newc")
	cmd.Dir, cmd.Stdin = filepath.Dir(collector), strings.NewReader("sluice-guest\n")
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	archive, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("the collector cannot be packed: %w: %s", err, wrong.String())
	}
	for len(first)%4 != 0 { // where an archive must begin (Documentation/driver-api/early-userspace/buffer-format.rst)
		first = append(first, 0)
	}
	return os.WriteFile(l.path("initrd"), append(first, archive...), 0o600)
}

// guestCommand starts a guest: Debian from the image, whose changes are
// thrown away, one virtio interface on its tap, and a virtio-serial port for
// the collector.
func (l *Lab) guestCommand(i int, name, accel string) *exec.Cmd {
	cmd := exec.Command("qemu-system-x86_64",
		"-name", name, "-accel", accel, "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "file:"+l.path(name+".console"),
		"-kernel", l.cached("vmlinuz"), "-initrd", l.path("initrd"),
		"-append", "console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check random.trust_cpu=on systemd.unit="+name+".target"+
			" lab.name="+name+" lab.address="+addresses()[name]+"/24 lab.gateway="+clientsAddress,
		"-drive", "file="+l.cached("root.img")+",format=raw,if=virtio,snapshot=on",
		"-netdev", "tap,id=net,ifname="+tap(name)+",script=no,downscript=no",
		"-device", "virtio-net-pci,netdev=net,mac="+mac(i),
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=collector,path="+l.path(name+".sock")+",server=on,wait=off",
		"-device", "virtserialport,chardev=collector,name=sluice.0")
	cmd.Env = append(os.Environ(), "TMPDIR=/var/tmp") // what the guests write
	return cmd
}

// serving waits until a service of a guest takes connections.
func (l *Lab) serving(ctx context.Context, dial func(context.Context, string) (net.Conn, error), name string) error {
	port := map[string]string{"ftp": "21", "stream": "1935", "web": "80"}[name]
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		conn, err := dial(ctx, net.JoinHostPort(addresses()[name], port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("guest %s does not serve after %s: %w; its console ends with\n%s", name, bootTime, err, tail(l.path(name+".console")))
			}
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tail is the end of a file, for an error.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		_, _ = f.Seek(-2000, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}
