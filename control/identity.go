package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sluice"
)

// identify gives every vif of seen the ID of the record that it is, one to
// one, or an ID that none has. A record is what a vif was known by when it was
// seen last, by its ID. Where several come into question, the vif is the one
// that is most alike.
func identify(records map[string]sluice.VIF, seen []sluice.VIF) []sluice.VIF {
	type match struct {
		alike, at int
		id        string
	}
	by := newIndex(records)
	var matches []match
	for at, v := range seen {
		for _, id := range by.near(v) {
			if n := alikeness(records[id], v); n > 0 {
				matches = append(matches, match{n, at, id})
			}
		}
	}
	slices.SortFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.alike, a.alike), cmp.Compare(a.id, b.id), cmp.Compare(a.at, b.at))
	})
	named, taken := make([]sluice.VIF, len(seen)), make(map[string]bool, len(seen))
	for _, m := range matches {
		if named[m.at].ID == "" && !taken[m.id] {
			named[m.at], taken[m.id] = seen[m.at], true
			named[m.at].ID = m.id
		}
	}
	for at, v := range seen {
		if named[at].ID != "" {
			continue
		}
		v.ID = ""
		first := v.Key()
		for n := 1; v.ID == ""; n++ {
			id := first
			if n > 1 { // a twin, or a stranger by the name of one that is absent
				id = fmt.Sprintf("%s~%d", first, n)
			}
			if _, known := records[id]; !known && !taken[id] {
				v.ID, taken[id] = id, true
			}
		}
		named[at] = v
	}
	return named
}

// alikeness says how much speaks for a vif's being the one of a record; 0 if
// it is another.
//
// A nameless vif is the same only while its device is the same: hypervisors
// give names as vnet0 to one VM after another. Of a VM with a name or a UUID,
// what is not known on both sides tells nothing, so that it may be learnt later.
func alikeness(r, v sluice.VIF) int {
	device := sameDevice(r, v)
	if r.Nameless() || v.Nameless() {
		adopted := r.Nameless() && v.Nameless() && r.Device == v.Device && r.DeviceMAC == "" // by an older Sluice, which did not note the MAC
		if device || adopted {
			return 1
		}
		return 0
	}
	points := 2
	if device {
		points++
	}
	switch {
	case r.UUID != "" && v.UUID != "" && !strings.EqualFold(r.UUID, v.UUID):
		return 0
	case r.UUID != "" && v.UUID != "":
		points += 16
	case r.VM != v.VM:
		return 0
	}
	if r.VM == v.VM {
		points += 8
	}
	switch {
	case r.MAC != "" && v.MAC != "" && strings.EqualFold(r.MAC, v.MAC):
		points += 4
	case r.MAC != "" && v.MAC != "" && !device: // the same device's MAC was wrong before
		return 0
	case r.Index != v.Index:
		return 0
	}
	if r.Index == v.Index {
		points += 2
	}
	return points
}

// sameDevice says whether two have one device, not just one name of one.
func sameDevice(r, v sluice.VIF) bool {
	return r.Device != "" && r.Device == v.Device &&
		(r.DeviceIndex != 0 && r.DeviceIndex == v.DeviceIndex || r.DeviceMAC != "" && r.DeviceMAC == v.DeviceMAC)
}

// index finds the records that a vif may be.
type index map[string][]string

func newIndex(records map[string]sluice.VIF) index {
	by := make(index, 2*len(records))
	for id, r := range records {
		for _, trait := range traits(r) {
			by[trait] = append(by[trait], id)
		}
	}
	return by
}

// near are the IDs of records that have anything in common with v.
func (x index) near(v sluice.VIF) []string {
	var ids []string
	for _, trait := range traits(v) {
		ids = append(ids, x[trait]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func traits(v sluice.VIF) []string {
	all := make([]string, 1, 3)
	all[0] = "vm " + v.VM
	if v.UUID != "" {
		all = append(all, "uuid "+strings.ToLower(v.UUID))
	}
	if v.Device != "" {
		all = append(all, "device "+v.Device)
	}
	return all
}
