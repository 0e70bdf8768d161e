package htb

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"sluice"
	"sluice/linux/tc"
)

// ifbName is the device that a direction's tree is on.
func ifbName(d sluice.Direction) string { return "sluice-" + string(d) }

// readAll reads everything that can be ours. d.lock is held, as in all that follows.
func (d *Driver) readAll() error {
	for _, dir := range sluice.Directions {
		if err := d.readTree(dir); err != nil {
			return err
		}
	}
	links, err := d.conn.Links()
	if err != nil {
		return err
	}
	d.sides.learn(links...)
	d.links = make(map[string]int, len(links))
	there := make(map[int]bool, len(links))
	for _, l := range links {
		if l.Index != d.have[sluice.Tx].IFB && l.Index != d.have[sluice.Rx].IFB {
			d.links[l.Name], there[l.Index] = l.Index, true
		}
	}
	for _, dir := range sluice.Directions {
		for index := range d.have[dir].Hooks {
			if !there[index] {
				delete(d.have[dir].Hooks, index)
			}
		}
	}
	for index := range there {
		if err := d.readHooks(index); err != nil {
			return err
		}
	}
	d.known = true
	return nil
}

// foreign says that a device with an IFB's name is none, and so not ours.
func foreign(l tc.Link) error {
	if l.Kind == "ifb" {
		return nil
	}
	return fmt.Errorf("%s is not an IFB but a %q of somebody else's", l.Name, l.Kind)
}

// readHead reads whether a direction's tree is there and works.
func (d *Driver) readHead(dir sluice.Direction) error {
	k := d.have[dir]
	link, ok, err := d.conn.LinkByName(ifbName(dir))
	if err != nil {
		return err
	}
	var taken error
	if ok {
		taken = foreign(link)
		ok = taken == nil
	}
	was := *k
	k.IFB, k.Up, k.HTB, k.Classifier, k.Taken = 0, false, false, false, false
	if ok {
		k.IFB, k.Up = link.Index, link.Up
		q, there, err := d.conn.Qdisc(link.Index, tc.NewHandle(major, 0))
		if err != nil {
			return err
		}
		k.HTB = there && q.Kind == "htb"
		err = d.conn.Filters(link.Index, tc.Egress, func(f tc.Filter) {
			k.Taken = k.Taken || f.BPF.DirectAction || slices.ContainsFunc(f.Actions, func(a tc.Action) bool { return a.Verdict == tc.Drop || a.Verdict == tc.Stolen })
		})
		if err != nil {
			return err
		}
	}
	if was.IFB != 0 && (was.IFB != k.IFB || was.Up && !k.Up || was.HTB && !k.HTB || !was.Taken && k.Taken) {
		d.disturbed(dir, rootMinor)
	}
	if was.IFB != k.IFB || !k.HTB {
		if len(k.Classes) > 0 {
			d.disturbedTree(dir)
		}
		k.Classes, k.Queues = map[uint16]tc.Class{}, map[uint16]tc.Qdisc{}
	}
	if was.IFB != k.IFB { // what redirects leads to one that has gone
		for index, h := range k.Hooks {
			h.Current = false
			k.Hooks[index] = h
		}
	}
	if taken != nil {
		return taken
	}
	if !k.HTB {
		return nil
	}
	var id uint32
	first := true // of two that match, the one that runs first chooses the class
	err = d.conn.Filters(k.IFB, tc.NewHandle(major, 0), func(f tc.Filter) {
		if f.Chain != 0 {
			return
		}
		if first && f.Kind == tc.BPFKind && f.BPF.Name == classifierName && f.Pref == classifierPref {
			id = f.BPF.ProgramID
		}
		first = false
	})
	if err != nil {
		return err
	}
	defer func() {
		if was.Classifier && !k.Classifier {
			d.disturbed(dir, rootMinor)
		}
	}()
	if id == 0 {
		return nil
	}
	if d.programs == nil {
		// A daemon before us left the program: its maps go on being used.
		if err := d.adopt(id); err != nil {
			return err
		}
	}
	k.Classifier = d.programs.ours(id, d.programs.choose[dir])
	return nil
}

