package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sluice"
)

// libvirt is a real libvirtd on a host, with state of its own.
type libvirt struct {
	*host
	dir  string
	cmd  *exec.Cmd
	done chan error
	said *output
}

// libvirtScript runs libvirtd with a /etc, /run and /var that are its alone.
const libvirtScript = `set -e
mount --make-rprivate /
[ -e "$0/etc" ] || { cp -a /etc "$0/etc"; cat "$0/passwd" >>"$0/etc/passwd"; cat "$0/group" >>"$0/etc/group"; mkdir -p "$0/etc/libvirt"; cp "$0/qemu.conf" "$0/etc/libvirt/qemu.conf"; }
mount --bind "$0/etc" /etc
for dir in lib run; do mkdir -p "$0/$dir"; done
mount --bind "$0/run" /run; mkdir -p /run/libvirt /run/lock
for dir in cache log; do mount -t tmpfs tmpfs /var/$dir; done
mkdir -p "$0/lib/libvirt/qemu"; mount --bind "$0/lib" /var/lib
mkdir -p /var/log/libvirt/qemu /var/cache/libvirt/qemu
exec libvirtd --config "$0/libvirtd.conf" --pid-file "$0/pid"`

// newLibvirt gives the host a libvirtd, and a daemon's settings that name it.
func newLibvirt(h *host) *libvirt {
	h.Helper()
	for _, need := range []string{"libvirtd", "virsh", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(need); err != nil {
			h.Fatalf("%v; make deps installs it", err)
		}
	}
	l := &libvirt{host: h, dir: h.path("libvirt"), said: new(output)}
	for name, text := range map[string]string{
		"lib/.keep":     "",
		"passwd":        "libvirt-qemu:x:64055:64055::/nonexistent:/bin/false\n",
		"group":         "libvirt-qemu:x:64055:\n",
		"libvirtd.conf": fmt.Sprintf("unix_sock_dir = %q\nunix_sock_group = \"root\"\nauth_unix_rw = \"none\"\nlog_outputs = \"3:file:%s/log\"\n", l.dir, l.dir),
		"qemu.conf":     "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\n",
	} {
		path := filepath.Join(l.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			h.Fatal(err)
		}
	}
	settings := fmt.Sprintf("bridge = \"br0\"\ncapacity = \"10gbit\"\nlibvirt = %q\n", l.socket())
	if err := os.WriteFile(h.path("sluice.toml"), []byte(settings), 0o600); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if l.cmd == nil {
			l.begin()
		}
		names, _ := l.virsh("list", "--name")
		for _, name := range strings.Split(names, "\n") {
			if name = strings.TrimSpace(name); name != "" {
				_, _ = l.virsh("destroy", name)
			}
		}
		l.stop()
	})
	return l
}

func (l *libvirt) socket() string { return filepath.Join(l.dir, "libvirt-sock") }

// begin starts libvirtd and waits until it answers.
func (l *libvirt) begin() {
	l.Helper()
	l.cmd = exec.Command("unshare", "-m", "bash", "-c", libvirtScript, l.dir)
	l.cmd.Stderr = l.said
	var err error
	l.ns.Do(func() { err = l.cmd.Start() })
	if err != nil {
		l.Fatal(err)
	}
	l.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(l.cmd, l.done)
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := l.virsh("version")
		if err == nil {
			return
		}
		if time.Now().After(until) {
			log, _ := os.ReadFile(filepath.Join(l.dir, "log"))
			l.Fatalf("libvirtd does not answer: %v %s\n%s\n%s", err, out, l.said, log)
		}
	}
}

// stop ends libvirtd; its domains go on.
func (l *libvirt) stop() {
	_ = l.cmd.Process.Kill()
	<-l.done
	l.cmd = nil
}

func (l *libvirt) virsh(args ...string) (string, error) {
	out, err := exec.Command("timeout", append([]string{"60", "virsh", "-q", "-c", "qemu:///system?socket=" + l.socket()}, args...)...).CombinedOutput()
	return string(out), err
}

func (l *libvirt) must(args ...string) string {
	l.Helper()
	out, err := l.virsh(args...)
	if err != nil {
		l.Fatalf("virsh %v: %v %s", args, err, out)
	}
	return out
}

