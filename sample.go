package sluice

import "time"

// NICUsage is what passed one interface of a VM during a [Sample].
type NICUsage struct {
	Name string   `json:"name"`
	MAC  string   `json:"mac"` // lower case
	Tx   Counters `json:"tx"`  // what the VM sent
	Rx   Counters `json:"rx"`  // what the VM received
}

// Sample is what a VM's collector saw pass during one interval: differences
// of counters, never totals, so that wraps and resets are the collector's
// business and nobody else's.
type Sample struct {
	ID   uint64        `json:"id"`      // grows; what a pull continues after
	At   time.Time     `json:"at"`      // the guest's clock at the interval's end
	Span time.Duration `json:"span_ns"` // the interval's length, by a clock that does not step
	NICs []NICUsage    `json:"nics"`
}

// Samples is a collector's answer to a pull.
type Samples struct {
	Database string   `json:"database"` // names the database; another one means that IDs began anew
	Samples  []Sample `json:"samples"`  // oldest first
	More     bool     `json:"more,omitempty"`

	// Cost is what it took to receive them, in bytes: those of the answer, those
	// that came before it, and [guest.Client]'s share for every piece they came in.
	Cost int `json:"-"`
}
