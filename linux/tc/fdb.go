package tc

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Learnt is that a bridge forwards frames for a MAC address to a port.
type Learnt struct {
	MAC     [6]byte
	Ifindex int // of the port
}

const (
	sizeofNdmsg  = 12   // struct ndmsg (include/uapi/linux/neighbour.h)
	neighLLAddr  = 2    // NDA_LLADDR
	nudPermanent = 0x80 // NUD_PERMANENT: the port's own address, for the host itself
)

// Forwarding sends to each what the bridges have learnt of who is behind which
// port, in one dump.
func (c *Conn) Forwarding(each func(Learnt)) error {
	const what = "listing the bridges' forwarding database"
	ask := make([]byte, sizeofNdmsg)
	ask[0] = unix.AF_BRIDGE
	answers, err := c.execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request | netlink.Dump}, Data: ask})
	if err != nil {
		return explain(what, err)
	}
	for _, a := range answers {
		if len(a.Data) < sizeofNdmsg || a.Data[0] != unix.AF_BRIDGE || binary.NativeEndian.Uint16(a.Data[8:])&nudPermanent != 0 {
			continue
		}
		attrs, err := netlink.NewAttributeDecoder(a.Data[sizeofNdmsg:])
		if err != nil {
			return explain(what, err)
		}
		for attrs.Next() {
			if b := attrs.Bytes(); attrs.Type() == neighLLAddr && len(b) == 6 {
				each(Learnt{MAC: [6]byte(b), Ifindex: int(int32(binary.NativeEndian.Uint32(a.Data[4:])))})
			}
		}
	}
	return nil
}