// define makes a domain without a disk: what runs in it does not matter.
func (l *libvirt) define(name string, macs ...string) {
	l.Helper()
	var nics strings.Builder
	for _, mac := range macs {
		fmt.Fprintf(&nics, "<interface type='bridge'><mac address='%s'/><source bridge='br0'/><model type='virtio'/></interface>\n", mac)
	}
	file := filepath.Join(l.dir, "domain.xml")
	text := fmt.Sprintf("<domain type='qemu'><name>%s</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"+
		"<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\n%s"+
		"<channel type='unix'><source mode='bind' path='%s/%s.sluice'/><target type='virtio' name='sluice.0'/></channel></devices></domain>", name, nics.String(), l.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
	l.must("define", file)
}

// eventually waits for something that takes its time.
func (h *host) eventually(what string, within time.Duration, is func() bool) {
	h.Helper()
	for until := time.Now().Add(within); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			h.Fatalf("not within %v: %s\n%s\n%s", within, what, h.sluice("list"), h.log)
		}
	}
}

// all is sluice list.
func (h *host) all() (listed []sluice.VIFStatus) {
	h.Helper()
	if err := json.Unmarshal([]byte(h.sluice("list", "-o", "json")), &listed); err != nil {
		h.Fatal(err)
	}
	return listed
}

// named are the vifs whose VM has a UUID.
func (h *host) named() (all []sluice.VIFStatus) {
	h.Helper()
	return slices.DeleteFunc(h.all(), func(v sluice.VIFStatus) bool { return v.UUID == "" })
}

func (h *host) vif(vm string, index int) (v sluice.VIFStatus, ok bool) {
	h.Helper()
	its := h.named()
	i := slices.IndexFunc(its, func(v sluice.VIFStatus) bool { return v.VM == vm && v.Index == index })
	if i < 0 {
		return v, false
	}
	return its[i], true
}

// gaps watches, until stop, how long each new device of libvirt's is there before
// its frames are led to a class.
func (l *libvirt) gaps(stop <-chan struct{}) <-chan []time.Duration {
	out := make(chan []time.Duration, 1)
	go l.ns.Do(func() {
		var gaps []time.Duration
		seen, done := make(map[int]time.Time), make(map[int]bool)
		links, _ := netlink.LinkList()
		for _, link := range links { // those that are there already
			done[link.Attrs().Index] = true
		}
		for {
			select {
			case <-stop:
				out <- gaps
				return
			case <-time.After(2 * time.Millisecond):
			}
			links, err := netlink.LinkList()
			if err != nil {
				continue
			}
			for _, link := range links {
				index := link.Attrs().Index
				if !strings.HasPrefix(link.Attrs().Name, "vnet") || done[index] {
					continue
				}
				if seen[index].IsZero() {
					seen[index] = time.Now()
				}
				if filters, err := netlink.FilterList(link, netlink.HANDLE_MIN_INGRESS); err == nil && len(filters) > 0 {
					gaps, done[index] = append(gaps, time.Since(seen[index])), true
				}
			}
		}
	})
	return out
}

