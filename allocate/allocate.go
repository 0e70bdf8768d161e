// Package allocate divides a link among those who want it: capacity and
// claims in, grants out. It is a pure function with no clock and no state, so
// it is both what decides and the oracle that a kernel's result is held against.
//
// The rule is weighted max-min fairness above guarantees, level by level, as a
// hierarchical token bucket shares at packet time (Linux net/sched/sch_htb.c):
// everybody first gets its guarantee, as far as it wants it; what is left goes
// to those who want more in proportion to their weights, until they have what
// they want or have reached their limit. What one does not use, others may.
// See Bertsekas and Gallager, Data Networks (1992), section 6.5.2.
package allocate

import (
	"fmt"
	"math/bits"
	"slices"

	"sluice"
)

// Host is the Group of a claim or group that stands directly under the host's capacity.
const Host = -1

// Claim is one vif's wish in one direction. Rates are bit/s.
type Claim struct {
	Guarantee sluice.Rate // what it gets whenever it wants it
	Limit     sluice.Rate // what it never exceeds
	Demand    sluice.Rate // what it would use if it could; [sluice.Unlimited] if unknown
	Weight    int         // its share of what is spare
	Group     int         // index of its group, or [Host]
}

// Group bounds the claims and groups below it together: a tenant, or a VM of
// several vifs. A group's demand is that of its members.
type Group struct {
	Guarantee sluice.Rate // what its members get together whenever they want it
	Limit     sluice.Rate // what they never exceed together
	Weight    int         // the group's share of what is spare
	Parent    int         // index of the group it is in, or [Host]
}

// Share returns what each claim is granted, in bit/s, by the order of claims.
//
// Grants are rounded down: of the capacity less than one bit/s a claim stays
// unused while anyone wants more. Where the guarantees that are wanted exceed
// the capacity or a group's limit, they are cut in proportion to themselves.
// It returns an [sluice.Error] with code Invalid for a weight outside
// [sluice.MinWeight] to [sluice.MaxWeight], a group that does not exist or is
// inside itself, or guarantees whose sum does not fit 64 bits.
func Share(capacity sluice.Rate, claims []Claim, groups []Group) ([]sluice.Rate, error) {
	t, err := newTree(claims, groups)
	if err != nil {
		return nil, err
	}
	// Wishes flow up, from members to groups; grants flow down.
	for i := len(t.order) - 1; i >= 0; i-- {
		t.sum(t.order[i])
	}
	t.divide(capacity, t.members[0])
	for _, g := range t.order {
		t.divide(t.nodes[len(claims)+g].grant, t.members[g+1])
	}
	grants := make([]sluice.Rate, len(claims))
	for i := range grants {
		grants[i] = t.nodes[i].grant
	}
	return grants, nil
}

// node is a claim or a group while the link is being divided.
type node struct {
	guarantee sluice.Rate // as far as it is wanted
	want      sluice.Rate // demand, within the limit
	weight    uint64
	grant     sluice.Rate
}

// tree holds the claims' nodes, followed by the groups'.
type tree struct {
	claims  int
	groups  []Group
	nodes   []node
	members [][]int // of the host, then of each group: indices into nodes
	order   []int   // groups, parents before their children
}

func newTree(claims []Claim, groups []Group) (*tree, error) {
	t := &tree{
		claims: len(claims), groups: groups,
		nodes:   make([]node, len(claims)+len(groups)),
		members: make([][]int, len(groups)+1),
	}
	var guarantees sluice.Rate // of all: no level's sum is higher, so none wraps
	for i, c := range claims {
		if err := t.add(i, c.Weight, c.Group); err != nil {
			return nil, err
		}
		guarantees = add(guarantees, min(c.Guarantee, c.Limit))
		want := min(c.Demand, c.Limit)
		t.nodes[i].want, t.nodes[i].guarantee = want, min(c.Guarantee, want)
	}
	for g, group := range groups {
		if err := t.add(len(claims)+g, group.Weight, group.Parent); err != nil {
			return nil, err
		}
		guarantees = add(guarantees, min(group.Guarantee, group.Limit))
	}
	if guarantees == sluice.Unlimited {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: "the sum of all guarantees is beyond any link",
			Try: fmt.Sprintf("guarantees of at most %s", sluice.MaxRate)}
	}
	for next := []int{Host}; len(next) > 0; next = next[1:] {
		for _, m := range t.members[next[0]+1] {
			if m >= t.claims {
				t.order = append(t.order, m-t.claims)
				next = append(next, m-t.claims)
			}
		}
	}
	if len(t.order) != len(groups) {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: "a group is inside itself", Try: "put its outermost group under the host"}
	}
	return t, nil
}

