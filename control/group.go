package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice"
)

// level is the name of the group that an allocation shares in.
func level(a sluice.Allocations) string { return cmp.Or(a.Group, sluice.HostGroup) }

// to is what the request makes of what is set now.
func (r Request) to(vif sluice.VIF, now sluice.Allocations, profiles sluice.Profiles) (sluice.Allocations, error) {
	invalid := func(message, try string) (sluice.Allocations, error) {
		return now, &sluice.Error{Code: sluice.Invalid, Message: message, Unchanged: "nothing was changed", Try: try}
	}
	name, _ := sluice.GroupOf(vif.Key())
	switch {
	case r.Delete && !vif.IsGroup():
		return invalid(fmt.Sprintf("%s is no group, and only groups are deleted", vif), "unlimited lifts a vif's limit")
	case name == sluice.HostGroup:
		return invalid("host is the host itself, and no group", "sluice capacity changes what the host's link carries")
	case r.Delete && now.Group == "":
		return now, noSuchGroup(name, nil)
	case r.Delete:
		return sluice.UnshapedBoth, nil
	}
	if vif.IsGroup() && (r.Profile != nil || r.Reset) {
		return invalid("a group has no profile", "give it to the vifs in it")
	}
	if !vif.IsGroup() {
		now.Own = now.Set()
		if r.Reset {
			now = sluice.UnshapedBoth
		}
		if err := r.choose(&now, profiles); err != nil {
			return now, err
		}
		if r.Reset || r.Profile != nil {
			now = profiles.Resolve(vif, now)
		}
	}
	to := sluice.Allocations{Tx: r.Tx.on(now.Tx), Rx: r.Rx.on(now.Rx), Group: now.Group, Profile: now.Profile, Own: now.Own}
	if r.Group != nil {
		to.Group = *r.Group
	}
	switch {
	case vif.IsGroup():
		to.Group = cmp.Or(to.Group, now.Group, sluice.HostGroup)
		if to.Tx.Priority != 0 || to.Rx.Priority != 0 {
			return invalid("a group has no priority", "give it to the vifs in it")
		}
		if to.Group == name {
			return invalid(fmt.Sprintf("%s cannot be in itself", vif), "another group, or host for none")
		}
	case to.Group == sluice.HostGroup:
		to.Group = ""
	}
	if !vif.IsGroup() {
		to.Own |= r.sets()
		to = to.Bend()
	}
	return to, nil
}

// choose has the vif have the profile that the request names.
func (r Request) choose(now *sluice.Allocations, profiles sluice.Profiles) error {
	if r.Profile == nil {
		return nil
	}
	now.Own |= sluice.ByProfile
	now.Profile = *r.Profile
	if _, ok := profiles.Find(now.Profile); !ok && now.Profile != "" {
		return profiles.NoSuchProfile(now.Profile)
	}
	return nil
}

// sets are the fields that the request names, besides the profile.
func (r Request) sets() (f sluice.Fields) {
	f = r.Tx.sets() | r.Rx.sets()<<4 // as [sluice.Fields] has them
	if r.Group != nil {
		f |= sluice.InGroup
	}
	return f
}

// moves says whether a change can make what is guaranteed not fit any more,
// though it raises nothing.
func moves(vif sluice.VIF, c sluice.Change) bool { return vif.IsGroup() || c.From.Group != c.To.Group }

