package htb

import (
	"context"
	"slices"

	"sluice"
	"sluice/linux/tc"
)

// disturbances tell apart what others did from what we did ourselves: what is
// read is compared with what was read before and what we changed since. d.lock
// is held.
type disturbances struct {
	found  map[string]bool     // whose part of the kernel was not as we left it, by key; "" is the link's
	mended map[string][]string // what was done about it, until it is told
}

func newDisturbances() disturbances {
	return disturbances{found: map[string]bool{}, mended: map[string][]string{}}
}

// did notes a step that mends what was found.
func (s disturbances) did(dir sluice.Direction, o Op) {
	part, ok := parts[o.Do]
	if o.Minor == rootMinor {
		part = "root class"
	}
	// What has no name and is not the link's is left over from our own changes.
	if !ok || !s.found[o.Name] || o.Name == "" && o.Do != MakeTree && o.Minor != rootMinor {
		return
	}
	if text := string(dir) + " " + part; !slices.Contains(s.mended[o.Name], text) {
		s.mended[o.Name] = append(s.mended[o.Name], text)
	}
}

// parts are what steps mend, in words.
var parts = map[Verb]string{MakeTree: "IFB with its HTB and classifier", MakeClass: "class", ChangeClass: "class", MakeQueue: "queue",
	ChangeQueue: "queue", Lead: "line of the map", Redirect: "filter"}

// take returns what was mended since it was told last.
func (s disturbances) take() map[string][]string {
	told := make(map[string][]string, len(s.mended))
	for key, did := range s.mended {
		told[key] = did
		delete(s.mended, key)
	}
	return told
}

// disturbedTree notes that a direction's IFB or HTB was lost, with all classes.
func (d *Driver) disturbedTree(dir sluice.Direction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.at[dir] {
		d.others.found[name] = true
	}
}

// disturbed notes that a class, its queue or the way to it was changed.
func (d *Driver) disturbed(dir sluice.Direction, minor uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, at := range d.at[dir] {
		if at == minor {
			d.others.found[name] = true
		}
	}
}

// disturbedVIF notes that a device's hooks or its line in a map were changed.
func (d *Driver) disturbedVIF(index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if key, ok := d.devices[index]; ok {
		d.others.found[key] = true
	}
}

// compareClass notes a class or a queue that is not as it was.
func (d *Driver) compareClass(dir sluice.Direction, minor uint16, was tc.Class, had bool, queue tc.Qdisc, queued bool) {
	k := d.have[dir]
	is, there := k.Classes[minor]
	now, waits := k.Queues[minor]
	if had && (!there || !sameClass(was, is)) || queued && (!waits || !sameQueue(queue, now)) {
		d.disturbed(dir, minor)
	}
}

// sameClass compares what a class was told. What an inner one has of a leaf
// has no meaning.
func sameClass(a, b tc.Class) bool {
	if !a.Leaf() || !b.Leaf() {
		a.Quantum, a.Prio = b.Quantum, b.Prio
	}
	a.Stats, a.Queue = b.Stats, b.Queue
	return a == b
}

func sameQueue(a, b tc.Qdisc) bool {
	return a.Kind == b.Kind && a.FIFO == b.FIFO && (a.Kind != tc.FQCodelKind || sameCodel(a.FQCodel, b.FQCodel) || sameCodel(b.FQCodel, a.FQCodel))
}

// strayed says whether the maps are to be looked at.
func (d *Driver) strayed(ctx context.Context) bool {
	d.mu.Lock()
	programs := d.running
	d.mu.Unlock()
	if programs == nil {
		return false
	}
	var lines [2]map[int]line
	var errs [2]error
	for i, dir := range sluice.Directions {
		lines[i], errs[i] = programs.lines(dir)
	}
	if d.acquire(ctx) != nil {
		return false
	}
	defer d.unlock()
	if !d.known || d.programs == nil {
		return false
	}
	for i, dir := range sluice.Directions {
		if errs[i] != nil || d.linesDiffer(dir, lines[i]) {
			return d.linesChanged() // unless we changed them since
		}
	}
	return false
}

// linesChanged says whether the maps are not as we left them. Nothing
// announces that.
func (d *Driver) linesChanged() bool {
	for _, dir := range sluice.Directions {
		lines, err := d.programs.lines(dir)
		if err != nil || d.linesDiffer(dir, lines) {
			return true
		}
	}
	return false
}

func (d *Driver) linesDiffer(dir sluice.Direction, lines map[int]line) bool {
	if len(lines) != len(d.have[dir].Map) {
		return true
	}
	for index, e := range d.have[dir].Map {
		if l, ok := lines[index]; !ok || e != entryOf(l) {
			return true
		}
	}
	return false
}

// entryOf is what a line of the map says.
func entryOf(l line) Entry { return Entry{tc.Handle(l.Class).Minor(), l.Flags&flagLocal != 0} }