// adopt loads our programs with the maps of one in the kernel, and of its
// sister for the other direction.
func (d *Driver) adopt(id uint32) error {
	found := mapsOf(id)
	for _, dir := range sluice.Directions {
		link, ok, err := d.conn.LinkByName(ifbName(dir))
		if err != nil || !ok {
			continue
		}
		_ = d.conn.Filters(link.Index, tc.NewHandle(major, 0), func(f tc.Filter) {
			if f.BPF.Name == classifierName {
				d.takeMaps(found, f.BPF.ProgramID)
			}
		})
	}
	// Only the hooks' programs know the map of what is local.
	links, err := d.conn.Links()
	if err != nil {
		return err
	}
	d.sides.learn(links...)
	for _, l := range links {
		if found[localsName] != nil {
			break
		}
		for _, dir := range sluice.Directions {
			_ = d.conn.Filters(l.Index, d.sides.hook(l.Index, dir), func(f tc.Filter) {
				if ours, _, class := recognise(f, dir); ours && class == 0 && found[localsName] == nil {
					d.takeMaps(found, f.BPF.ProgramID)
				}
			})
		}
	}
	return d.loadWith(found)
}

func (d *Driver) takeMaps(found map[string]*ebpf.Map, id uint32) {
	for name, m := range mapsOf(id) {
		if found[name] != nil {
			m.Close()
			continue
		}
		found[name] = m
	}
}

// needPrograms loads them where they are not: an earlier attempt may have failed.
func (d *Driver) needPrograms() error {
	if d.programs != nil {
		return nil
	}
	return d.loadWith(nil)
}

func (d *Driver) loadWith(found map[string]*ebpf.Map) (err error) {
	d.programs, err = load(found)
	if err == nil {
		d.adoptLocal()
	}
	d.mu.Lock()
	d.running = d.programs
	d.mu.Unlock()
	for _, m := range found {
		if d.programs == nil || m != d.programs.locals && m != d.programs.classes[sluice.Tx] && m != d.programs.classes[sluice.Rx] {
			m.Close()
		}
	}
	return err
}

// readTree reads a direction's tree whole.
func (d *Driver) readTree(dir sluice.Direction) error {
	if err := d.readHead(dir); err != nil {
		return err
	}
	k := d.have[dir]
	classes, queues := k.Classes, k.Queues
	k.Classes, k.Queues = map[uint16]tc.Class{}, map[uint16]tc.Qdisc{}
	if k.HTB {
		err := d.conn.Classes(k.IFB, func(c tc.Class) { k.Classes[c.Handle.Minor()] = c })
		if err != nil {
			return err
		}
		err = d.conn.Qdiscs(k.IFB, func(q tc.Qdisc) {
			if q.Parent.Major() == major {
				k.Queues[q.Parent.Minor()] = q
			}
		})
		if err != nil {
			return err
		}
	}
	for minor, c := range classes {
		q, queued := queues[minor]
		d.compareClass(dir, minor, c, true, q, queued)
	}
	was := k.Map
	k.Map = map[int]Entry{}
	if d.programs == nil {
		return nil
	}
	lines, err := d.programs.lines(dir)
	for index, l := range lines {
		k.Map[index] = entryOf(l)
	}
	for index, e := range was {
		if k.Map[index] != e {
			d.disturbedVIF(index)
		}
	}
	return err
}

