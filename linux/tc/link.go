package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network device.
type Link struct {
	Index  int
	Name   string
	Kind   string // the rtnetlink kind: tun, veth, macvtap, bridge, ifb; "" for hardware and plain drivers
	Up     bool   // administratively
	Master int    // the index of the bridge that it is a port of, or of another master; 0 for none
	Parent int    // the index of the device below it, or of a veth's other end (IFLA_LINK); 0 for none
	Abroad bool   // Parent is an index in another network namespace (IFLA_LINK_NETNSID)
	MAC    string // its own address, lower case
	TunTap bool   // of kind tun: frames pass, not IP packets
}

const (
	sizeofIfInfo = 16 // struct ifinfomsg
	infoKind     = 1  // IFLA_INFO_KIND
	infoData     = 2  // IFLA_INFO_DATA
	tunType      = 3  // IFLA_TUN_TYPE
	ifTap        = 2  // IFF_TAP
)

func linkMessage(index int, flags, change uint32, fill func(*netlink.AttributeEncoder)) ([]byte, error) {
	b := make([]byte, sizeofIfInfo)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	enc := netlink.NewAttributeEncoder()
	if fill != nil {
		fill(enc)
	}
	attrs, err := enc.Encode()
	return append(b, attrs...), err
}

// Links are all devices.
func (c *Conn) Links() ([]Link, error) {
	const what = "listing devices"
	data, err := linkMessage(0, 0, 0, func(enc *netlink.AttributeEncoder) {
		enc.Uint32(unix.IFLA_EXT_MASK, 1<<3) // RTEXT_FILTER_SKIP_STATS
	})
	if err != nil {
		return nil, explain(what, err)
	}
	answers, err := c.execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump}, Data: data})
	// A dump that was interrupted by a change is whole but for that change.
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, explain(what, err)
	}
	links := make([]Link, 0, len(answers))
	for _, a := range answers {
		l, err := decodeLink(a.Data)
		if err != nil {
			return nil, explain(what, err)
		}
		links = append(links, l)
	}
	return links, nil
}

// LinkByName reads one device; ok is false if there is none.
func (c *Conn) LinkByName(name string) (l Link, ok bool, err error) {
	if len(name) >= unix.IFNAMSIZ {
		return Link{}, false, nil // no device can be called so
	}
	return c.link("looking for "+name, 0, func(enc *netlink.AttributeEncoder) { enc.String(unix.IFLA_IFNAME, name) })
}

// LinkByIndex reads one device; ok is false if there is none.
func (c *Conn) LinkByIndex(index int) (l Link, ok bool, err error) {
	return c.link(fmt.Sprintf("looking for device %d", index), index, nil)
}

func (c *Conn) link(what string, index int, fill func(*netlink.AttributeEncoder)) (l Link, ok bool, err error) {
	data, err := linkMessage(index, 0, 0, fill)
	if err != nil {
		return l, false, explain(what, err)
	}
	answers, err := c.execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: data})
	if err = explain(what, err); err != nil {
		return l, false, present(err)
	}
	for _, a := range answers {
		if l, err = decodeLink(a.Data); err != nil {
			return l, false, explain(what, err)
		}
		ok = true
	}
	return l, ok, nil
}

// AddIFB makes an IFB device, set up.
func (c *Conn) AddIFB(name string) error {
	data, err := linkMessage(0, unix.IFF_UP, unix.IFF_UP, func(enc *netlink.AttributeEncoder) {
		enc.String(unix.IFLA_IFNAME, name)
		enc.Uint32(unix.IFLA_TXQLEN, 1000)
		enc.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(infoKind, "ifb")
			return nil
		})
	})
	return c.write("making "+name, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, data, err)
}

// SetUp sets a device up.
func (c *Conn) SetUp(index int) error {
	data, err := linkMessage(index, unix.IFF_UP, unix.IFF_UP, nil)
	return c.write(fmt.Sprintf("setting device %d up", index), unix.RTM_NEWLINK, 0, data, err)
}

// DeleteLink removes a device. None there is no error.
func (c *Conn) DeleteLink(index int) error {
	data, err := linkMessage(index, 0, 0, nil)
	return present(c.write(fmt.Sprintf("removing device %d", index), unix.RTM_DELLINK, 0, data, err))
}

func decodeLink(data []byte) (l Link, err error) {
	if len(data) < sizeofIfInfo {
		return l, fmt.Errorf("a link message of %d bytes", len(data))
	}
	l.Index = int(int32(binary.NativeEndian.Uint32(data[4:])))
	l.Up = binary.NativeEndian.Uint32(data[8:])&unix.IFF_UP != 0
	a, err := netlink.NewAttributeDecoder(data[sizeofIfInfo:])
	if err != nil {
		return l, err
	}
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_IFNAME:
			l.Name = a.String()
		case unix.IFLA_MASTER:
			l.Master = int(a.Uint32())
		case unix.IFLA_LINK:
			l.Parent = int(int32(a.Uint32()))
		case unix.IFLA_LINK_NETNSID:
			l.Abroad = true
		case unix.IFLA_ADDRESS:
			l.MAC = net.HardwareAddr(a.Bytes()).String()
		case unix.IFLA_LINKINFO:
			a.Nested(l.decodeInfo)
		}
	}
	return l, a.Err()
}

func (l *Link) decodeInfo(a *netlink.AttributeDecoder) error {
	for a.Next() {
		switch a.Type() {
		case infoKind:
			l.Kind = a.String()
		case infoData:
			if l.Kind != "tun" { // which comes first
				continue
			}
			a.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == tunType {
						l.TunTap = d.Uint8() == ifTap
					}
				}
				return d.Err()
			})
		}
	}
	return a.Err()
}

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
