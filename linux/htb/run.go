package htb

import (
	"context"
	"strings"
	"time"

	"sluice"
	"sluice/linux/tc"
)

const (
	observeEvery = time.Second
	compareEvery = 10 * time.Second
	// debounce is how long announcements are gathered before the kernel is
	// looked at: a disturbance comes in several.
	debounce = 20 * time.Millisecond
	// retry is when a comparison that failed is tried again, and lastRetry
	// when one that has failed for long.
	retry     = 250 * time.Millisecond
	lastRetry = 2 * time.Second
	// linesEvery is how often the maps are compared: nothing announces a change.
	linesEvery = 500 * time.Millisecond
	// chunk is how many steps Observe makes before it lets others change
	// something, so that a change waits a few ms at most.
	chunk = 32
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
				soon = time.After(debounce)
			}
		case <-soon:
			soon = nil
			if next := at; !d.repair(ctx, next, told.tell) {
				at, soon, pause = look{all: true}, time.After(pause), min(2*pause, lastRetry)
				continue
			}
			at, pause = look{}, retry
		case <-compare.C:
			found, err := d.glance(ctx)
			if err != nil {
				found = look{all: true}
			}
			if !d.repair(ctx, found, told.tell) && soon == nil {
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

// concerns adds what announcements say has changed to what is to be looked
// at. What we changed ourselves does not count.
func (d *Driver) concerns(events []tc.Event, at *look) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	concerned := false
	for _, e := range events {
		if e.PID != 0 && (e.PID == d.conn.PID() || e.PID == d.counting.PID()) {
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
		if _, _, err = d.compare(ctx, l, everything); err != nil {
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
		complaint = message(err)
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
	same := d.known && d.plans != nil
	for _, dir := range sluice.Directions {
		was := d.activity[dir].Changed
		d.activity[dir] = d.state.observe(dir, d.state.shaped(dir), d.activity[dir], counts.At, func(key string) (tc.Stats, bool) {
			s, ok := counts.Trees[dir][counts.Shaped[dir][d.state.VIFs[key].Ifindex]]
			return s, ok
		})
		same = same && was.Equal(d.activity[dir].Changed)
	}
	d.unlock()
	if same {
		return
	}
	for ctx.Err() == nil {
		if d.acquire(ctx) != nil {
			return
		}
		if !d.known { // whoever reads it next does what is to do
			d.unlock()
			return
		}
		did, _, err := d.reconcile(ctx, map[string]bool{}, chunk)
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
