package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

// payload is what TCP can carry of a rate that HTB enforces. HTB counts a
// packet as the device does: Ethernet header, IP header, TCP header with
// timestamps and payload, and a GSO frame as all the packets it stands for
// (qdisc_pkt_len_init in net/core/dev.c). Preamble, FCS and gap do not count.
const payload = float64(1500-20-32) / (14 + 1500)

// ends are the sender's and the receiver's namespace, and the latter's address.
func (s *site) ends(d sluice.Direction) (from, to *space, address string) {
	if d == sluice.Tx {
		return s.vm, s.net, netAddr
	}
	return s.net, s.vm, vmAddr
}

// stream is one TCP connection through the VM's vif that sends all it can.
type stream struct {
	out, in *net.TCPConn
	buf     []byte
	failed  chan error // of the sender
}

// window bounds what is sent and not yet acknowledged; 0 leaves it to the
// kernel. It is the receiver's: a sender's buffer bounds no frame that is begun,
// and one of 64 KB may be.
func (s *site) stream(d sluice.Direction, window int) (*stream, error) {
	from, to, address := s.ends(d)
	var l net.Listener
	var out, in net.Conn
	var config net.ListenConfig
	if window > 0 {
		config.Control = func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, window) }); e != nil {
				return e
			}
			return err
		}
	}
	err := to.do(func() (err error) { l, err = config.Listen(context.Background(), "tcp", address+":0"); return })
	if err != nil {
		return nil, err
	}
	defer l.Close()
	err = from.do(func() (err error) { out, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second); return })
	if err != nil {
		return nil, err
	}
	if in, err = l.Accept(); err != nil {
		out.Close()
		return nil, err
	}
	f := &stream{out.(*net.TCPConn), in.(*net.TCPConn), make([]byte, 1<<20), make(chan error, 1)}
	go func() {
		for buf := make([]byte, 256<<10); ; {
			if _, err := f.out.Write(buf); err != nil {
				f.failed <- err
				return
			}
		}
	}()
	return f, nil
}

// close also waits for the sender.
func (f *stream) close() {
	f.out.Close()
	f.in.Close()
	<-f.failed
}

// errSilent is of a connection that stands, but over which nothing came.
var errSilent = errors.New("nothing arrived in time")

// rate reads for a while and returns the payload's rate in bit/s, from the
// middle of the first arrival to the middle of the last, so that a slow flow's
// steps do not blur it.
func (f *stream) rate(d time.Duration) (float64, error) {
	if err := f.in.SetReadDeadline(time.Now().Add(d)); err != nil {
		return 0, err
	}
	var first, last time.Time
	n, opening, closing := 0, 0, 0
	for {
		k, err := f.in.Read(f.buf)
		switch {
		case k > 0 && first.IsZero():
			first, opening = time.Now(), k
		case k > 0:
			n, closing, last = n+k, k, time.Now()
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("the connection broke: %w", err)
		}
	}
	if n == 0 {
		return 0, errSilent
	}
	return (float64(n) + float64(opening-closing)/2) * 8 / last.Sub(first).Seconds(), nil
}

// lost is how many segments the sender has sent again, but for those that
// the receiver says it had: loss probes and late acknowledgements.
func (f *stream) lost() (n int, err error) {
	raw, err := f.out.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return max(int(info.Total_retrans)-int(info.Dsack_dups), 0), nil
}
