// Package netnstest gives a test a network namespace of its own, so that it
// may use the real kernel without touching the machine's interfaces.
package netnstest

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// NS is a network namespace that ends with its test.
type NS struct {
	t  testing.TB
	ns netns.NsHandle
}

// New makes a namespace with its loopback up, and skips the test where that
// needs root and there is none.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	n := &NS{t: t}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		ns, err := netns.New()
		n.ns = ns
		if err == nil {
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				err = netlink.LinkSetUp(lo)
			}
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { n.ns.Close() })
	return n
}

// Do runs f on a thread inside the namespace and waits for it.
func (n *NS) Do(f func()) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done) // also where f ends the goroutine
		runtime.LockOSThread()
		if err := netns.Set(n.ns); err != nil {
			done <- err
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		n.t.Fatalf("entering the namespace: %v", err)
	}
}

// Veth makes a pair: dev here with one address, and peer with the other in
// that namespace. Both are up.
func (n *NS) Veth(dev, address string, in *NS, peer, peerAddress string) {
	n.t.Helper()
	n.Do(func() {
		n.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dev}, PeerName: peer}))
		l, err := netlink.LinkByName(peer)
		n.must(err)
		n.must(netlink.LinkSetNsFd(l, int(in.ns)))
		n.up(dev, address)
	})
	in.Do(func() { in.up(peer, peerAddress) })
}

func (n *NS) up(dev, address string) {
	l, err := netlink.LinkByName(dev)
	n.must(err)
	if address != "" {
		a, err := netlink.ParseAddr(address)
		n.must(err)
		n.must(netlink.AddrAdd(l, a))
	}
	n.must(netlink.LinkSetUp(l))
}

func (n *NS) must(err error) {
	if err != nil {
		n.t.Helper()
		n.t.Error(err)
		runtime.Goexit()
	}
}
