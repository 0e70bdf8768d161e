// Package guest is the collector inside a VM, and the host's client for it.
//
// In the VM a [Reader] reads the counters of /proc/net/dev, [Sample] takes the
// differences at an interval, a [Keeper] keeps them in an SQLite database that
// is bounded by age and size, and two servers answer pulls from it: HTTP on
// TCP ([NewServer]) and lines on a virtio-serial port ([Port]). On the host a
// [Client] pulls, over either.
//
// What a Client receives comes from a VM and is hostile: it is read with a
// size limit and a deadline, and checked before anybody sees it. The rules it
// is checked by ([check]) are the ones the collector itself keeps.
package guest

import "time"

// The bounds of what a collector says. A [Client] refuses what is beyond them.
const (
	MinInterval = 100 * time.Millisecond // between samples
	MaxInterval = time.Minute
	MaxLimit    = 1000 // samples in one answer

	minSpan   = 10 * time.Millisecond // shorter ones say nothing about a rate
	maxSpan   = 10 * time.Minute      // a VM that slept longer begins anew
	maxNICs   = 64                    // interfaces in one sample
	maxTotal  = 2000                  // interfaces in one answer, so that it stays under maxAnswer
	maxAnswer = 1 << 20               // bytes of one answer
)
