package htb

import (
	"context"
	"maps"
	"slices"
	"time"

	"sluice"
	"sluice/linux/tc"
)

const (
	// piece is how many devices' hooks are read before others may have the
	// processor, for breath: all of a thousand take half a second so.
	piece  = 16
	breath = 5 * time.Millisecond
)

// seen is what the kernel had, while changes went on.
type seen struct {
	links   map[string]int // indices by name
	classes map[sluice.Direction]map[uint16]tc.Class
	queues  map[sluice.Direction]map[uint16]tc.Qdisc
	hooks   map[int]map[sluice.Direction]Hook
}

// glance reads everything, keeping no change waiting, and says what is to be
// compared because it is not as we left it. Both trees' heads are not read, for
// every comparison does.
func (d *Driver) glance(ctx context.Context) (look, error) {
	d.mu.Lock()
	devices, at := maps.Clone(d.devices), sight{d.running, maps.Clone(d.ifbs), &d.sides}
	d.mu.Unlock()
	if len(devices) == 0 { // what is left of ours is looked at whole
		return look{trees: true, names: true}, nil
	}
	is := seen{links: map[string]int{}, classes: map[sluice.Direction]map[uint16]tc.Class{},
		queues: map[sluice.Direction]map[uint16]tc.Qdisc{}, hooks: map[int]map[sluice.Direction]Hook{}}
	links, err := d.counting.Links()
	if err != nil {
		return look{}, err
	}
	d.sides.learn(links...)
	for _, l := range links {
		is.links[l.Name] = l.Index
	}
	for _, dir := range sluice.Directions {
		classes := map[uint16]tc.Class{}
		is.classes[dir], is.queues[dir] = classes, map[uint16]tc.Qdisc{}
		if at.ifbs[dir] == 0 {
			continue
		}
		err := d.counting.Classes(at.ifbs[dir], func(c tc.Class) { classes[c.Handle.Minor()] = c })
		if err != nil && !tc.Absent(err) {
			return look{}, err
		}
	}
	hooked := make(map[int]tc.Qdisc, len(devices))
	err = d.counting.Qdiscs(0, func(q tc.Qdisc) {
		for _, dir := range sluice.Directions {
			if q.Ifindex == at.ifbs[dir] && q.Parent.Major() == major {
				is.queues[dir][q.Parent.Minor()] = q
			}
		}
		if q.Parent == tc.ClsactHooks {
			hooked[q.Ifindex] = q
		}
	})
	if err != nil {
		return look{}, err
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(devices)), piece) {
		for _, index := range some {
			is.hooks[index] = nil
			q, ok := hooked[index]
			if !ok {
				continue
			}
			if is.hooks[index], err = at.hooksOn(d.counting, q); err != nil && !tc.Absent(err) {
				return look{}, err
			}
		}
		select {
		case <-ctx.Done():
			return look{}, ctx.Err()
		case <-time.After(breath):
		}
	}
	if err := d.acquire(ctx); err != nil {
		return look{}, err
	}
	defer d.unlock()
	if !d.known || d.plans == nil {
		return look{all: true}, nil
	}
	return d.doubt(is)
}

// doubt compares what was seen with what we left. What differs is read once
// more, for it may be we who changed it meanwhile. d.lock is held.
func (d *Driver) doubt(is seen) (look, error) {
	l := look{keys: map[string]bool{}}
	for _, b := range d.want.VIFs {
		index, there := is.links[b.VIF.Device]
		if was, known := d.links[b.VIF.Device]; index != was || there != known {
			return look{all: true}, nil
		}
	}
	for _, dir := range sluice.Directions {
		for _, minor := range d.doubtful(dir, is.classes[dir], is.queues[dir]) {
			if l.trees {
				break
			}
			before := len(d.others.found)
			_, had := d.have[dir].Classes[minor]
			if err := d.readClass(dir, minor); err != nil {
				return look{}, err
			}
			_, has := d.have[dir].Classes[minor]
			l.trees = had != has || len(d.others.found) > before
		}
	}
	for index, hooks := range is.hooks {
		if d.sameHooks(index, hooks) {
			continue
		}
		was := map[sluice.Direction]Hook{}
		for _, dir := range sluice.Directions {
			if h, ok := d.have[dir].Hooks[index]; ok {
				was[dir] = h
			}
		}
		if err := d.readHooks(index); err != nil {
			return look{}, err
		}
		if !d.sameHooks(index, was) {
			if l.links == nil {
				l.links = map[int]bool{}
			}
			l.links[index] = true
		}
	}
	return l, nil
}

// doubtful are classes that are not, or whose queues are not, as we left them.
func (d *Driver) doubtful(dir sluice.Direction, classes map[uint16]tc.Class, queues map[uint16]tc.Qdisc) (minors []uint16) {
	k := d.have[dir]
	for minor, c := range classes {
		was, ok := k.Classes[minor]
		is, queued := queues[minor]
		queue, waited := k.Queues[minor]
		if !ok || !sameClass(c, was) || queued != waited || queued && !sameQueue(is, queue) {
			minors = append(minors, minor)
		}
	}
	for minor := range k.Classes {
		if _, ok := classes[minor]; !ok {
			minors = append(minors, minor)
		}
	}
	return minors
}

// sameHooks says whether a device's hooks are as we left them.
func (d *Driver) sameHooks(index int, hooks map[sluice.Direction]Hook) bool {
	for _, dir := range sluice.Directions {
		is, there := hooks[dir]
		was, known := d.have[dir].Hooks[index]
		if there != known || is.Clsact != was.Clsact || is.Ingress != was.Ingress || is.Ours != was.Ours || is.Current != was.Current ||
			is.Made != was.Made || is.Class != was.Class || is.Others != was.Others || !slices.Equal(is.Before, was.Before) {
			return false
		}
	}
	return true
}