// grouped refuses a change after which groups made no sense: one that does
// not exist or is in itself, too many inside one another, members without
// their group.
func (c *Control) grouped(nodes map[string]Node, vif sluice.VIF, change sluice.Change) error {
	if !moves(vif, change) {
		return nil
	}
	name, _ := sluice.GroupOf(vif.Key())
	refuse := func(message, try string) error {
		return &sluice.Error{Code: sluice.Refused, Message: message, Unchanged: keeps(vif, change.From), Try: try}
	}
	depth := 0
	for at := change.To.Group; at != "" && at != sluice.HostGroup; depth++ {
		n, ok := nodes[sluice.GroupVIF(at).Key()]
		switch {
		case !ok || n.Value.Group == "":
			return noSuchGroup(at, nodes)
		case at == name || depth > sluice.MaxDepth:
			return refuse(fmt.Sprintf("%s would be inside itself: group %s is in it", vif, change.To.Group), "another group, or host for none")
		}
		at = n.Value.Group
	}
	if vif.IsGroup() {
		depth++
	}
	if depth > sluice.MaxDepth {
		return refuse(fmt.Sprintf("%s would be the %dth group inside one another, and the kernel has room for %d", vif, depth, sluice.MaxDepth),
			"put it into an outer group")
	}
	if vif.IsGroup() && change.From.Group != "" && change.From.Group != change.To.Group {
		if members := c.members(nodes, name); len(members) > 0 {
			return refuse(fmt.Sprintf("%s has members: %s", vif, few(c.names(members))), "first: "+c.outOf(members))
		}
	}
	return nil
}

// members are the keys of the vifs and groups that are in a group or may come
// back to it.
func (c *Control) members(nodes map[string]Node, group string) (keys []string) {
	for key, n := range nodes {
		if n.Value.Group == group || n.Lease.Change != 0 && n.Lease.Back.Group == group {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// names are what people call those with the keys.
func (c *Control) names(keys []string) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = c.called(key)
	}
	return names
}

// outOf is what takes members out of whatever group they are in.
func (c *Control) outOf(keys []string) string {
	all := append(slices.Clone(c.census.VIFs()), c.census.absent()...)
	var commands []string
	for _, key := range keys {
		v, known := find(all, key)
		switch name, isGroup := sluice.GroupOf(key); {
		case isGroup:
			commands = append(commands, fmt.Sprintf("sluice group set %s --group host", name))
		case known:
			commands = append(commands, fmt.Sprintf("sluice set %s %d --group host", v.VM, v.Index))
		}
	}
	return few(commands)
}

func noSuchGroup(name string, nodes map[string]Node) error {
	e := &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no group %s", quote(name)), Unchanged: "nothing was changed",
		Try: fmt.Sprintf("sluice group set %s RATE makes it", name)}
	var all []string
	for key, n := range nodes {
		if g, ok := sluice.GroupOf(key); ok && n.Value.Group != "" {
			all = append(all, g)
		}
	}
	if len(all) > 0 {
		slices.Sort(all)
		e.Message += "; there are " + few(all)
	}
	return e
}

// few names at most eight.
func few(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Groups are all groups by name, without usage.
func (c *Control) Groups(ctx context.Context) ([]sluice.GroupStatus, error) {
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	all := []sluice.GroupStatus{}
	for _, key := range groupKeys(nodes) {
		n := nodes[key]
		if n.Value.Group == "" {
			continue // it is just being deleted
		}
		name, _ := sluice.GroupOf(key)
		all = append(all, sluice.GroupStatus{Name: name, Parent: n.Value.Group, State: n.State, Revision: n.Revision,
			Tx: sluice.DirectionStatus{}.With(n.Value.Tx), Rx: sluice.DirectionStatus{}.With(n.Value.Rx), Members: c.names(c.members(nodes, name))})
	}
	slices.SortFunc(all, func(a, b sluice.GroupStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// groupKeys are the keys of all groups, each after the one that it is in.
func groupKeys(nodes map[string]Node) []string {
	depth := func(key string) (n int) {
		for ; n <= sluice.MaxDepth && nodes[key].Value.Group != ""; n++ {
			key = sluice.GroupVIF(nodes[key].Value.Group).Key()
		}
		return n
	}
	var keys []string
	for key, n := range nodes {
		if _, ok := sluice.GroupOf(key); ok && (n.Value.Group != "" || n.State == sluice.Reconfiguring) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(a, b)) })
	return keys
}
