package htb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sluice"
)

// look is what of the kernel to read before it is compared.
type look struct {
	all   bool
	keys  map[string]bool // vifs, or groups
	links map[int]bool    // devices
	trees bool            // both trees, whole
	names bool            // which device each vif's name leads to
}

// everything is that a reconcile applies all that differs, however much.
const everything = math.MaxInt

// tries is how often what differs is applied, should the kernel change meanwhile.
const tries = 3

// reconcile compares what is to be with what is, applies what differs, most of
// it at a time, and reads it back. It returns what it did, and what is not
// enforced by key.
func (d *Driver) reconcile(ctx context.Context, l look, most int) (did []Op, failed map[string]error, err error) {
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
	return d.settle(ctx, l.keys, maps.Clone(d.unknown), most)
}

// plan makes both plans. Where the last ones were carried out whole, only what
// is different in the new ones is left to compare, and what was looked at.
func (d *Driver) plan(looked map[string]bool) map[sluice.Direction]Tree {
	plans, old := make(map[sluice.Direction]Tree, 2), d.plans
	for _, dir := range sluice.Directions {
		again, ok := Tree{}, false
		if looked != nil && old != nil {
			again, ok = old[dir].replan(d.state, d.basis[dir], d.activity[dir])
		}
		if !ok {
			again = Plan(d.state, dir, d.activity[dir])
		}
		plans[dir] = again
	}
	for _, dir := range sluice.Directions {
		d.basis[dir] = basis{state: d.state, vifs: len(d.state.VIFs), observed: d.activity[dir].At, was: map[string]VIF{}}
	}
	d.mu.Lock()
	d.anyLocal = hasLocal(plans)
	d.mu.Unlock()
	d.plans = maps.Clone(plans)
	if looked == nil || len(d.waiting) > 0 {
		return plans
	}
	for _, dir := range sluice.Directions {
		names, same := plans[dir].differing(old[dir])
		if !same || len(names) > many {
			return plans
		}
		maps.Copy(names, looked)
		plans[dir] = plans[dir].part(names)
	}
	return plans
}

