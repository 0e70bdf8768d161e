package sluice

import "time"

// Counters are a vif's running totals in one direction.
type Counters struct {
	Bytes   uint64 `json:"bytes"`
	Packets uint64 `json:"packets"`
	Dropped uint64 `json:"dropped"` // packets that did not fit the queue
}

// DirectionStatus is one direction of a vif at one tick. Rates are bit/s.
type DirectionStatus struct {
	Usage     Rate `json:"usage"`  // what passed, by the host's own counters
	Demand    Rate `json:"demand"` // what was offered or waited for; at least Usage
	Limit     Rate `json:"limit"`  // null where there is none
	Guarantee Rate `json:"guarantee"`
	Weight    int  `json:"weight"`
	// Drops are the packets of the last tick that did not fit the queue.
	Drops    uint64 `json:"drops,omitempty"`
	Priority int    `json:"priority,omitempty"`
}

// With is the status with what is allocated.
func (s DirectionStatus) With(a Allocation) DirectionStatus {
	s.Limit, s.Guarantee, s.Weight, s.Priority = a.Limit, a.Guarantee, a.Weight, a.Priority
	return s
}

// Allocation is what is allocated.
func (s DirectionStatus) Allocation() Allocation {
	return Allocation{Limit: s.Limit, Guarantee: s.Guarantee, Weight: s.Weight, Priority: s.Priority}
}

// GuestReport is what a VM's own collector says of one vif. It is shown,
// never acted on: the host's counters are the truth.
type GuestReport struct {
	Tx        Rate      `json:"tx"` // bit/s over the guest's last interval
	Rx        Rate      `json:"rx"`
	At        time.Time `json:"at"`                  // the guest's clock
	Disagrees bool      `json:"disagrees,omitempty"` // the host saw something else
}

// Source says who knows about a vif's usage.
type Source string

const (
	SourceGuest Source = "guest" // the VM's collector answers, beside the host's counters
	SourceHost  Source = "host"  // only the host's counters
)

// VIFStatus is one vif's line of the data set.
type VIFStatus struct {
	VIF
	Source   Source          `json:"source"`
	State    State           `json:"state"`
	Revision uint64          `json:"revision"` // of its settings; for compare-and-set
	Group    string          `json:"group,omitempty"`
	Profile  string          `json:"profile,omitempty"` // see [Allocations]
	Own      Fields          `json:"own,omitempty"`     // what was set for it itself
	Absent   bool            `json:"absent,omitempty"`  // it is not there: this is what is kept for when it comes
	Tx       DirectionStatus `json:"tx"`
	Rx       DirectionStatus `json:"rx"`
	Guest    *GuestReport    `json:"guest,omitempty"`
	Problem  string          `json:"problem,omitempty"` // why its collector is not heard, in words
	// NotEnforced is why its frames do not obey what is set, in words; "" if they do.
	NotEnforced string `json:"not_enforced,omitempty"`
}

// DataSet is all vifs of a host at one tick: the patent's one light-weight
// data set that pairs every VM with its usage.
type DataSet struct {
	At       time.Time     `json:"at"`
	Interval time.Duration `json:"interval_ns"`
	Capacity Capacity      `json:"capacity"`
	VIFs     []VIFStatus   `json:"vifs"`
}

// HostCounters are the host kernel's totals of one vif's device, 64 bits
// wide. Directions are the VM's.
type HostCounters struct {
	// Epoch names what counted, such as the device's ifindex. Totals of two
	// epochs are never compared.
	Epoch     uint64
	Tx, Rx    Counters // what passed, after shaping
	TxOffered uint64   // bytes that came to the shaper; 0 where only Tx is known
	RxOffered uint64
	TxBacklog uint64 // bytes that wait in the queue now
	RxBacklog uint64
}

// Setting is what holds for one vif, as usage is shown beside it.
type Setting struct {
	Value    Allocations
	State    State
	Revision uint64 // of the device store; 0 if nothing was ever set
}
