package e2e

import (
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// neighbours are the VMs beside "web": more than a screen of cards, less than
// a screen of rows.
var neighbours = []string{
	"shop-1", "shop-2", "shop-3", "db-1", "db-2", "cache-1", "cache-2", "mail", "dns-1", "dns-2", "proxy", "vpn", "git", "ci-1", "ci-2", "ci-3", "ci-4",
	"wiki", "chat", "video-1", "video-2", "backup", "logs", "metrics", "queue-1", "queue-2", "search-1", "search-2", "auth", "ldap", "print", "files-1",
	"files-2", "test-1", "test-2", "stage", "build", "old-crm", "erp",
}

// crowd gives the host the other VMs, before it is started: each a tap on the
// bridge, and its other end in the VM's namespace with an address of its own.
func (h *host) crowd(capacity string) {
	h.Helper()
	var links, ports, addresses, settings strings.Builder
	for i, name := range neighbours {
		tap, port := fmt.Sprintf("tap-%s", name), fmt.Sprintf("e%d", i)
		h.ns.Veth(tap, "", h.vm, port, "")
		fmt.Fprintf(&links, "link set %s master br0\n", tap)
		fmt.Fprintf(&ports, "link set %s up\n", port)
		fmt.Fprintf(&addresses, "addr add 192.0.2.%d/24 dev %s\n", 10+i, port)
		fmt.Fprintf(&settings, "\n[[vm]]\nname = %q\n[[vm.vif]]\ndevice = %q\n", name, tap)
	}
	h.ns.Do(func() { h.ip(links.String()) })
	h.vm.Do(func() {
		for _, setting := range []string{"all/arp_ignore", "default/arp_ignore"} { // an address is one port's alone
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+setting, []byte("1"), 0); err != nil {
				h.Error(err)
			}
		}
		h.ip(ports.String() + addresses.String())
	})
	file, err := os.ReadFile(h.path("sluice.toml"))
	if err != nil {
		h.Fatal(err)
	}
	text := strings.Replace(string(file), `capacity = "10gbit"`, fmt.Sprintf("capacity = %q", capacity), 1) + settings.String()
	if err := os.WriteFile(h.path("sluice.toml"), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// talk has the VM's port, of so many, send and receive until it is ended, up
// to about so many bit/s that swell and fall.
func (h *host) talk(i int, rate float64) (end func()) {
	h.Helper()
	var l net.Listener
	var err error
	h.ns.Do(func() { l, err = net.Listen("tcp", "192.0.2.1:0") })
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	bound := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(10+i))},
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.BindToDevice(int(fd), fmt.Sprintf("e%d", i)) })
		}}
	var there, here net.Conn
	h.vm.Do(func() { there, err = bound.Dial("tcp", l.Addr().String()) })
	if err != nil {
		h.Fatalf("%s: %v", neighbours[i], err)
	}
	if here, err = l.Accept(); err != nil {
		h.Fatal(err)
	}
	for n, c := range []net.Conn{there, here} {
		go func() {
			for buf := make([]byte, 64<<10); ; {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}()
		go func() {
			begin, phase := time.Now(), float64(i+20*n)
			for t := time.NewTicker(100 * time.Millisecond); ; <-t.C {
				now := rate * (0.6 + 0.4*math.Sin(phase+time.Since(begin).Seconds()/(3+float64(i%7))))
				if _, err := c.Write(make([]byte, int(now/80/float64(1+n)))); err != nil {
					t.Stop()
					return
				}
			}
		}()
	}
	return func() {
		there.Close()
		here.Close()
	}
}
