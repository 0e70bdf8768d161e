package tc

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
)

// Stats are a qdisc's or class's counters.
type Stats struct {
	Bytes   uint64
	Packets uint64 // a GSO frame is as many as its segments
	Dropped uint64 // packets
	Backlog uint64 // bytes that wait now
	Queued  uint32 // frames that wait now; a GSO frame is one
	Tokens  int32  // an HTB class's: below 0, the ticks until it may again send by its own rate
	Memory  uint32 // of an fq_codel, bytes of the kernel's that what waits takes
}

// The attributes inside TCA_STATS2 (include/uapi/linux/gen_stats.h).
const (
	statsBasic = 1
	statsQueue = 3
	statsApp   = 4
	statsPkt64 = 8

	sizeofHTBStats      = 20 // struct tc_htb_xstats
	codelMemoryInXstats = 32 // struct tc_fq_codel_xstats: type, then the eighth of its qdisc's fields
)

func (s *Stats) decode(kind string) func(*netlink.AttributeDecoder) error {
	return func(a *netlink.AttributeDecoder) error {
		for a.Next() {
			b := a.Bytes()
			switch {
			case a.Type() == statsBasic && len(b) >= 12:
				s.Bytes = binary.NativeEndian.Uint64(b)
				s.Packets = max(s.Packets, uint64(binary.NativeEndian.Uint32(b[8:])))
			case a.Type() == statsPkt64 && len(b) >= 8:
				s.Packets = binary.NativeEndian.Uint64(b)
			case a.Type() == statsQueue && len(b) >= 12:
				s.Queued = binary.NativeEndian.Uint32(b)
				s.Backlog = uint64(binary.NativeEndian.Uint32(b[4:]))
				s.Dropped = uint64(binary.NativeEndian.Uint32(b[8:]))
			case a.Type() == statsApp && kind == "htb" && len(b) == sizeofHTBStats:
				s.Tokens = int32(binary.NativeEndian.Uint32(b[12:]))
			case a.Type() == statsApp && kind == FQCodelKind && len(b) >= codelMemoryInXstats+4:
				s.Memory = binary.NativeEndian.Uint32(b[codelMemoryInXstats:])
			}
		}
		return a.Err()
	}
}

// DeviceStats is the head of struct rtnl_link_stats64: what a device
// received and transmitted, seen from the host.
type DeviceStats struct {
	RxPackets, TxPackets, RxBytes, TxBytes uint64
	RxDropped, TxDropped                   uint64
}

const (
	rtmGetStats   = 94 // RTM_GETSTATS
	sizeofIfStats = 12 // struct if_stats_msg
	statsLink64   = 1  // IFLA_STATS_LINK_64
	sizeofCounted = 8 * 8
)

// AllDeviceStats are the counters of all devices by index, in one dump.
func (c *Conn) AllDeviceStats() (map[int]DeviceStats, error) {
	const what = "dumping the devices' counters"
	ask := make([]byte, sizeofIfStats)
	binary.NativeEndian.PutUint32(ask[8:], 1<<(statsLink64-1))
	answers, err := c.execute(netlink.Message{Header: netlink.Header{Type: rtmGetStats, Flags: netlink.Request | netlink.Dump}, Data: ask})
	if err != nil {
		return nil, explain(what, err)
	}
	all := make(map[int]DeviceStats, len(answers))
	for _, a := range answers {
		if err := decodeDeviceStats(a.Data, all); err != nil {
			return nil, explain(what, err)
		}
	}
	return all, nil
}

func decodeDeviceStats(data []byte, all map[int]DeviceStats) error {
	if len(data) < sizeofIfStats {
		return fmt.Errorf("a message of counters of %d bytes", len(data))
	}
	attrs, err := netlink.NewAttributeDecoder(data[sizeofIfStats:])
	if err != nil {
		return err
	}
	for attrs.Next() {
		b := attrs.Bytes()
		if attrs.Type() != statsLink64 || len(b) < sizeofCounted {
			continue
		}
		at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
		all[int(binary.NativeEndian.Uint32(data[4:]))] = DeviceStats{at(0), at(1), at(2), at(3), at(6), at(7)}
	}
	return attrs.Err()
}
