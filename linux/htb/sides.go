package htb

import (
	"sync"

	"sluice"
	"sluice/linux/tc"
)

// sides knows on which hook of a device a direction passes. What a VM sends
// comes into a tap or a veth of its, and goes out of its macvtap: there the
// device is the VM's own end (drivers/net/tap.c, tap_get_user sends by it). It is
// safe for concurrent use.
type sides struct {
	mu       sync.Mutex
	macvtaps map[int]bool // by index, which the kernel gives no other device
}

// learn notes what devices are.
func (s *sides) learn(links ...tc.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range links {
		switch {
		case l.Kind != macvtap:
			delete(s.macvtaps, l.Index)
		case s.macvtaps == nil:
			s.macvtaps = map[int]bool{l.Index: true}
		default:
			s.macvtaps[l.Index] = true
		}
	}
}

const macvtap = "macvtap"

// other is the opposite direction.
func other(d sluice.Direction) sluice.Direction {
	if d == sluice.Tx {
		return sluice.Rx
	}
	return sluice.Tx
}

// hook is where a direction passes a device. Directions are the VM's.
func (s *sides) hook(index int, d sluice.Direction) tc.Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (d == sluice.Tx) != s.macvtaps[index] {
		return tc.Ingress
	}
	return tc.Egress
}