// TestLibvirt follows a real libvirtd: VMs have the names that it gives, what
// is set for one stays its own through all that happens to it, and while
// libvirtd is away nothing is lost and no stranger inherits.
func TestLibvirt(t *testing.T) {
	l := newLibvirt(newHost(t, ""))
	l.start() // before libvirt is there
	l.ready()
	l.begin()
	l.define("shop", "52:54:00:00:01:00", "52:54:00:00:01:01")
	l.define("db", "52:54:00:00:02:00")
	l.must("start", "shop")
	begin := time.Now()
	l.eventually("shop is named", time.Second, func() bool { _, ok := l.vif("shop", 1); return ok })
	t.Logf("named %v after virsh start", time.Since(begin))
	shop, _ := l.vif("shop", 0)
	if uuid := strings.TrimSpace(l.must("domuuid", "shop")); shop.UUID != uuid || shop.MAC != "52:54:00:00:01:00" || !strings.HasPrefix(shop.Device, "vnet") {
		t.Errorf("%+v, want the UUID %s", shop.VIF, uuid)
	}
	l.set("shop", "0", "20mbit")
	l.set(strings.ToUpper(shop.UUID), "1", "30mbit")

	held := func(when string) {
		t.Helper()
		l.eventually(when+": the settings hold", 5*time.Second, func() bool {
			a, first := l.vif("shop", 0)
			b, second := l.vif("shop", 1)
			return first && second && a.Tx.Limit == 20*sluice.Mbit && b.Tx.Limit == 30*sluice.Mbit && a.NotEnforced == "" && b.NotEnforced == "" && a.State == sluice.Connected
		})
	}
	held("set")

	// Off and on again, while another takes the names of its devices.
	l.must("destroy", "shop")
	l.eventually("shop is gone", time.Second, func() bool { _, ok := l.vif("shop", 0); return !ok })
	l.must("start", "db")
	l.eventually("db is named", time.Second, func() bool { _, ok := l.vif("db", 0); return ok })
	if db, _ := l.vif("db", 0); db.Tx.Limit != sluice.Unlimited {
		t.Errorf("db inherits: %+v", db)
	}
	l.must("start", "shop")
	held("started again")

	// What its description asks for, which another's does not.
	l.sluice("profile", "set", "gold", "40mbit")
	l.must("metadata", "db", "--uri", "urn:sluice", "--key", "sluice", "--set", "<profile>gold</profile>", "--live")
	l.eventually("its description counts", time.Second, func() bool {
		v, _ := l.vif("db", 0)
		return v.Tx.Limit == 40*sluice.Mbit && v.Profile == "gold"
	})
	l.must("metadata", "db", "--uri", "urn:sluice", "--remove", "--live")
	l.eventually("it asks for nothing any more", time.Second, func() bool { v, _ := l.vif("db", 0); return v.Tx.Limit == sluice.Unlimited })
	held("another had a profile")

	// Renamed while it is off.
	l.must("destroy", "shop")
	l.must("domrename", "shop", "store")
	l.must("start", "store")
	l.eventually("it has its new name, and its settings", time.Second, func() bool { v, ok := l.vif("store", 0); return ok && v.Tx.Limit == 20*sluice.Mbit })
	l.must("destroy", "store")
	l.must("domrename", "store", "shop")
	l.must("start", "shop")
	held("renamed back")

	// A NIC more, of another MAC.
	l.must("attach-interface", "db", "bridge", "br0", "--mac", "52:54:00:00:02:01", "--model", "virtio", "--live")
	l.eventually("the second NIC of db", time.Second, func() bool { v, ok := l.vif("db", 1); return ok && v.MAC == "52:54:00:00:02:01" })

	// libvirtd is away: names stand. The devices are shaped as before.
	l.stop()
	l.eventually("doctor says that libvirt is away", 5*time.Second, func() bool {
		out, _, _ := l.try("doctor")
		return strings.Contains(out, "libvirt") && strings.Contains(out, "does not answer")
	})
	held("libvirtd is away")
	l.end()
	l.start()
	l.ready()
	held("started again without libvirtd: QEMU's processes say who they are")
	l.begin()
	held("both started again")

	// A storm of starts and stops under a storm of changes.
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _, _ = l.try("set", "db", "0", fmt.Sprintf("%dmbit", 10+i%10))
			}
		}
	}()
	rounds := 10
	if os.Getenv("SLUICE_SOAK") != "" {
		rounds = 200
	}
	gaps := l.gaps(stop)
	for range rounds {
		l.must("destroy", "shop")
		l.must("start", "shop")
	}
	close(stop)
	<-stopped
	all := <-gaps
	slices.Sort(all)
	if len(all) < rounds {
		t.Fatalf("of %d starts %d devices were seen", rounds, len(all))
	}
	t.Logf("after a start a device is without its setting for %v at the median of %d, %v at most", all[len(all)/2], len(all), all[len(all)-1])
	if all[len(all)-1] > 2*time.Second { // the bar is 200 ms; a machine that stands still is another's fault
		t.Error("one was bare for too long")
	}
	held("after a storm")
	l.must("destroy", "shop")
	l.must("destroy", "db")
	l.eventually("nothing is left", 5*time.Second, func() bool { return len(l.named()) == 0 && l.kernel() == [2]uint64{} })
}
