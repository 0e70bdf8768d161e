package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sluice"
	"sluice/linux/netnstest"
)

// host is a host with one VM, "web", on a bridge, and the daemon that a test
// starts and ends. The VM is a network namespace behind a veth.
type host struct {
	*testing.T
	ns, vm *netnstest.NS
	dir    string
	binary string
	daemon *exec.Cmd
	log    *bytes.Buffer
	stop   chan error
}

// newHost builds the daemon with the given build tags.
func newHost(t *testing.T, tags string) *host {
	t.Helper()
	h := &host{T: t, ns: netnstest.New(t), vm: netnstest.New(t), dir: t.TempDir()}
	h.ns.Veth("tap-web", "", h.vm, "eth0", "192.0.2.2/24")
	h.ns.Do(func() {
		check := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		check(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
		bridge, err := netlink.LinkByName("br0")
		check(err)
		address, _ := netlink.ParseAddr("192.0.2.1/24")
		check(netlink.AddrAdd(bridge, address))
		check(netlink.LinkSetUp(bridge))
		tap, err := netlink.LinkByName("tap-web")
		check(err)
		check(netlink.LinkSetMaster(tap, bridge))
	})
	h.binary = filepath.Join(h.dir, "sluice")
	if out, err := exec.Command("go", "build", "-tags", tags, "-o", h.binary, "sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	settings := `
bridge = "br0"
capacity = "10gbit"

[[vm]]
name = "web"
[[vm.vif]]
device = "tap-web"
`
	if err := os.WriteFile(h.path("sluice.toml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.end)
	return h
}

// ip has ip(8) do what the lines say, in the namespace that it is called in.
func (h *host) ip(lines string) {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Errorf("ip: %v\n%s", err, out)
	}
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// start starts the daemon; env are more variables for it.
func (h *host) start(env ...string) {
	h.Helper()
	h.log = new(bytes.Buffer)
	h.daemon = exec.Command(h.binary, "serve", "--socket", h.path("socket"), "--state-dir", h.path("state"), "--config", h.path("sluice.toml"))
	h.daemon.Env = append(os.Environ(), env...)
	h.daemon.Stderr = h.log
	var err error
	h.ns.Do(func() { err = h.daemon.Start() })
	if err != nil {
		h.Fatal(err)
	}
	h.stop = make(chan error, 1)
	go func(d *exec.Cmd, stop chan error) { stop <- d.Wait() }(h.daemon, h.stop)
}

// ready waits until the daemon answers.
func (h *host) ready() {
	h.Helper()
	for deadline := time.Now().Add(75 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, _, status := h.try("list"); status == 0 {
			return
		}
	}
	h.Fatalf("the daemon does not answer:\n%s", h.log)
}

// ended waits until the daemon has ended.
func (h *host) ended() {
	h.Helper()
	select {
	case <-h.stop:
		h.daemon = nil
	case <-time.After(30 * time.Second):
		h.Fatal("the daemon does not end")
	}
}

func (h *host) end() {
	if h.daemon != nil {
		_ = h.daemon.Process.Kill()
		<-h.stop
		h.daemon = nil
	}
}

// try runs the command line and returns what it printed and its exit status.
func (h *host) try(args ...string) (out, text string, status int) {
	h.Helper()
	cmd := exec.Command(h.binary, append([]string{"--socket", h.path("socket")}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

func (h *host) sluice(args ...string) string {
	h.Helper()
	out, text, status := h.try(args...)
	if status != 0 {
		h.Fatalf("sluice %s: %d %s\n%s", strings.Join(args, " "), status, text, h.log)
	}
	return out
}

// set sets and returns the change.
func (h *host) set(args ...string) sluice.Change {
	h.Helper()
	var c sluice.Change
	if err := json.Unmarshal([]byte(h.sluice(append([]string{"set", "-o", "json"}, args...)...)), &c); err != nil {
		h.Fatal(err)
	}
	return c
}

// listed is the VM's line of sluice list.
func (h *host) listed() sluice.VIFStatus {
	h.Helper()
	var all []sluice.VIFStatus
	if err := json.Unmarshal([]byte(h.sluice("list", "-o", "json")), &all); err != nil || len(all) != 1 {
		h.Fatalf("listed %v, %v", all, err)
	}
	return all[0]
}

// kernel is what the kernel says the vif's limits are, in bit/s; 0 if none.
func (h *host) kernel() (limits [2]uint64) {
	h.Helper()
	h.ns.Do(func() {
		for i, dev := range []string{"sluice-tx", "sluice-rx"} {
			link, err := netlink.LinkByName(dev)
			if err != nil {
				continue
			}
			classes, err := netlink.ClassList(link, 0)
			if err != nil {
				h.Error(err)
			}
			for _, c := range classes {
				c, ok := c.(*netlink.HtbClass)
				if ok && c.Handle != netlink.MakeHandle(0x51ce, 1) && (limits[i] == 0 || c.Ceil*8 < limits[i]) { // a group has more
					limits[i] = c.Ceil * 8
				}
			}
		}
	})
	return limits
}

// flow is what the VM can send for a second, in bit/s.
func (h *host) flow() float64 {
	h.Helper()
	var l net.Listener
	var c net.Conn
	var err error
	h.ns.Do(func() { l, err = net.Listen("tcp", "192.0.2.1:0") })
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	h.vm.Do(func() { c, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second) })
	if err != nil {
		h.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		h.Fatal(err)
	}
	defer s.Close()
	go func() {
		for buf := make([]byte, 64<<10); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	measure := func(d time.Duration) (n int64) {
		_ = s.SetReadDeadline(time.Now().Add(d))
		for buf := make([]byte, 64<<10); ; {
			k, err := s.Read(buf)
			n += int64(k)
			if err != nil {
				return n
			}
		}
	}
	measure(500 * time.Millisecond)
	begin := time.Now()
	return float64(measure(time.Second)) * 8 / time.Since(begin).Seconds()
}
