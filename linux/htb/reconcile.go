package htb

import (
	"context"
	"fmt"
	"maps"
	"math"

	"sluice"
)

// everything is that compare applies all that differs, however much.
const everything = math.MaxInt

// tries is how often what differs is applied, should the kernel change meanwhile.
const tries = 3

// compare compares what is to be with what is, applies what differs, most of
// it at a time, and reads it back. It returns what it did, and what is not
// enforced by key.
func (d *Driver) compare(ctx context.Context, l look, most int) (did []Op, failed map[string]error, err error) {
	l.all = l.all || !d.known
	if err := d.look(l); err != nil {
		d.known = false
		return nil, nil, err
	}
	if l.all || l.trees || len(l.links) > 0 || len(l.keys) > many {
		l.keys = nil
	}
	if l.keys != nil && len(d.others.found) > 0 { // others were here: what is it besides
		if err := d.look(look{trees: true}); err != nil {
			d.known = false
			return nil, nil, err
		}
		l.keys = nil
	}
	return d.reconcile(ctx, l.keys, most)
}

// plan makes both plans. Where the last ones were carried out whole, only what
// is different in the new ones is left to compare, and what was looked at:
// these are the names, and nil is everything.
func (d *Driver) plan(looked map[string]bool) (plans map[sluice.Direction]Tree, names map[string]bool) {
	old := d.plans
	partly := looked != nil && old != nil && len(d.waiting) == 0
	if partly && old[sluice.Tx].follows(d.state, d.basis[sluice.Tx], d.activity[sluice.Tx]) &&
		old[sluice.Rx].follows(d.state, d.basis[sluice.Rx], d.activity[sluice.Rx]) {
		names = maps.Clone(looked)
		for _, dir := range sluice.Directions {
			old[dir].follow(d.state, d.basis[dir], d.activity[dir])
			for key := range d.basis[dir].was {
				names[key] = true
			}
		}
		d.found()
		return partsOf(old, names), names
	}
	plans = make(map[sluice.Direction]Tree, 2)
	for _, dir := range sluice.Directions {
		plans[dir] = Plan(d.state, dir, d.activity[dir])
	}
	d.found()
	d.mu.Lock()
	d.anyLocal = hasLocal(plans)
	d.mu.Unlock()
	d.plans = plans
	if !partly {
		return plans, nil
	}
	names = maps.Clone(looked)
	for _, dir := range sluice.Directions {
		differ, same := plans[dir].differing(old[dir])
		if !same || len(differ) > many {
			return plans, nil
		}
		maps.Copy(names, differ)
	}
	return partsOf(plans, names), names
}

// found notes what the plans were made of.
func (d *Driver) found() {
	for _, dir := range sluice.Directions {
		d.basis[dir] = basis{state: d.state, vifs: len(d.state.VIFs), activity: d.activity[dir].Changed, was: map[string]VIF{}}
	}
}

func partsOf(of map[sluice.Direction]Tree, names map[string]bool) map[sluice.Direction]Tree {
	out := make(map[sluice.Direction]Tree, len(of))
	for dir, t := range of {
		out[dir] = t.part(names)
	}
	return out
}

// reconcile applies what differs from d.have, and reads it back. Of a plan that
// was carried out before, only looked are compared again; nil is everything.
// What is not enforced it returns by key.
func (d *Driver) reconcile(ctx context.Context, looked map[string]bool, most int) (did []Op, failed map[string]error, err error) {
	plans, names := d.plan(looked)
	if names == nil {
		failed = maps.Clone(d.unknown)
	} else {
		failed = maps.Clone(d.failing)
		maps.DeleteFunc(failed, func(key string, _ error) bool { return asked(names, key) })
	}
	done := false
	defer func() {
		if !done { // what is left is to be found by the next comparison
			d.plans = nil
		}
	}()
	for try := 0; ; try++ {
		left, wait := 0, map[class]bool{}
		var touched []touch
		for _, dir := range sluice.Directions {
			want := plans[dir]
			if want.Part {
				want.Names = d.at[dir]
			}
			if err := d.freshen(dir, want); err != nil {
				return did, nil, err
			}
			steps := Diff(*d.have[dir], want)
			d.note(dir, want, steps.At)
			for _, minor := range steps.Wait {
				wait[class{dir, minor}] = true
			}
			ops := steps.Ops[:min(len(steps.Ops), most-len(did))]
			left += len(steps.Ops)
			if try == tries {
				d.differs(dir, steps.Ops, failed)
				continue
			}
			errs := d.applyEach(ctx, dir, ops, failed)
			for i, op := range ops {
				switch err := errs[i]; {
				case err == nil:
					did = append(did, op)
					d.others.did(dir, op)
					touched = append(touched, touch{dir, op})
				case err == errSkipped:
				case ctx.Err() != nil || op.Name == "" && op.Do != Unlead && op.Do != DeleteClass:
					d.known = false
					return did, nil, err
				case op.Name != "":
					d.known = false
					failed[op.Name] = d.explain(d.vif(op.Name), err)
				default:
					d.known = false
					d.log.Warn("something of ours stays in the kernel until the next change", "step", op.String(), "error", err)
				}
			}
		}
		if done = left == 0; done || try == tries || most != everything {
			d.wait(wait)
			break
		}
		if err := d.readBack(touched); err != nil {
			d.known = false
			return did, nil, err
		}
	}
	for key, err := range d.obstacles(names) {
		if failed[key] == nil {
			failed[key] = err
		}
	}
	clear(d.others.found)
	d.failing = maps.Clone(failed)
	d.publish(failed, names)
	return did, failed, nil
}

// differs tells of what the kernel does not keep.
func (d *Driver) differs(dir sluice.Direction, ops []Op, failed map[string]error) {
	for _, op := range ops {
		d.known = false
		if failed[op.Name] == nil && op.Name != "" {
			failed[op.Name] = notApplied(fmt.Sprintf("%s: the kernel does not keep what was set", d.vif(op.Name)),
				fmt.Errorf("%s: still to do: %s", dir, op))
		}
	}
}

// vif is whom a name of a plan stands for.
func (d *Driver) vif(name string) sluice.VIF {
	if group, ok := sluice.GroupOf(name); ok {
		return sluice.GroupVIF(group)
	}
	return d.want.VIFs[name].VIF
}

// note remembers which classes the names have, for counters.
func (d *Driver) note(dir sluice.Direction, of Tree, at map[string]uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if of.Part {
		all := d.at[dir]
		for name, minor := range at {
			if all[name] != minor {
				all = maps.Clone(all)
				maps.Copy(all, at)
				break
			}
		}
		at = all
	}
	d.at[dir], d.ifbs[dir], d.plain = at, d.have[dir].IFB, d.have[dir].Plain
}
