package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice"
)

// ProfilePatch is what a request changes of the host's profiles. One profile
// is set or deleted, or a pattern is given one, or the default is another.
type ProfilePatch struct {
	Name   string // the profile that is set; "" for none
	Tx, Rx *Patch // what its vifs have; nil fields stay as they are
	Group  *string
	Delete bool // it ceases to be

	Default *string       // the default from now on; "" for none
	Match   *sluice.Match // a pattern's profile; an empty one takes the pattern away

	Revision *uint64 // if set, the revision of the profiles that the asker saw
	By       string
	DryRun   bool
}

// Profiles are the host's.
func (c *Control) Profiles(ctx context.Context) (sluice.Profiles, error) {
	if p := c.profiles.Load(); p != nil {
		return *p, nil
	}
	p, err := c.Store.Profiles(ctx)
	if err == nil {
		c.profiles.CompareAndSwap(nil, &p)
	}
	return p, err
}

// SetProfiles changes the host's profiles, and with them all vifs that have
// one, as one batch: all or none. It returns the profiles and the changes of
// the vifs. An error says that nothing was changed, or what was. Vifs with a
// value for a time only follow when that ends.
func (c *Control) SetProfiles(ctx context.Context, p ProfilePatch) (sluice.Profiles, []sluice.Change, error) {
	c.profiling.Lock()
	defer c.profiling.Unlock()
	now, err := c.Profiles(ctx)
	if err != nil {
		return now, nil, err
	}
	if p.Revision != nil && *p.Revision != now.Revision {
		return now, nil, now.Changed()
	}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return now, nil, err
	}
	to, err := p.on(now)
	if err != nil {
		return now, nil, err
	}
	if err := to.Check(); err != nil {
		return now, nil, err
	}
	if p.Delete {
		if err := c.unused(nodes, p.Name, to); err != nil {
			return now, nil, err
		}
	}
	steps, err := c.steer(ctx, to, nodes, p.By)
	if err != nil {
		return now, nil, err
	}
	rounds, err := c.rounds(ctx, nodes, steps)
	if err != nil {
		var e *sluice.Error
		if errors.As(err, &e) {
			told := *e
			told.Unchanged = "no profile and no vif was changed"
			return now, nil, &told
		}
		return now, nil, err
	}
	if p.DryRun {
		if len(steps) == 0 {
			return to, nil, nil
		}
		changes, err := c.rehearseAll(ctx, steps)
		return to, changes, err
	}
	old := now
	if err := c.Store.PutProfiles(ctx, &to); err != nil {
		return now, nil, err
	}
	c.profiles.Store(&to)
	done, err := c.makeAll(ctx, rounds)
	if err == nil {
		return to, done, nil
	}
	old.Revision = to.Revision
	if back := c.Store.PutProfiles(context.WithoutCancel(ctx), &old); back != nil {
		return to, nil, errors.Join(err, back)
	}
	c.profiles.Store(&old)
	return old, nil, err
}

// on is what the patch makes of the profiles.
func (p ProfilePatch) on(now sluice.Profiles) (sluice.Profiles, error) {
	to := sluice.Profiles{Revision: now.Revision, Default: now.Default, All: slices.Clone(now.All), Match: slices.Clone(now.Match)}
	if p.Name != "" {
		at, found := slices.BinarySearchFunc(to.All, p.Name, func(x sluice.Profile, name string) int { return strings.Compare(x.Name, name) })
		switch {
		case p.Delete && !found:
			return now, now.NoSuchProfile(p.Name)
		case p.Delete:
			to.All = slices.Delete(to.All, at, at+1)
		case !found:
			if err := sluice.CheckProfile(p.Name); err != nil {
				return now, err
			}
			to.All = slices.Insert(to.All, at, sluice.Profile{Name: p.Name, Allocations: sluice.UnshapedBoth})
		}
		if !p.Delete {
			x := &to.All[at]
			x.Tx, x.Rx, x.Own = p.Tx.on(x.Tx), p.Rx.on(x.Rx), x.Own|p.Tx.sets()|p.Rx.sets()<<4
			if p.Group != nil {
				x.Group, x.Own = *p.Group, x.Own|sluice.InGroup
				if x.Group == sluice.HostGroup {
					x.Group = ""
				}
			}
		}
	}
	if p.Default != nil {
		to.Default = *p.Default
	}
	if m := p.Match; m != nil {
		at := slices.IndexFunc(to.Match, func(x sluice.Match) bool { return x.Pattern == m.Pattern })
		switch {
		case at < 0 && m.Profile == "":
			return now, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("no profile is given by the pattern %.80q", m.Pattern), Unchanged: "nothing was changed", Try: "sluice profile lists them"}
		case at < 0:
			to.Match = append(to.Match, *m)
		case m.Profile == "":
			to.Match = slices.Delete(to.Match, at, at+1)
		default:
			to.Match[at] = *m
		}
	}
	return to, nil
}