// readClass reads one class and its queue.
func (d *Driver) readClass(dir sluice.Direction, minor uint16) error {
	k := d.have[dir]
	was, had := k.Classes[minor]
	queue, queued := k.Queues[minor]
	defer func() { d.compareClass(dir, minor, was, had, queue, queued) }()
	c, ok, err := d.conn.Class(k.IFB, handleOf(minor))
	if err != nil {
		return err
	}
	delete(k.Queues, minor)
	if !ok {
		delete(k.Classes, minor)
		return nil
	}
	k.Classes[minor] = c
	if !c.Leaf() {
		return nil
	}
	q, ok, err := d.conn.Qdisc(k.IFB, c.Queue)
	if ok {
		k.Queues[minor] = q
	}
	return err
}

// readLine reads a device's line in the map.
func (d *Driver) readLine(dir sluice.Direction, index int) {
	k := d.have[dir]
	was, had := k.Map[index]
	delete(k.Map, index)
	if d.programs == nil {
		return
	}
	var l line
	if d.programs.classes[dir].Lookup(uint32(index), &l) == nil {
		k.Map[index] = entryOf(l)
	}
	if had && k.Map[index] != was {
		d.disturbedVIF(index)
	}
}

// readHooks reads what is on a device's hooks. A device that has gone has none.
func (d *Driver) readHooks(index int) error {
	hooks, err := d.sight().hooks(d.conn, index)
	for _, dir := range sluice.Directions {
		h, there := hooks[dir]
		if was := d.have[dir].Hooks[index]; was.Current && !h.Current {
			d.disturbedVIF(index)
		}
		if delete(d.have[dir].Hooks, index); there {
			d.have[dir].Hooks[index] = h
		}
	}
	return err
}

// sight is what tells whether a hook is as it is to be.
type sight struct {
	programs *programs
	ifbs     map[sluice.Direction]int
	sides    *sides
}

func (d *Driver) sight() sight {
	return sight{d.programs, map[sluice.Direction]int{sluice.Tx: d.have[sluice.Tx].IFB, sluice.Rx: d.have[sluice.Rx].IFB}, &d.sides}
}

// hooks reads what is on a device's hooks.
func (s sight) hooks(conn *tc.Conn, index int) (map[sluice.Direction]Hook, error) {
	q, ok, err := conn.Hooks(index)
	if err != nil || !ok {
		return nil, err
	}
	return s.hooksOn(conn, q)
}

// hooksOn reads what is on a device's hooks, whose qdisc is known.
func (s sight) hooksOn(conn *tc.Conn, q tc.Qdisc) (hooks map[sluice.Direction]Hook, err error) {
	index := q.Ifindex
	hooks = make(map[sluice.Direction]Hook, 2)
	others := false
	for _, dir := range sluice.Directions {
		h := Hook{Clsact: q.Kind == "clsact", Ingress: q.Kind == "ingress"}
		if h.Clsact {
			if h, err = s.hook(conn, index, dir, h); err != nil {
				return nil, err
			}
		}
		others = others || h.Others
		hooks[dir] = h
	}
	for dir, h := range hooks {
		h.Others = others
		hooks[dir] = h
	}
	return hooks, nil
}

func (s sight) hook(conn *tc.Conn, index int, dir sluice.Direction, h Hook) (Hook, error) {
	at := s.sides.hook(index, dir)
	h.Before = tcx(index, at)
	err := conn.Filters(index, at, func(f tc.Filter) {
		ours, made, class := recognise(f, dir)
		if !ours { // an older Sluice took a macvtap's directions for a tap's
			ours, made, _ = recognise(f, other(dir))
		}
		if !ours {
			h.Others = true
			// Of one preference, tc runs the last one made first.
			if why := ends(f); f.Chain == 0 && f.Pref <= filterPref && why != "" && !h.Ours {
				h.Before = append(h.Before, why)
			}
			return
		}
		h.Ours, h.Made, h.Class = true, made, class
		h.Current = class == 0 && s.programs != nil && s.programs.ours(f.BPF.ProgramID, s.programs.pass[dir]) &&
			len(f.Actions) == 1 && f.Actions[0].Kind == "mirred" && f.Actions[0].Mirred == s.ifbs[dir] && s.ifbs[dir] != 0
	})
	return h, err
}
