package tc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Event is one announcement of the kernel's: something about a device, or
// about the traffic control on it, has changed.
type Event struct {
	Ifindex int    // 0: announcements were lost, and anything may have changed
	Link    bool   // the device itself came, went, or was changed
	Gone    bool   // the device went
	PID     uint32 // of the connection that asked for the change; 0 is the kernel itself
}

// Events listens to the kernel's announcements.
type Events struct{ nl *netlink.Conn }

// The groups of route netlink (include/uapi/linux/rtnetlink.h).
const (
	groupLink = 1 // RTNLGRP_LINK
	groupTC   = 4 // RTNLGRP_TC
)

// Subscribe begins to listen, in the network namespace of the calling thread.
func Subscribe() (*Events, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("opening route netlink: %w", err)
	}
	for _, group := range []uint32{groupLink, groupTC} {
		if err := nl.JoinGroup(group); err != nil {
			nl.Close()
			return nil, fmt.Errorf("listening to group %d of route netlink: %w", group, err)
		}
	}
	_ = nl.SetReadBuffer(4 << 20) // what does not fit is lost, and that is told
	return &Events{nl}, nil
}

// Close ends Receive.
func (e *Events) Close() error { return e.nl.Close() }

// Receive waits for the next announcements. It fails only once e is closed,
// or route netlink is broken.
func (e *Events) Receive() ([]Event, error) {
	messages, err := e.nl.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return []Event{{}}, nil
	}
	if err != nil {
		return nil, explain("listening to route netlink", err)
	}
	events := make([]Event, 0, len(messages))
	for _, m := range messages {
		if len(m.Data) < 8 {
			continue
		}
		// Both heads, ifinfomsg and tcmsg, have the index in the second word.
		ev := Event{Ifindex: int(int32(binary.NativeEndian.Uint32(m.Data[4:]))), PID: m.Header.PID}
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			// A bridge announces each step of a port's way to forwarding and
			// away, a thousand at once where a host starts. Of a device that
			// joins or leaves, the device's own announcement also tells
			// (br_ifinfo_notify in net/bridge/br_netlink.c, NETDEV_CHANGEUPPER
			// in rtnetlink_event of net/core/rtnetlink.c).
			if m.Data[0] == unix.AF_BRIDGE {
				continue
			}
			ev.Link, ev.Gone = true, m.Header.Type == unix.RTM_DELLINK
		}
		events = append(events, ev)
	}
	return events, nil
}