// add hangs node i under its group.
func (t *tree) add(i, weight, group int) error {
	if weight < sluice.MinWeight || weight > sluice.MaxWeight {
		return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s has weight %d", t.name(i), weight),
			Try: fmt.Sprintf("a weight of %d to %d", sluice.MinWeight, sluice.MaxWeight)}
	}
	if group < Host || group >= len(t.groups) {
		return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s is in group %d, which does not exist", t.name(i), group),
			Try: fmt.Sprintf("one of the %d groups, or %d for the host", len(t.groups), Host)}
	}
	t.nodes[i].weight = uint64(weight)
	t.members[group+1] = append(t.members[group+1], i)
	return nil
}

// name is what node i is called in an error.
func (t *tree) name(i int) string {
	if i < t.claims {
		return fmt.Sprintf("claim %d", i)
	}
	return fmt.Sprintf("group %d", i-t.claims)
}

// sum makes a group's wish from its members'.
func (t *tree) sum(group int) {
	g, n := t.groups[group], &t.nodes[t.claims+group]
	var guarantees sluice.Rate
	for _, m := range t.members[group+1] {
		n.want = add(n.want, t.nodes[m].want)
		guarantees = add(guarantees, t.nodes[m].guarantee)
	}
	n.want = min(n.want, g.Limit)
	n.guarantee = min(max(g.Guarantee, guarantees), n.want)
}

// divide grants the rate to the members.
func (t *tree) divide(rate sluice.Rate, members []int) {
	var guarantees sluice.Rate
	for _, m := range members {
		guarantees = add(guarantees, t.nodes[m].guarantee)
	}
	if guarantees > rate {
		// Not all guarantees fit: none gets more than its own, each in proportion to it.
		fill(rate, t.nodes, members, func(n *node) (sluice.Rate, uint64) { return n.guarantee, uint64(n.guarantee) })
		return
	}
	fill(rate-guarantees, t.nodes, members, func(n *node) (sluice.Rate, uint64) { return n.want - n.guarantee, n.weight })
	for _, m := range members {
		t.nodes[m].grant += t.nodes[m].guarantee
	}
}

// fill pours the rate over the members like water over vessels as wide as
// their weight and as high as their need, exactly: all comparisons are of
// 128-bit products.
func fill(rate sluice.Rate, nodes []node, members []int, wish func(*node) (need sluice.Rate, weight uint64)) {
	type vessel struct {
		node   *node
		need   uint64
		weight uint64
	}
	vessels := make([]vessel, 0, len(members))
	var width uint64 // of all that are not full yet
	for _, m := range members {
		nodes[m].grant = 0
		need, weight := wish(&nodes[m])
		if need > 0 {
			vessels = append(vessels, vessel{&nodes[m], uint64(need), weight})
			width = uint64(add(sluice.Rate(width), sluice.Rate(weight)))
		}
	}
	slices.SortFunc(vessels, func(a, b vessel) int { return compareProducts(a.need, b.weight, b.need, a.weight) })
	left := uint64(rate)
	for i, v := range vessels {
		if compareProducts(v.need, width, left, v.weight) > 0 {
			// This one and all wider or higher ones stay below their need.
			for _, v := range vessels[i:] {
				hi, lo := bits.Mul64(left, v.weight)
				share, _ := bits.Div64(hi, lo, width)
				v.node.grant = sluice.Rate(share)
			}
			return
		}
		v.node.grant = sluice.Rate(v.need)
		left -= v.need
		width -= v.weight
	}
}

// compareProducts compares a*b with c*d.
func compareProducts(a, b, c, d uint64) int {
	abHigh, abLow := bits.Mul64(a, b)
	cdHigh, cdLow := bits.Mul64(c, d)
	switch {
	case abHigh < cdHigh || abHigh == cdHigh && abLow < cdLow:
		return -1
	case abHigh == cdHigh && abLow == cdLow:
		return 0
	}
	return 1
}

// add stops at [sluice.Unlimited] instead of wrapping.
func add(a, b sluice.Rate) sluice.Rate {
	if sum := a + b; sum >= a {
		return sum
	}
	return sluice.Unlimited
}
