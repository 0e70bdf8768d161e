package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/control"
	"sluice/http"
)

// tenants are a site with more VMs on its bridge: vm0, vm1 ... are their
// devices and so their names.
type tenants struct {
	*site
	vms []*space
}

func tenant(i int) string { return fmt.Sprint("vm", i) }

// newTenants makes so many VMs on one bridge, and the machine behind the uplink.
func newTenants(n int) (*tenants, error) {
	s, err := newSite()
	if err != nil {
		return nil, err
	}
	t := &tenants{site: s}
	for i := range n {
		vm, err := newSpace()
		if err != nil {
			t.close()
			return nil, err
		}
		t.vms = append(t.vms, vm)
		err = s.host.port(bridge, tenant(i), vm, "eth0", t.address(i)+"/24")
		if err == nil {
			err = errors.Join(vm.knows(netAddr, s.net), s.net.knows(t.address(i), vm))
		}
		if err != nil {
			t.close()
			return nil, err
		}
	}
	// What VMs get is compared by their frames' lengths, so the link takes none beyond.
	if err := t.settings(0); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// settings tells the daemon which port of the bridge is no VM's, for it is a
// veth here, and what a frame takes on the link beyond its length, in bytes.
func (s *site) settings(overhead int) error {
	s.config = filepath.Join(s.dir, "sluice.toml")
	return os.WriteFile(s.config, fmt.Appendf(nil, "uplink = %q\noverhead = %d\n", uplink, overhead), 0o600)
}

func (t *tenants) address(i int) string { return fmt.Sprintf("192.0.2.%d", 10+i) }

func (t *tenants) close() {
	t.site.close()
	for _, vm := range t.vms {
		vm.close()
	}
}

// ends are who sends and who receives in a direction of a VM, and the latter's address.
func (t *tenants) ends(i int, d sluice.Direction) (from, to *space, address string) {
	if d == sluice.Tx {
		return t.vms[i], t.net, netAddr
	}
	return t.net, t.vms[i], t.address(i)
}

// set asks the daemon for an allocation of both directions of a VM's vif.
func (t *tenants) set(ctx context.Context, i int, p control.Patch) error {
	_, err := t.client.Set(ctx, http.ChangeRequest{VM: tenant(i), Tx: &p, Rx: &p})
	return err
}

// load is traffic of one VM in one direction: it sends all it can, and counts
// what arrives, as the devices count it.
type load struct {
	in      []*net.TCPConn
	packets *net.UDPConn
	udp     atomic.Int64 // bytes that came
	close   func()
}

// piece is what the flows' programs write and read at once, in bytes. While
// the kernel copies it, nobody else has that processor.
const piece = 16 << 10

// tcp makes so many flows, which send when begin is closed; nil is at once.
func (t *tenants) tcp(i int, d sluice.Direction, flows int, begin <-chan struct{}) (*load, error) {
	from, to, address := t.ends(i, d)
	var l net.Listener
	err := to.do(func() (err error) { l, err = net.Listen("tcp", address+":0"); return })
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var all []net.Conn
	n := &load{close: func() {
		for _, c := range all {
			c.Close()
		}
	}}
	for range flows {
		var out net.Conn
		if err := from.do(func() (err error) { out, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second); return }); err != nil {
			n.close()
			return nil, err
		}
		in, err := l.Accept()
		if err != nil {
			n.close()
			return nil, err
		}
		all = append(all, in, out)
		n.in = append(n.in, in.(*net.TCPConn))
		go func() {
			if begin != nil {
				<-begin
			}
			for buf := make([]byte, piece); ; {
				if _, err := out.Write(buf); err != nil {
					return
				}
			}
		}()
		go func() {
			for buf := make([]byte, piece); ; {
				if _, err := in.Read(buf); err != nil {
					return
				}
			}
		}()
	}
	return n, nil
}

// flood sends UDP at a rate.
func (t *tenants) flood(i int, d sluice.Direction, rate sluice.Rate) (*load, error) {
	return t.floodOf(i, d, rate, 1400)
}

// floodOf is a flood of datagrams of so many bytes.
func (t *tenants) floodOf(i int, d sluice.Direction, rate sluice.Rate, size int) (*load, error) {
	from, to, address := t.ends(i, d)
	n := &load{}
	err := to.do(func() (err error) {
		n.packets, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)})
		return
	})
	if err != nil {
		return nil, err
	}
	var out net.Conn
	if err := from.do(func() (err error) { out, err = net.Dial("udp", n.packets.LocalAddr().String()); return }); err != nil {
		return nil, err
	}
	n.close = func() { out.Close(); n.packets.Close() }
	if err := heedless(out.(*net.UDPConn)); err != nil {
		n.close()
		return nil, err
	}
	_ = n.packets.SetReadBuffer(4 << 20)
	go func() {
		for buf := make([]byte, 2048); ; {
			k, err := n.packets.Read(buf)
			if err != nil {
				return
			}
			n.udp.Add(int64(k) + 42)
		}
	}()
	go func() {
		buf, begin, sent := make([]byte, size), time.Now(), 0.0
		for {
			for due := time.Since(begin).Seconds() * float64(rate) / 8; sent < due; sent += float64(size + 42) {
				if _, err := out.Write(buf); errors.Is(err, net.ErrClosed) {
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return n, nil
}

// bytes are all that came, with the headers that HTB counts. TCP's are its
// segments, so that one that waits for another counts when it comes.
func (n *load) bytes() (sum float64, err error) {
	for _, c := range n.in {
		raw, err := c.SyscallConn()
		if err != nil {
			return 0, err
		}
		var info *unix.TCPInfo
		if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil || err != nil {
			return 0, errors.Join(e, err)
		}
		sum += float64(info.Data_segs_in) * 1514
	}
	return sum + float64(n.udp.Load()), nil
}

// windows are what came in each of the spans that follow one another, in bit/s.
func windows(ctx context.Context, n *load, each time.Duration, count int) ([]float64, error) {
	tick := time.NewTicker(each)
	defer tick.Stop()
	var rates []float64
	last, err := n.bytes()
	at := time.Now()
	for range count {
		if err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		var now float64
		now, err = n.bytes()
		took := time.Since(at)
		at = at.Add(took)
		rates = append(rates, (now-last)*8/took.Seconds())
		last = now
	}
	return rates, err
}

// all runs everything at once.
func all(do ...func() error) error {
	var g sync.WaitGroup
	errs := make([]error, len(do))
	for i, f := range do {
		g.Go(func() { errs[i] = f() })
	}
	g.Wait()
	return errors.Join(errs...)
}
