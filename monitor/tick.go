package monitor

import (
	"context"
	"slices"
	"time"

	"sluice"
)

const readTime = 5 * time.Second // for the host's counters; a dump takes milliseconds

// vif is what is remembered of one vif from tick to tick.
type vif struct {
	sluice.VIF
	key      string
	only     bool // its VM has no other
	meter    meter
	column   *column
	tx, rx   flow
	elapsed  time.Duration // that tx and rx are over; 0 if nothing was measured
	counted  counted
	disagree disagree
	report   *report // that guest was made from
	guest    *sluice.GuestReport
}

// tick makes one data set.
func (m *Monitor) tick(ctx context.Context) {
	m.locate()
	settings, obstacles := m.Settings(), m.Enforced()
	before := time.Now()
	readCtx, cancel := context.WithTimeout(ctx, readTime)
	counters, err := m.Counters.Read(readCtx)
	cancel()
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	at := before.Add(now.Sub(before) / 2)
	m.logRead(err)

	d := sluice.DataSet{At: at, Interval: m.Interval, Capacity: m.Capacity(), VIFs: make([]sluice.VIFStatus, len(m.vifs))}
	for i, v := range m.vifs {
		problem := ""
		v.tx, v.rx, v.elapsed = flow{}, flow{}, 0
		switch c, there := counters[v.Device]; {
		case err != nil:
			problem = "the host's counters cannot be read: " + words(err.Error())
		case !there:
			v.meter, v.counted = meter{}, counted{}
			problem = "the host has no counters of device " + v.Device
		default:
			var ok bool
			v.tx, v.rx, v.elapsed, ok = v.meter.read(at, c)
			if !ok {
				v.counted = counted{}
			}
			v.counted.add(at, v.tx.offered, v.rx.passed)
		}
		m.describe(&d.VIFs[i], v, settings, now)
		if problem != "" {
			d.VIFs[i].Problem = problem
		}
		d.VIFs[i].NotEnforced = obstacles[v.key]
	}
	m.past.add(at, m.vifs)
	m.newest.Store(&d)
	m.readers.Send(d)
}

// locate brings m.vifs up to the inventory. What is known of a vif stays with
// its key; its measurements only as long as it stays on its device.
func (m *Monitor) locate() {
	now := m.Inventory.VIFs()
	if slices.Equal(now, m.known) {
		return
	}
	old := make(map[string]*vif, len(m.vifs))
	for _, v := range m.vifs {
		old[v.key] = v
	}
	perVM := make(map[string]int, len(now))
	for _, n := range now {
		perVM[n.UUID+"/"+n.VM]++
	}
	m.known, m.vifs = slices.Clone(now), make([]*vif, 0, len(now))
	for _, n := range now {
		key := n.Key()
		v := old[key]
		delete(old, key) // two vifs of one key must not share a meter
		if v == nil || v.Device != n.Device {
			v = &vif{}
		}
		v.VIF, v.key, v.only = n, key, perVM[n.UUID+"/"+n.VM] == 1
		v.column = m.past.column(v)
		m.vifs = append(m.vifs, v)
	}
}

// describe fills in a vif's line.
func (m *Monitor) describe(s *sluice.VIFStatus, v *vif, settings map[string]sluice.Setting, now time.Time) {
	set, ok := settings[v.key]
	if !ok {
		set = sluice.Setting{Value: sluice.UnshapedBoth, State: sluice.Connected}
	}
	s.VIF, s.Source, s.State, s.Revision = v.VIF, sluice.SourceHost, set.State, set.Revision
	s.Group, s.Profile, s.Own = set.Value.Group, set.Value.Profile, set.Value.Set()
	s.Tx, s.Rx = direction(v.tx, set.Value.Tx), direction(v.rx, set.Value.Rx)
	p := m.pulling.of(v.VIF)
	if p == nil {
		v.report, v.guest, v.disagree = nil, nil, disagree{}
		return
	}
	r := p.report.Load()
	if s.Problem = r.problem(now, m.Interval); s.Problem != "" {
		return
	}
	n := r.match(v)
	if n == nil {
		s.Problem = "its collector does not know an interface with MAC " + v.MAC
		if v.MAC == "" {
			s.Problem = "its collector names no interface that can be matched: the host knows no MAC of this vif"
		}
		return
	}
	s.Problem = r.excess
	differs := v.disagree.judge(&v.counted, r, n.mac)
	if v.guest == nil || v.report != r || v.guest.Disagrees != differs {
		v.report = r
		v.guest = &sluice.GuestReport{Tx: n.txRate, Rx: n.rxRate, At: r.at, Disagrees: differs}
	}
	s.Source, s.Guest = sluice.SourceGuest, v.guest
}

func direction(f flow, a sluice.Allocation) sluice.DirectionStatus {
	return sluice.DirectionStatus{Usage: f.usage, Demand: f.demand, Drops: f.drops}.With(a)
}

// logRead says once when the counters cannot be read, and once when they can again.
func (m *Monitor) logRead(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == m.readErr {
		return
	}
	m.readErr = text
	if err != nil {
		m.Log.Warn("the host's counters cannot be read; usage is not measured", "error", err)
	} else {
		m.Log.Info("the host's counters are read again")
	}
}