// settle applies what differs from d.have, and reads it back. Of a plan that
// was carried out before, only looked are compared again; nil is everything.
func (d *Driver) settle(ctx context.Context, looked map[string]bool, failed map[string]error, most int) (did []Op, _ map[string]error, err error) {
	plans := d.plan(looked)
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
	for key, err := range d.obstacles() {
		if failed[key] == nil {
			failed[key] = err
		}
	}
	clear(d.others.found)
	d.publish(failed)
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

// look reads what is to be compared.
func (d *Driver) look(l look) error {
	if l.all || !d.known || len(l.keys) > many {
		return d.readAll()
	}
	for _, dir := range sluice.Directions {
		read := d.readHead
		if l.trees {
			read = d.readTree
		}
		if err := read(dir); err != nil {
			return err
		}
	}
	links := maps.Clone(l.links)
	if links == nil {
		links = map[int]bool{}
	}
	for key := range l.keys {
		if v, ok := d.state.VIFs[key]; ok {
			links[v.Ifindex] = true
		}
	}
	for index := range links {
		if err := d.readHooks(index); err != nil {
			return err
		}
		for _, dir := range sluice.Directions {
			d.readLine(dir, index)
			if minor := d.have[dir].Map[index].Minor; minor != 0 && d.have[dir].HTB {
				if err := d.readClass(dir, minor); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// freshen reads the counters of classes that are to change, for what waits in
// them and their token deficits decide how.
func (d *Driver) freshen(dir sluice.Direction, want Tree) error {
	k := d.have[dir]
	if !k.HTB {
		return nil
	}
	wanted := make(map[uint16]bool, len(want.Nodes))
	names := d.at[dir]
	if !want.Part {
		names = match(*k, want)
	}
	for _, n := range want.Nodes {
		minor := names[n.Name]
		c, ok := k.Classes[minor]
		if !ok {
			continue
		}
		wanted[minor] = true
		if n.Class.Rate > c.Rate || !n.Group() && n.Class.Prio != c.Prio {
			if err := d.readClass(dir, minor); err != nil {
				return err
			}
		}
	}
	if want.Part {
		return nil
	}
	for minor := range k.Classes {
		if minor == rootMinor || wanted[minor] {
			continue
		}
		if err := d.readClass(dir, minor); err != nil {
			return err
		}
		if since, ok := d.waiting[class{dir, minor}]; ok && time.Since(since) > patience {
			c := k.Classes[minor]
			c.Stats.Backlog = 0
			k.Classes[minor] = c
		}
	}
	return nil
}

const (
	// patience is how long a class that is to go may send what waits in it.
	patience   = time.Second
	firstAgain = 2 * time.Millisecond
	lastAgain  = time.Second
)

// wait has classes looked at again soon.
func (d *Driver) wait(classes map[class]bool) {
	now := time.Now()
	for c := range d.waiting {
		if !classes[c] {
			delete(d.waiting, c)
		}
	}
	for c := range classes {
		if _, ok := d.waiting[c]; !ok {
			d.waiting[c] = now
			d.pause = firstAgain
		}
	}
	if len(classes) == 0 || d.closed {
		return
	}
	if d.again != nil {
		d.again.Stop()
	}
	d.again = time.AfterFunc(d.pause, d.lookAgain)
	d.pause = min(2*d.pause, lastAgain)
}

func (d *Driver) lookAgain() {
	if d.acquire(context.Background()) != nil {
		return
	}
	defer d.unlock()
	for c := range d.waiting {
		if err := d.readClass(c.direction, c.minor); err != nil {
			d.known = false
		}
	}
	if _, _, err := d.settle(context.Background(), nil, maps.Clone(d.unknown), everything); err != nil {
		d.log.Warn("classes that are not used any more stay until the next change", "error", err)
	}
}

// obstacles are what keeps vifs' frames from their classes, by key.
func (d *Driver) obstacles() map[string]error {
	found := make(map[string]error)
	for _, dir := range sluice.Directions {
		contended := d.state.contended(dir)
		for key, v := range d.state.VIFs {
			h := d.have[dir].Hooks[v.Ifindex]
			if !h.Ingress && len(h.Before) == 0 || !d.state.passes(dir, v, contended) {
				continue
			}
			device := d.want.VIFs[key].VIF.Device
			switch {
			case h.Ingress:
				found[key] = &sluice.Error{Code: sluice.Unsupported,
					Message: fmt.Sprintf("%s has an ingress qdisc of another program, which leaves no room for a clsact, so it is not shaped", device),
					Try:     "tc qdisc del dev " + device + " ingress, if nobody needs it"}
			case len(h.Before) > 0:
				side := "ingress"
				if dir == sluice.Rx {
					side = "egress"
				}
				found[key] = &sluice.Error{Code: sluice.NotApplied,
					Message: fmt.Sprintf("another program's filter runs before ours on %s %s: %s", device, side, strings.Join(h.Before, "; ")),
					Try:     fmt.Sprintf("tc filter show dev %s %s, or bpftool net show dev %s; have it end with the verdict continue, or remove it", device, side, device)}
			}
		}
	}
	return found
}

// vif is whom a name of a plan stands for.
func (d *Driver) vif(name string) sluice.VIF {
	if group, ok := sluice.GroupOf(name); ok {
		return sluice.GroupVIF(group)
	}
	return d.want.VIFs[name].VIF
}

// touch is a step that was made.
type touch struct {
	direction sluice.Direction
	op        Op
}

// readBack reads from the kernel what steps have touched.
func (d *Driver) readBack(touched []touch) error {
	if len(touched) > many {
		if err := d.readTree(sluice.Tx); err != nil {
			return err
		}
		if err := d.readTree(sluice.Rx); err != nil {
			return err
		}
	}
	hooks := map[int]bool{}
	for _, t := range touched {
		switch t.op.Do {
		case Redirect, Unredirect:
			hooks[t.op.Ifindex] = true
		}
		if len(touched) > many {
			continue
		}
		var err error
		switch t.op.Do {
		case MakeTree:
			err = d.readHead(t.direction)
		case MakeClass, ChangeClass, MakeQueue, ChangeQueue, DeleteClass:
			err = d.readClass(t.direction, t.op.Minor)
		case Lead, Unlead:
			d.readLine(t.direction, t.op.Ifindex)
		}
		if err != nil {
			return err
		}
	}
	for _, index := range slices.Sorted(maps.Keys(hooks)) {
		if err := d.readHooks(index); err != nil {
			return err
		}
	}
	return nil
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

// publish tells what is not enforced.
func (d *Driver) publish(failed map[string]error) {
	problems := make(map[string]string, len(failed))
	for key, v := range d.state.VIFs {
		for _, dir := range sluice.Directions {
			if v.Want.Get(dir).Guarantee > 0 && d.state.Capacity.Get(dir) == sluice.Unlimited {
				problems[key] = fmt.Sprintf("its %s guarantee is not held, for nobody said what the link carries (try: sluice capacity RATE)", dir)
			}
		}
	}
	for name, g := range d.state.Groups {
		for _, dir := range sluice.Directions {
			if g.Get(dir).Guarantee > 0 && d.state.Capacity.Get(dir) == sluice.Unlimited {
				problems[groupKey(name)] = fmt.Sprintf("its %s guarantee is not held, for nobody said what the link carries (try: sluice capacity RATE)", dir)
			}
		}
	}
	for key, err := range failed {
		problems[key] = words(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.problems = problems
}

// failed tells that a comparison came to no end: nothing is known to be
// enforced. Frames that are redirected to a tree that cannot be would be lost,
// so they go their own way.
func (d *Driver) failed(err error) {
	problems := make(map[string]string)
	for _, dir := range sluice.Directions {
		for key := range d.state.shaped(dir) {
			problems[key] = words(err)
		}
	}
	d.mu.Lock()
	d.problems = problems
	d.mu.Unlock()
	for _, dir := range sluice.Directions {
		_ = d.readHead(dir) // it may not have come to this one
	}
	if d.programs == nil && d.adopt(0) != nil { // a daemon before us left what redirects
		return
	}
	for _, dir := range sluice.Directions {
		k := d.have[dir]
		if k.sends() {
			continue
		}
		lines, _ := d.programs.lines(dir)
		for index := range lines {
			_ = d.programs.forget(dir, index)
		}
		clear(k.Map)
	}
}

// Problems are the reasons why vifs and groups are not enforced as was set,
// by key, as of the last look at the kernel.
func (d *Driver) Problems() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.problems)
}

func words(err error) string {
	var told *sluice.Error
	if errors.As(err, &told) {
		one := *told
		one.Unchanged = ""
		return one.Error()
	}
	return err.Error()
}
