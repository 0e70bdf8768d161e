package guest

import (
	"math"

	"sluice"
)

const (
	minPacket = 14      // bytes: an Ethernet header
	maxPacket = 1 << 19 // bytes: what BIG TCP lets one packet hold
)

// difference is the sample between two readings. An interface without a
// trustworthy difference is left out of it: one that is new, was replaced or
// had its counters reset. It reports false if there is no sample: too little
// or too much time has passed.
func difference(from, to reading) (sluice.Sample, bool) {
	span := to.at - from.at
	if span < minSpan || span > maxSpan {
		return sluice.Sample{}, false
	}
	s := sluice.Sample{At: to.wall, Span: span, NICs: make([]sluice.NICUsage, 0, len(to.nics))}
	for i, n := range to.nics {
		before := find(from.nics, n, i)
		if before == nil {
			continue
		}
		tx, okTx := passed(before.tx, n.tx, maxBytes(span))
		rx, okRx := passed(before.rx, n.rx, maxBytes(span))
		if okTx && okRx {
			s.NICs = append(s.NICs, sluice.NICUsage{Name: n.name, MAC: n.mac, Tx: tx, Rx: rx})
		}
	}
	return s, true
}

// find returns the same device in an earlier reading, where it probably has
// the same place, or nil.
func find(nics []nic, n nic, place int) *nic {
	if place < len(nics) && nics[place].index == n.index && nics[place].mac == n.mac {
		return &nics[place]
	}
	for i := range nics {
		if nics[i].index == n.index && nics[i].mac == n.mac {
			return &nics[i]
		}
	}
	return nil
}

// passed is what one direction's counters went forward by. A counter that
// went back has wrapped, at 32 or at 64 bits, or was reset: a wrap leaves the
// other counter going forward, by an amount that fits; a reset takes both
// back. It reports false when in doubt, or beyond most, as a guess could be a
// false spike.
func passed(from, to sluice.Counters, most uint64) (sluice.Counters, bool) {
	d := sluice.Counters{Bytes: to.Bytes - from.Bytes, Packets: to.Packets - from.Packets}
	bytesBack, packetsBack := to.Bytes < from.Bytes, to.Packets < from.Packets
	switch {
	case bytesBack && packetsBack:
		return d, false
	case bytesBack:
		d.Bytes = wrapped(from.Bytes, to.Bytes)
		if d.Bytes/maxPacket > d.Packets || d.Bytes/minPacket < d.Packets {
			return d, false
		}
	case packetsBack:
		d.Packets = wrapped(from.Packets, to.Packets)
		if d.Bytes/maxPacket > d.Packets || d.Bytes/minPacket < d.Packets {
			return d, false
		}
	}
	if to.Dropped >= from.Dropped {
		d.Dropped = to.Dropped - from.Dropped
	}
	return d, max(d.Bytes, d.Packets, d.Dropped) <= most
}

// wrapped is the way from a counter's value to a lower one across its end.
func wrapped(from, to uint64) uint64 {
	if from <= math.MaxUint32 {
		return 1<<32 - from + to
	}
	return to - from // modulo 2^64
}
