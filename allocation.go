package sluice

import (
	"fmt"
	"strings"
)

// Direction is a direction of traffic, always seen from the VM.
type Direction string

const (
	Tx Direction = "tx" // what the VM sends
	Rx Direction = "rx" // what the VM receives
)

// Directions are both, in the order they are shown.
var Directions = [2]Direction{Tx, Rx}

// Weights are relative and share what is spare; the range is cgroup v2's.
const (
	DefaultWeight = 100
	MinWeight     = 1
	MaxWeight     = 10_000
)

// Allocation is what one vif may use in one direction.
type Allocation struct {
	// Guarantee is what the vif gets whenever it wants it, in bit/s; 0 is none.
	Guarantee Rate `json:"guarantee"`
	// Limit is what it never exceeds, in bit/s, or [Unlimited].
	Limit Rate `json:"limit"`
	// Weight is its share of what is spare, [MinWeight] to [MaxWeight].
	Weight int `json:"weight"`
	// Priority above 0 is served before bulk, within the guarantee.
	Priority int `json:"priority,omitempty"`
}

// Unshaped is the allocation of a vif that nobody has set anything for.
var Unshaped = Allocation{Limit: Unlimited, Weight: DefaultWeight}

// Check reports whether the allocation can hold on a link of the given
// capacity ([Unlimited] where it is unknown). The error has code [Invalid]
// for values that make no sense anywhere, and [Refused] for those that only
// this link cannot carry.
func (a Allocation) Check(d Direction, capacity Rate) error {
	switch {
	case a.Limit == 0:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%s limit 0 would cut the VM off", d),
			Try: fmt.Sprintf("at least %s, or unlimited to lift the limit", MinLimit)}
	case a.Limit < MinLimit:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%s limit %s is below %s, the least that carries TCP", d, a.Limit, MinLimit),
			Try: fmt.Sprintf("at least %s", MinLimit)}
	case a.Limit != Unlimited && a.Limit > capacity:
		return &Error{Code: Refused, Message: fmt.Sprintf("%s limit %s is above the link's %s", d, a.Limit, capacity),
			Try: fmt.Sprintf("at most %s, or unlimited", capacity)}
	case a.Guarantee > a.Limit:
		return &Error{Code: Refused, Message: fmt.Sprintf("%s guarantee %s is above the limit %s", d, a.Guarantee, a.Limit),
			Try: fmt.Sprintf("a guarantee of at most %s, or a limit of at least %s", a.Limit, a.Guarantee)}
	case a.Guarantee > capacity:
		return &Error{Code: Refused, Message: fmt.Sprintf("%s guarantee %s is above the link's %s", d, a.Guarantee, capacity),
			Try: fmt.Sprintf("at most %s", capacity)}
	case a.Guarantee > MaxRate:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%s guarantee %s is beyond any link", d, a.Guarantee), Try: fmt.Sprintf("at most %s", MaxRate)}
	case a.Weight < MinWeight || a.Weight > MaxWeight:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%s weight %d is outside %d to %d", d, a.Weight, MinWeight, MaxWeight),
			Try: fmt.Sprintf("%d, the nearest that there is", min(max(a.Weight, MinWeight), MaxWeight))}
	case a.Priority < 0 || a.Priority > 1:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%s priority %d is neither 0 nor 1", d, a.Priority), Try: "0 or 1"}
	case a.Priority > 0 && a.Guarantee == 0:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%s priority counts within the guarantee, and there is none", d), Try: "--guarantee with it, or --priority 0"}
	}
	return nil
}

// Allocations are a vif's two directions, or a group's.
type Allocations struct {
	Tx Allocation `json:"tx"`
	Rx Allocation `json:"rx"`
	// Group is the group that a vif shares with: "" is none. A group's own is
	// the one that it is in, or [HostGroup]; "" is that it does not exist.
	Group string `json:"group,omitempty"`
	// Profile is the one that a vif has, which gives what was not set for it
	// itself; "" is none. See [Profiles.Resolve].
	Profile string `json:"profile,omitempty"`
	// Own are the fields that were set for the vif itself. See [Allocations.Set].
	Own Fields `json:"own,omitempty"`
}

// UnshapedBoth is the state of a vif that nobody has set anything for.
var UnshapedBoth = Allocations{Tx: Unshaped, Rx: Unshaped}

// Get returns one direction.
func (a Allocations) Get(d Direction) Allocation {
	if d == Tx {
		return a.Tx
	}
	return a.Rx
}

// Check checks both directions and the group's name; see [Allocation.Check].
func (a Allocations) Check(capacity Capacity) error {
	if a.Group != "" {
		if err := CheckGroup(a.Group); err != nil {
			return err
		}
	}
	if err := a.Tx.Check(Tx, capacity.Tx); err != nil {
		return err
	}
	return a.Rx.Check(Rx, capacity.Rx)
}

// String names what differs from [Unshaped]: "tx 10mbit, rx unlimited".
func (a Allocations) String() string {
	s := a.Tx.String()
	if a.Tx != a.Rx {
		s = fmt.Sprintf("tx %s, rx %s", a.Tx, a.Rx)
	}
	if a.Group != "" && a.Group != HostGroup {
		s += " in group " + a.Group
	}
	if a.Profile != "" {
		s += " by profile " + a.Profile
	}
	return s
}

// String is the limit, followed by the guarantee, weight and priority where
// they are set: "100mbit guarantee 20mbit", "guarantee 20mbit, no limit".
func (a Allocation) String() string {
	var parts []string
	if a.Limit != Unlimited {
		parts = append(parts, a.Limit.String())
	}
	if a.Guarantee != 0 {
		parts = append(parts, "guarantee "+a.Guarantee.String())
	}
	if a.Weight != DefaultWeight {
		parts = append(parts, fmt.Sprintf("weight %d", a.Weight))
	}
	if a.Priority != 0 {
		parts = append(parts, fmt.Sprintf("priority %d", a.Priority))
	}
	switch {
	case len(parts) == 0:
		return Unlimited.String()
	case a.Limit == Unlimited:
		return strings.Join(parts, " ") + ", no limit"
	}
	return strings.Join(parts, " ")
}

// Capacity is what the host's link carries, in bit/s; [Unlimited] where nobody said.
type Capacity struct {
	Tx Rate `json:"tx"`
	Rx Rate `json:"rx"`
}

// Get returns one direction.
func (c Capacity) Get(d Direction) Rate {
	if d == Tx {
		return c.Tx
	}
	return c.Rx
}
