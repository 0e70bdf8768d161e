package htb

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice"
	"sluice/linux/tc"
)

const (
	observeEvery = time.Second
	compareEvery = 10 * time.Second
	// gather is how long announcements are gathered before the kernel is
	// looked at: a disturbance comes in several.
	gather = 20 * time.Millisecond
	// retry is when a comparison that failed is tried again, and lastRetry
	// when one that has failed for long.
	retry     = 250 * time.Millisecond
	lastRetry = 2 * time.Second
	// linesEvery is how often the maps are compared: nothing announces a change.
	linesEvery = 500 * time.Millisecond
	// chunk is how many steps Observe makes before it lets others change
	// something, so that a change waits a few ms at most.
	chunk = 32
	// piece is how many vifs are compared before others may change something.
	piece = 16
)

// Run keeps the kernel as it was Set until ctx ends. It listens to the
// kernel's announcements and compares everything every 10 s; what others have
// disturbed it repairs, and tells report, which may take its time. Every second it has the classes
// follow what the vifs do.
func (d *Driver) Run(ctx context.Context, report func(sluice.Repair)) error {
	events := make(chan []tc.Event, 64)
	go func() {
		defer close(events)
		for {
			got, err := d.events.Receive()
			if err != nil {
				return // closed
			}
			select {
			case events <- got:
			case <-ctx.Done():
				return
			}
		}
	}()
	told := newReports(report, d.tellMost, d.log)
	go told.run(ctx)
	observe, compare := time.NewTicker(observeEvery), time.NewTicker(compareEvery)
	defer observe.Stop()
	defer compare.Stop()
	lines := time.NewTicker(linesEvery)
	defer lines.Stop()
	var soon <-chan time.Time
	var at look
	pause := retry
	for {
		select {
		case <-ctx.Done():
			return nil
		case got, ok := <-events:
			if !ok {
				events = nil // the regular comparison goes on
				continue
			}
			if d.concerns(got, &at) && soon == nil {
				soon = time.After(gather)
			}
		case <-soon:
			soon = nil
			if next := at; !d.repair(ctx, next, told.tell) {
				at, soon, pause = look{all: true}, time.After(pause), min(2*pause, lastRetry)
				continue
			}
			at, pause = look{}, retry
		case <-compare.C:
			if !d.compare(ctx, told.tell) && soon == nil {
				at, soon = look{all: true}, time.After(retry)
			}
		case <-lines.C:
			if d.strayed(ctx) {
				d.repair(ctx, look{trees: true}, told.tell)
			}
		case <-observe.C:
			d.observe(ctx)
		}
	}
}

// compare looks at everything, a piece at a time, so that a change waits for a
// few ms at most. It says whether it could.
func (d *Driver) compare(ctx context.Context, report func(sluice.Repair)) bool {
	d.mu.Lock()
	keys := slices.Sorted(maps.Values(d.devices))
	d.mu.Unlock()
	if !d.repair(ctx, look{trees: true, names: true}, report) {
		return false
	}
	for some := range slices.Chunk(keys, piece) {
		at := make(map[string]bool, len(some))
		for _, key := range some {
			at[key] = true
		}
		if ctx.Err() != nil || !d.repair(ctx, look{keys: at}, report) {
			return false
		}
	}
	return true
}

// concerns adds what announcements say has changed to what is to be looked
// at. What we changed ourselves does not count.
func (d *Driver) concerns(events []tc.Event, at *look) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	concerned := false
	for _, e := range events {
		if e.PID == d.conn.PID() && e.PID != 0 {
			continue
		}
		_, vif := d.devices[e.Ifindex]
		tree := e.Ifindex != 0 && (e.Ifindex == d.ifbs[sluice.Tx] || e.Ifindex == d.ifbs[sluice.Rx])
		switch {
		case e.Ifindex == 0:
			at.all = true
		case tree:
			at.trees = true
		case vif || e.Link:
			// Also a device that we do not know may have the name of one that
			// we should.
			if !vif && !d.absent() {
				continue
			}
			if at.links == nil {
				at.links = make(map[int]bool)
			}
			at.links[e.Ifindex] = true
			at.names = at.names || e.Link
		default:
			continue
		}
		concerned = true
	}
	return concerned
}

// absent says whether a vif's device was not found. d.mu is held.
func (d *Driver) absent() bool { return d.missing }

// repair compares what is to be looked at with the kernel, and mends it. It
// says whether it could.
func (d *Driver) repair(ctx context.Context, l look, report func(sluice.Repair)) bool {
	if d.acquire(ctx) != nil {
		return false
	}
	var before map[string]string
	var repairs map[string][]string
	var err error
	func() {
		defer d.unlock()
		before = d.Problems()
		ctx, cancel := context.WithTimeout(ctx, compareEvery)
		defer cancel()
		if l.all || l.names {
			if err = d.resolve(look{all: true}); err != nil {
				return
			}
		}
		if _, _, err = d.reconcile(ctx, l, everything); err != nil {
			err = d.explain(sluice.VIF{}, err)
			d.failed(err)
		}
		repairs = d.others.take()
	}()
	if ctx.Err() != nil {
		return false
	}
	complaint := ""
	if err != nil {
		complaint = words(err)
	}
	if complaint != d.complaint && err != nil { // it is tried again every two seconds
		d.log.Warn("the kernel cannot be compared with what is set; trying again", "error", err)
	}
	d.complaint = complaint
	after := d.Problems()
	for key, did := range repairs {
		if after[key] == "" {
			report(sluice.Repair{Key: key, Text: "another program changed it in the kernel; restored: " + strings.Join(did, ", "), Enforced: true})
		}
	}
	for key, why := range after {
		if before[key] != why {
			report(sluice.Repair{Key: key, Text: why})
		}
	}
	for key := range before {
		if after[key] == "" && len(repairs[key]) == 0 {
			report(sluice.Repair{Key: key, Text: "nothing is in the way any more", Enforced: true})
		}
	}
	return err == nil
}

// observe has the classes follow what the vifs do.
func (d *Driver) observe(ctx context.Context) {
	d.mu.Lock()
	idle := len(d.devices) == 0
	d.mu.Unlock()
	if idle {
		return
	}
	if err := d.followLocal(); err != nil {
		d.log.Warn("what is local is not known; it passes the tree", "error", err)
	}
	counts, err := d.recent(observeEvery)
	if err != nil {
		d.log.Warn("the classes' counters cannot be read; their rounds stay as they are", "error", err)
		return
	}
	if d.acquire(ctx) != nil {
		return
	}
	for _, dir := range sluice.Directions {
		d.activity[dir] = d.state.observe(dir, d.state.shaped(dir), d.activity[dir], counts.At, func(key string) (tc.Stats, bool) {
			s, ok := counts.Trees[dir][counts.Shaped[dir][d.state.VIFs[key].Ifindex]]
			return s, ok
		})
	}
	d.unlock()
	for ctx.Err() == nil {
		if d.acquire(ctx) != nil {
			return
		}
		if !d.known { // whoever reads it next does what is to do
			d.unlock()
			return
		}
		did, _, err := d.settle(ctx, map[string]bool{}, maps.Clone(d.unknown), chunk)
		d.unlock()
		if err != nil {
			d.log.Warn("the rounds of the classes stay as they were until the next change", "error", err)
			return
		}
		if len(did) < chunk {
			return
		}
	}
}
