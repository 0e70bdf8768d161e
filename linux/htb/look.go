package htb

import (
	"maps"
	"slices"
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
