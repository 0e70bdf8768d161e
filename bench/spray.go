package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

// wire is a datagram as HTB counts it: with UDP's, IP's and Ethernet's headers.
const wire = datagram + 42

// spray is UDP of many VMs in one direction. One sender serves them all, so
// that many cost little more than one.
type spray struct {
	rates []atomic.Uint64 // bit/s of wire, to be sent; may be set at any time
	sent  []atomic.Int64  // bytes of wire that left the sender
	came  []atomic.Int64  // bytes of wire that arrived
	ends  []net.Conn
}

// spray begins with nothing to send. arrived, unless nil, is told of every
// datagram and of when the kernel received it; VMs' calls overlap.
func (t *tenants) spray(d sluice.Direction, arrived func(i int, at int64)) (p *spray, err error) {
	n := len(t.vms)
	p = &spray{rates: make([]atomic.Uint64, n), sent: make([]atomic.Int64, n), came: make([]atomic.Int64, n)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	outs := make([]net.Conn, n)
	for i := range outs {
		from, to, address := t.ends(i, d)
		var in *net.UDPConn
		err := to.do(func() (err error) { in, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}); return })
		if err != nil {
			return p, err
		}
		p.ends = append(p.ends, in)
		if err := errors.Join(roomy(in), stamped(in)); err != nil {
			return p, err
		}
		err = from.do(func() (err error) { outs[i], err = net.Dial("udp", in.LocalAddr().String()); return })
		if err != nil {
			return p, err
		}
		p.ends = append(p.ends, outs[i])
		if err := heedless(outs[i].(*net.UDPConn)); err != nil {
			return p, err
		}
		go p.receive(i, in, arrived)
	}
	go p.send(outs)
	return p, nil
}

func (p *spray) close() {
	for _, c := range p.ends {
		c.Close()
	}
}

// set has a VM send at a rate.
func (p *spray) set(i int, r sluice.Rate) { p.rates[i].Store(uint64(r)) }

func (p *spray) send(outs []net.Conn) {
	packet, owed := make([]byte, datagram), make([]float64, len(outs))
	for last := time.Now(); ; time.Sleep(time.Millisecond) {
		now := time.Now()
		span := now.Sub(last).Seconds()
		last = now
		for i := range outs {
			rate := float64(p.rates[i].Load()) / 8
			owed[i] = min(owed[i]+span*rate, max(rate/50, 2*wire)) // who was held up makes up for little
			if rate == 0 {
				owed[i] = 0
			}
		}
		for some := true; some; { // one each, so that nobody waits for another's
			some = false
			for i, out := range outs {
				if owed[i] < wire {
					continue
				}
				if _, err := out.Write(packet); errors.Is(err, net.ErrClosed) {
					return
				}
				p.sent[i].Add(wire)
				owed[i] -= wire
				some = true
			}
		}
	}
}

func (p *spray) receive(i int, in *net.UDPConn, arrived func(int, int64)) {
	for buf, control := make([]byte, 2*datagram), make([]byte, 128); ; {
		_, n, _, _, err := in.ReadMsgUDP(buf, control)
		if err != nil {
			return
		}
		p.came[i].Add(wire)
		if arrived != nil {
			arrived(i, stamp(control[:n]))
		}
	}
}

// stamped has the kernel say when it received each datagram (socket(7), SO_TIMESTAMPNS).
func stamped(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }); e != nil {
		return e
	}
	return err
}

// stamp is that time, in ns since 1970: a struct timespec behind a struct cmsghdr.
func stamp(control []byte) int64 {
	if len(control) < 32 {
		return time.Now().UnixNano()
	}
	return int64(binary.NativeEndian.Uint64(control[16:]))*1e9 + int64(binary.NativeEndian.Uint64(control[24:]))
}

// look is what came to every VM and what was sent for it, in bit/s, for a while from now.
func (p *spray) look(ctx context.Context, span time.Duration) (came, sent []float64, err error) {
	read := func() (came, sent []float64) {
		for i := range p.came {
			came, sent = append(came, float64(p.came[i].Load())), append(sent, float64(p.sent[i].Load()))
		}
		return came, sent
	}
	came0, sent0 := read()
	begin := time.Now()
	if err := wait(ctx, span); err != nil {
		return nil, nil, err
	}
	came, sent = read()
	took := time.Since(begin).Seconds()
	for i := range came {
		came[i], sent[i] = (came[i]-came0[i])*8/took, (sent[i]-sent0[i])*8/took
	}
	return came, sent, nil
}
