// Package monitor is the aggregator: once per interval it reads the host's
// own counters of every vif, joins what each VM's collector says of itself,
// and publishes one [sluice.DataSet]. The host's counters are the truth for
// usage; a guest's word is only shown beside them. Every guest is asked by a
// goroutine of its own, so a slow, dead or lying one costs its own line.
package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice"
	"sluice/broadcast"
)

// Inventory knows which vifs exist now.
type Inventory interface {
	// VIFs returns every vif present, by VM name and index.
	VIFs() []sluice.VIF
}

// Counters reads the host's totals of all devices at once.
type Counters interface {
	// Read returns the counters by device name; a device that is not there is absent.
	Read(ctx context.Context) (map[string]sluice.HostCounters, error)
}

// Guest is one VM's collector. Its dynamic type must be comparable, as a pointer is.
type Guest interface {
	// Pull returns at most limit samples with IDs above after, oldest first.
	// It returns when ctx ends, and reads no more than a bounded answer. Cost
	// says what it took, also with an error.
	Pull(ctx context.Context, after uint64, limit int) (sluice.Samples, error)
}

// Config is what a [Monitor] needs.
type Config struct {
	Interval  time.Duration          // between ticks, 100 ms to 60 s; 0 is 1 s
	Capacity  func() sluice.Capacity // of the host's link; nil: unlimited, as where nobody said
	Inventory Inventory
	Counters  Counters
	Settings  func() map[string]sluice.Setting // by [sluice.VIF.Key]; nil: nothing is set
	// Enforced returns why vifs are not enforced as was set, by key; nil: nobody says.
	Enforced func() map[string]string
	// Guests returns the collectors by VM name or UUID; nil: there are none.
	// It is asked at every tick and must return the same Guest for the same
	// collector: another value starts its pulling anew.
	Guests func() map[string]Guest
	Log    *slog.Logger
}

// Monitor makes the data sets.
type Monitor struct {
	Config
	newest  atomic.Pointer[sluice.DataSet]
	readers broadcast.Hub[sluice.DataSet]
	past    past
	pulling pulling

	// Only Run's goroutine touches what follows.
	known   []sluice.VIF // as the inventory last said
	vifs    []*vif       // beside known
	readErr string       // the last failure logged
}

// New returns a monitor that has not measured anything yet. It fails with
// Invalid for an interval out of range.
func New(c Config) (*Monitor, error) {
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.Interval < 100*time.Millisecond || c.Interval > time.Minute {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("interval %s is outside 100ms to 1m", c.Interval), Try: "1s, the default"}
	}
	if c.Settings == nil {
		c.Settings = func() map[string]sluice.Setting { return nil }
	}
	if c.Enforced == nil {
		c.Enforced = func() map[string]string { return nil }
	}
	if c.Guests == nil {
		c.Guests = func() map[string]Guest { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m := &Monitor{Config: c}
	m.past.period = max(c.Interval, time.Second)
	m.past.columns = map[string]*column{}
	m.pulling = newPulling(c.Interval, c.Log)
	if m.Capacity == nil {
		m.Capacity = func() sluice.Capacity { return sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited} }
	}
	m.newest.Store(&sluice.DataSet{At: time.Now(), Interval: c.Interval, Capacity: m.Capacity(), VIFs: []sluice.VIFStatus{}})
	return m, nil
}

// Run measures until ctx ends; then all of its goroutines have ended, and so
// have the channels of Watch.
func (m *Monitor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer m.readers.End()
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	ticker := time.NewTicker(m.Interval)
	defer ticker.Stop()
	for {
		last := time.Now()
		m.pulling.sync(ctx, &wg, m.Guests())
		m.tick(ctx)
		// A tick that comes right after a late one would measure too short a time.
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			if time.Since(last) >= m.Interval/2 {
				break
			}
		}
	}
}

// DataSet is the newest data set. Nobody may write to it.
func (m *Monitor) DataSet() sluice.DataSet { return *m.newest.Load() }

// Watch sends every data set from now on until ctx or the monitor ends, then
// closes the channel. A slow reader misses some, never the newest.
func (m *Monitor) Watch(ctx context.Context) <-chan sluice.DataSet { return m.readers.Watch(ctx, 1) }

// Recent is the past, at most the given number of seconds and ten minutes.
func (m *Monitor) Recent(seconds int) sluice.Recent { return m.past.recent(seconds) }
