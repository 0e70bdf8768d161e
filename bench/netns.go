package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace. It ends when it is closed and nothing runs in it.
type space struct{ ns netns.NsHandle }

func newSpace() (*space, error) {
	s := new(space)
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		ns, err := netns.New()
		s.ns = ns
		if err == nil {
			err = up("lo", "")
		}
		if err == nil {
			err = mute()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	return s, nil
}

// mute keeps devices that are made here from making themselves known by IPv6:
// among hundreds on a bridge that is most of what passes for a while.
func mute() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *space) close() { s.ns.Close() }

// do runs f on a thread inside the namespace and waits for it.
func (s *space) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.ns); err != nil {
			done <- fmt.Errorf("entering a network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// run runs a program inside the namespace; the words are split at blanks.
func (s *space) run(ctx context.Context, words string) error {
	_, err := s.output(exec.CommandContext(ctx, strings.Fields(words)[0], strings.Fields(words)[1:]...))
	return err
}

func (s *space) output(cmd *exec.Cmd) (string, error) {
	var out, text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &text
	if err := s.do(cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", cmd, err, text.String(), out.String())
	}
	return out.String(), nil
}

// port makes a veth pair: here a port of the bridge, there dev with an
// address. Both are up.
func (s *space) port(bridge, name string, there *space, dev, address string) error {
	return s.do(func() error {
		b, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: b.Attrs().Index},
			PeerName: dev, PeerNamespace: netlink.NsFd(there.ns)}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("making %s: %w", name, err)
		}
		if err := there.do(func() error { return up(dev, address) }); err != nil {
			return err
		}
		if err := up(name, ""); err != nil {
			return err
		}
		return learn(name, there, dev)
	})
}

// learn has the bridge know who is behind a port, for where traffic goes one
// way only it would never find out, and send all of it to every port.
func learn(port string, there *space, dev string) error {
	mac, err := there.mac(dev)
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP,
		LinkIndex: l.Attrs().Index, HardwareAddr: mac})
}

func (s *space) mac(dev string) (mac net.HardwareAddr, err error) {
	err = s.do(func() error {
		l, err := netlink.LinkByName(dev)
		if err == nil {
			mac = l.Attrs().HardwareAddr
		}
		return err
	})
	return mac, err
}

func (s *space) bridge(name, address string) error {
	return s.do(func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
			return err
		}
		return up(name, address)
	})
}

// up sets a device up, with an address unless that is "".
func up(dev, address string) error {
	l, err := netlink.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("%s: %w", dev, err)
	}
	if address != "" {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// knows tells a namespace who has an address, for ever. The kernel's table of
// those it finds out by asking is one for all namespaces, and small.
func (s *space) knows(address string, there *space) error {
	mac, err := there.mac("eth0")
	if err != nil {
		return err
	}
	return s.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(address), HardwareAddr: mac})
	})
}
