package libvirt

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
)

// script runs libvirtd with a /run and /var that are its alone.
const script = `set -e
mount --make-rprivate /
mkdir -p "$0"/{run,lib}
mount --bind "$0/run" /run; mkdir -p /run/libvirt /run/lock
mount --bind "$0/lib" /var/lib
mount -t tmpfs tmpfs /etc/libvirt; printf 'user = "root"\ngroup = "root"\n' >/etc/libvirt/qemu.conf
for dir in cache log; do mount -t tmpfs tmpfs /var/$dir; done
mkdir -p /var/log/libvirt /var/cache/libvirt
(cat /etc/passwd; echo libvirt-qemu:x:64055:64055::/nonexistent:/bin/false) >"$0/passwd"; mount --bind "$0/passwd" /etc/passwd
(cat /etc/group; echo libvirt-qemu:x:64055:) >"$0/group"; mount --bind "$0/group" /etc/group
exec libvirtd --config "$0/libvirtd.conf" --pid-file "$0/pid"`

// A thousand domains, of libvirt's own test driver, are all named soon after
// the first connection, and cost next to nothing while nothing happens.
func TestMany(t *testing.T) {
	if _, err := exec.LookPath("libvirtd"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs libvirtd and root")
	}
	const domains = 1000
	dir := t.TempDir()
	var node strings.Builder
	node.WriteString("<node>\n")
	for i := range domains {
		fmt.Fprintf(&node, "<domain type='test'><name>vm%d</name><uuid>5103e000-0000-4000-8000-%012d</uuid><memory>1024</memory><vcpu>1</vcpu><os><type>hvm</type></os>"+
			"<devices><interface type='bridge'><mac address='52:54:00:00:%02x:%02x'/><source bridge='br0'/><target dev='vnet%d'/></interface></devices></domain>\n", i, i, i/256, i%256, i)
	}
	node.WriteString("</node>\n")
	for name, text := range map[string]string{
		"node.xml":      node.String(),
		"libvirtd.conf": fmt.Sprintf("unix_sock_dir = %q\nunix_sock_group = \"root\"\nauth_unix_rw = \"none\"\n", dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon := exec.Command("unshare", "-m", "bash", "-c", script, dir)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	}()
	socket := filepath.Join(dir, "libvirt-sock")
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if out, err := exec.Command("timeout", "10", "virsh", "-c", "qemu:///system?socket="+socket, "version").CombinedOutput(); err == nil || strings.Contains(string(out), "no connection driver") {
			break
		} else if time.Now().After(until) {
			t.Fatalf("libvirtd does not answer: %v %s", err, out)
		}
	}
	n := New([]string{socket}, slog.New(slog.DiscardHandler))
	n.uri = libvirt.ConnectURI("test://" + filepath.Join(dir, "node.xml"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	begin := time.Now()
	go func() { n.Run(ctx); close(done) }()
	for len(n.VIFs()) < domains {
		if time.Since(begin) > 30*time.Second {
			err, _ := n.Problem()
			t.Fatalf("%d of %d are named: %v", len(n.VIFs()), domains, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(begin)
	before := used()
	const rest = 15 * time.Second // longer than between two looks
	time.Sleep(rest)
	share := 100 * float64(used()-before) / float64(rest)
	t.Logf("%d domains are named %v after the first connection; then %.2f %% of a core", domains, took, share)
	if took > 20*time.Second {
		t.Error("it took too long by far")
	}
	cancel()
	<-done
}

// used is what this process has used of processors.
func used() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
