package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

const datagram = 1400 // bytes of payload

// datagrams sends UDP through the VM's vif at a rate until ctx ends, and
// returns how many left and how many never arrived.
func (s *site) datagrams(ctx context.Context, d sluice.Direction, rate sluice.Rate) (sent, lost int, err error) {
	from, to, address := s.ends(d)
	var in *net.UDPConn
	var out net.Conn
	err = to.do(func() (err error) { in, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}); return })
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	if err := roomy(in); err != nil {
		return 0, 0, err
	}
	err = from.do(func() (err error) { out, err = net.Dial("udp", in.LocalAddr().String()); return })
	if err != nil {
		return 0, 0, err
	}
	defer out.Close()
	if err := heedless(out.(*net.UDPConn)); err != nil {
		return 0, 0, err
	}
	arrived := make(chan int)
	go func() {
		n := 0
		for buf := make([]byte, 2*datagram); ; n++ {
			if _, err := in.Read(buf); err != nil {
				arrived <- n
				return
			}
		}
	}()
	// A sender that was held up makes up for little: the rest would be a burst.
	const most = 16
	debt, tick := 0.0, time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for packet, last := make([]byte, datagram), time.Now(); ctx.Err() == nil; <-tick.C {
		now := time.Now()
		debt = min(debt+now.Sub(last).Seconds()*float64(rate)/8/datagram, most)
		for last = now; debt >= 1; debt-- {
			if _, err := out.Write(packet); err != nil {
				return sent, 0, fmt.Errorf("sending UDP: %w", err)
			}
			sent++
		}
	}
	_ = in.SetReadDeadline(time.Now().Add(time.Second))
	return sent, sent - <-arrived, nil
}

// roomy gives the receiver a queue in which nothing is lost while it waits
// for a processor.
func roomy(c *net.UDPConn) error { return buffer(c, unix.SO_RCVBUFFORCE) }

// heedless lets the sender go on however much of its own waits in a queue of
// this machine. What a VM sent has left it, and is no business of its socket.
func heedless(c *net.UDPConn) error { return buffer(c, unix.SO_SNDBUFFORCE) }

func buffer(c *net.UDPConn, option int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 64<<20) }); e != nil {
		return e
	}
	return err
}
