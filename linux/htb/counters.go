package htb

import (
	"maps"
	"time"

	"sluice"
	"sluice/linux/tc"
)

// Counts are what all classes had sent at a moment. Nobody writes to them.
type Counts struct {
	At    time.Time
	Trees map[sluice.Direction]map[uint16]tc.Stats // by the class's minor
	// Shaped are the vifs' classes, by the ifindex of the device.
	Shaped map[sluice.Direction]map[int]uint16
	// Past are the bytes and frames of shaped vifs that went past the tree,
	// because they do not cross the link.
	Past map[sluice.Direction]map[int]sluice.Counters
}

// Count reads the counters of all classes: a dump for each tree. It changes
// nothing, and does not wait for changes.
func (d *Driver) Count() (Counts, error) {
	c := Counts{At: time.Now(), Trees: map[sluice.Direction]map[uint16]tc.Stats{},
		Shaped: map[sluice.Direction]map[int]uint16{}, Past: map[sluice.Direction]map[int]sluice.Counters{}}
	d.mu.Lock()
	ifbs, plain, at, devices, programs := maps.Clone(d.ifbs), d.plain, maps.Clone(d.at), d.devices, d.running
	d.mu.Unlock()
	for _, dir := range sluice.Directions {
		shaped := make(map[int]uint16, len(devices))
		for index, key := range devices {
			if minor, ok := at[dir][key]; ok {
				shaped[index] = minor
			}
		}
		stats := make(map[uint16]tc.Stats, len(shaped))
		c.Shaped[dir], c.Trees[dir], c.Past[dir] = shaped, stats, map[int]sluice.Counters{}
		if len(shaped) == 0 || ifbs[dir] == 0 {
			continue
		}
		err := d.counting.Classes(ifbs[dir], func(c tc.Class) { stats[c.Handle.Minor()] = c.Stats })
		if err != nil && !tc.Absent(err) { // somebody has just removed the IFB: that is repaired elsewhere
			return Counts{}, err
		}
		if !plain { // an fq_codel drops where HTB does not count it
			err := d.counting.Qdiscs(ifbs[dir], func(q tc.Qdisc) {
				if s, ok := stats[q.Parent.Minor()]; ok && q.Parent.Major() == major {
					s.Dropped, s.Queued = q.Stats.Dropped, q.Stats.Queued
					stats[q.Parent.Minor()] = s
				}
			})
			if err != nil && !tc.Absent(err) {
				return Counts{}, err
			}
		}
		if programs == nil {
			continue
		}
		lines, err := programs.lines(dir)
		if err != nil {
			return Counts{}, err
		}
		for index, l := range lines {
			c.Past[dir][index] = sluice.Counters{Bytes: l.Bytes, Packets: l.Frames}
		}
	}
	d.mu.Lock()
	d.counted = c
	d.mu.Unlock()
	return c, nil
}

// recent is what was counted less than so long ago, counted now if nothing was.
func (d *Driver) recent(age time.Duration) (Counts, error) {
	d.mu.Lock()
	c := d.counted
	d.mu.Unlock()
	if time.Since(c.At) < age {
		return c, nil
	}
	return d.Count()
}