// unused refuses to delete a profile that was chosen for vifs.
func (c *Control) unused(nodes map[string]Node, name string, to sluice.Profiles) error {
	var keys []string
	for key, n := range nodes {
		if n.Value.Profile == name && n.Value.Own.Has(sluice.ByProfile) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	return &sluice.Error{Code: sluice.Refused, Message: fmt.Sprintf("profile %s was chosen for %s", name, few(c.names(keys))), Unchanged: "nothing was changed",
		Try: "give them another first: sluice set VM VIF --profile NAME"}
}

// steer is what brings all vifs in line with their profiles: those that are
// here, and those that are absent and of which something is kept.
func (c *Control) steer(ctx context.Context, profiles sluice.Profiles, nodes map[string]Node, by string) (steps []step, err error) {
	if err := c.census.load(ctx); err != nil {
		return nil, err
	}
	for _, v := range slices.Concat(c.census.VIFs(), c.census.absent()) {
		n, set := nodes[v.Key()]
		if !set && v.Device == "" {
			continue
		}
		if n.Revision == 0 { // a limit that its VM was created with is its own
			if name, _ := profiles.For(v, sluice.UnshapedBoth); name == "" {
				continue
			}
			if n, err = c.Store.Get(ctx, v.Key()); err != nil {
				return nil, err
			}
		}
		if n.Lease.Change != 0 || n.State != sluice.Connected {
			continue // its end is the time to look
		}
		nodes[v.Key()] = n
		if to := profiles.Resolve(v, n.Value); to != n.Value {
			if to.Profile == "" && to.Terms() == n.Value.Terms() {
				continue // an older Sluice's record, which says the same
			}
			steps = append(steps, step{vif: v, from: n.Value, to: to, by: by})
		}
	}
	return steps, nil
}

// conform gives vifs that came, were renamed or are without a lease again what
// their profiles say, each by a change of its own. A guarantee for which there
// is no room is left out, and tried again whenever something changes.
func (c *Control) conform(ctx context.Context) error {
	c.profiling.Lock()
	defer c.profiling.Unlock()
	profiles, err := c.Profiles(ctx)
	if err != nil || profiles.Revision == 0 {
		return err
	}
	// Room that others make while we look must not be overlooked: until we know better, somebody lacks it.
	c.lacking.Store(true)
	steps, err := c.steer(ctx, profiles, c.Settings(), self)
	if err != nil {
		return err
	}
	lacking := false
	var failed []error
	begun := make([]sluice.Change, len(steps))
	for i, s := range steps {
		var lacks bool
		if begun[i], lacks, err = c.conformOne(ctx, s); err != nil {
			failed = append(failed, err)
		}
		lacking = lacking || lacks
	}
	c.lacking.Store(lacking)
	for i, s := range steps {
		if begun[i].ID == 0 {
			continue
		}
		if _, err := c.await(ctx, s.vif, begun[i]); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// conformOne begins the change of one vif. It returns a change without an ID
// where there is nothing to do now; lacks says whether there is no room for all of it.
func (c *Control) conformOne(ctx context.Context, s step) (begun sluice.Change, lacks bool, err error) {
	seen, err := c.Store.Get(ctx, s.vif.Key())
	if err != nil {
		return begun, lacks, err
	}
	if seen.Value != s.from || seen.State != sluice.Connected {
		return begun, lacks, nil // somebody is just setting it: the end of that is the time to look
	}
	change := s.change()
	if change.By = self; s.to.Profile != "" {
		change.By = "profile " + s.to.Profile
	}
	_, err = c.check(ctx, s.vif, seen, change)
	if code := sluice.CodeOf(err); code == sluice.Refused || code == sluice.NotFound {
		why := err
		lacks = true
		for _, side := range []struct {
			of   *sluice.Allocation
			from sluice.Allocation
			g    sluice.Fields
		}{{&change.To.Tx, s.from.Tx, sluice.TxGuarantee}, {&change.To.Rx, s.from.Rx, sluice.RxGuarantee}} {
			if !s.to.Own.Has(side.g) {
				side.of.Guarantee = min(side.from.Guarantee, side.of.Guarantee)
				if side.of.Guarantee == 0 {
					side.of.Priority = 0
				}
			}
		}
		if change.To == s.from {
			return begun, lacks, nil // as it is since there was no room
		}
		if _, err := c.check(ctx, s.vif, seen, change); err != nil {
			c.Log.Warn("a vif cannot have what its profile says", "vif", s.vif, "profile", s.to.Profile, "why", err)
			return begun, lacks, nil
		}
		change.By += ", without its guarantee"
		c.Log.Warn("there is no room for what a vif's profile guarantees; it has the rest", "vif", s.vif, "profile", s.to.Profile, "why", why)
	} else if err != nil {
		return begun, lacks, err
	}
	begun, err = c.begin(ctx, s.vif, seen, change)
	if sluice.CodeOf(err) == sluice.Conflict {
		err = nil
	}
	return begun, lacks, err
}

// idle is how long what only a profile gave is kept for a vif that has gone: a
// VM that starts again finds it, and one that was deleted leaves nothing.
const idle = 10 * time.Minute

// leave drops what only profiles gave to vifs that have been gone for long;
// gone has since when each was seen gone, by key.
func (c *Control) leave(ctx context.Context, gone map[string]time.Time) {
	if !c.profiled() {
		return
	}
	nodes := c.Settings()
	absent := make(map[string]bool)
	for _, v := range c.census.absent() {
		n, set := nodes[v.ID]
		if !set || n.Value.Profile == "" || n.Value.Own != 0 || n.Lease.Change != 0 || n.State != sluice.Connected {
			continue
		}
		absent[v.ID] = true
		if gone[v.ID].IsZero() {
			gone[v.ID] = time.Now()
		}
		if time.Since(gone[v.ID]) < idle && !c.census.fleeting(v.ID) {
			continue
		}
		c.admission.Lock()
		_, err := c.forgetOne(ctx, v, "profile "+n.Value.Profile)
		c.admission.Unlock()
		if err != nil {
			c.Log.Warn("what a profile gave to a vif that has gone is kept; it is tried again", "vif", v, "error", err)
		}
	}
	for key := range gone {
		if !absent[key] {
			delete(gone, key)
		}
	}
}

// profiled says whether this host ever had a profile.
func (c *Control) profiled() bool {
	p := c.profiles.Load()
	return p != nil && p.Revision != 0
}

// strays says whether a node has not what its profile says any more: a change
// of its own ended, and it may be due.
func (c *Control) strays(u Update) bool {
	if !c.profiled() || u.Node.Lease.Change != 0 {
		return false
	}
	p := c.profiles.Load()
	v, known, err := c.find(context.Background(), u.Key)
	return err == nil && known && !v.IsGroup() && p.Resolve(v, u.Node.Value) != u.Node.Value
}
