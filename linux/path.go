package linux

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// PathTo is the network device by which frames to an address leave this host:
// of a bridge it is the port behind which the next hop was last heard. The error
// says where that cannot be known.
func PathTo(to netip.Addr) (device string, err error) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return "", fmt.Errorf("looking for the path to %s: %w", to, err)
	}
	defer conn.Close()
	to = to.Unmap()
	family := uint8(unix.AF_INET)
	if to.Is6() {
		family = unix.AF_INET6
	}
	routes, err := conn.Route.Get(&rtnetlink.RouteMessage{Family: family, DstLength: uint8(to.BitLen()), Attributes: rtnetlink.RouteAttributes{Dst: to.AsSlice()}})
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return "", fmt.Errorf("there is no route to %s: %w", to, err)
	}
	next, index := to, routes[0].Attributes.OutIface
	if gw, ok := netip.AddrFromSlice(routes[0].Attributes.Gateway); ok {
		next = gw.Unmap()
	}
	link, err := conn.Link.Get(index)
	if err != nil || link.Attributes == nil {
		return "", fmt.Errorf("the device of the route to %s cannot be read: %w", to, err)
	}
	if link.Attributes.Info == nil || link.Attributes.Info.Kind != "bridge" {
		return link.Attributes.Name, nil
	}
	neighbours, err := conn.Neigh.List()
	if err != nil {
		return "", fmt.Errorf("looking for the hardware address of %s: %w", next, err)
	}
	for _, n := range neighbours {
		if n.Index != index || n.Attributes == nil || len(n.Attributes.LLAddress) == 0 {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.Attributes.Address); ok && ip.Unmap() == next {
			return portOf(conn, link, n.Attributes.LLAddress)
		}
	}
	return "", fmt.Errorf("the hardware address of %s is not known", next)
}

// portOf is a bridge's port behind which a MAC was last heard, by its
// forwarding table (RTM_GETNEIGH of AF_BRIDGE; net/core/rtnetlink.c, rtnl_fdb_dump).
func portOf(conn *rtnetlink.Conn, bridge rtnetlink.LinkMessage, mac net.HardwareAddr) (string, error) {
	table, err := conn.Execute(&rtnetlink.NeighMessage{Family: unix.AF_BRIDGE}, unix.RTM_GETNEIGH, netlink.Request|netlink.Dump)
	if err != nil {
		return "", fmt.Errorf("reading the forwarding table of %s: %w", bridge.Attributes.Name, err)
	}
	for _, m := range table {
		n, ok := m.(*rtnetlink.NeighMessage)
		if !ok || n.Attributes == nil || n.State&unix.NUD_PERMANENT != 0 || !bytes.Equal(n.Attributes.LLAddress, mac) {
			continue
		}
		port, err := conn.Link.Get(n.Index)
		if err == nil && port.Attributes != nil && port.Attributes.Master != nil && *port.Attributes.Master == bridge.Index {
			return port.Attributes.Name, nil
		}
	}
	return "", fmt.Errorf("%s has not heard %s", bridge.Attributes.Name, mac)
}
