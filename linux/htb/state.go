package htb

import "sluice"

// State is all that is to be enforced in one network namespace, with the
// devices looked up.
type State struct {
	Capacity sluice.Capacity
	// Overhead is what a frame takes on the link beyond its length in the
	// kernel, in bytes: [Ethernet] or 0 or what another medium takes.
	Overhead int
	Groups   map[string]sluice.Allocations // by name
	VIFs     map[string]VIF                // by [sluice.VIF.Key]
}

// VIF is one vif of a [State].
type VIF struct {
	Ifindex int // of its device
	Want    sluice.Allocations
}

// Ethernet is what a frame takes on the wire beyond what the kernel counts:
// preamble 8, frame check sequence 4 and gap 12 bytes (IEEE 802.3).
const Ethernet = 24

// contended says whether vifs stand against each other in a direction: the
// link's capacity is known, and somebody has a guarantee, a weight, a priority
// or a group.
func (s State) contended(d sluice.Direction) bool {
	if s.Capacity.Get(d) == sluice.Unlimited {
		return false
	}
	for _, v := range s.VIFs {
		a := v.Want.Get(d)
		a.Limit = sluice.Unlimited
		if a != sluice.Unshaped || v.Want.Group != "" {
			return true
		}
	}
	return false
}

// shaped are the keys of the vifs whose frames must pass the tree. Where
// nothing limits a vif and nobody shares, its frames go their own way.
func (s State) shaped(d sluice.Direction) map[string]VIF {
	all, contended := make(map[string]VIF, len(s.VIFs)), s.contended(d)
	for key, v := range s.VIFs {
		if s.passes(d, v, contended) {
			all[key] = v
		}
	}
	return all
}

// passes says whether a vif's frames must pass the tree.
func (s State) passes(d sluice.Direction, v VIF, contended bool) bool {
	return contended || v.Want.Group != "" || v.Want.Get(d).Limit != sluice.Unlimited
}

// ancestors are the names of a group and those that it is in, innermost
// first; ok is false where one of them does not exist.
func (s State) ancestors(group string) (names []string, ok bool) {
	for name := group; name != "" && name != sluice.HostGroup; {
		g, known := s.Groups[name]
		if !known || len(names) > sluice.MaxDepth {
			return nil, false
		}
		names = append(names, name)
		name = g.Group
	}
	return names, true
}
