package monitor

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice"
)

// rows is how much past is kept: ten minutes at one row a second.
const rows = 600

// maxGone bounds the columns of vifs that are no more, against VMs that come and go all the time.
const maxGone = 1000

// past is a ring of rows with one column per vif: 4.8 MB for 1,000 vifs.
type past struct {
	mu      sync.Mutex // guards everything
	period  time.Duration
	at      [rows]time.Time
	next, n int // where the next row goes; how many there are
	columns map[string]*column
}

// column is one vif's past, and what has gathered for its next row.
type column struct {
	key    string
	vm     string
	index  int
	tx, rx [rows]float32 // bit/s; NaN where nothing was measured
	alive  bool          // met in this tick
	since  int           // rows since it was last measured

	bitsTx, bitsRx, seconds float64
}

// column returns the vif's, made if need be.
func (p *past) column(v *vif) *column {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.columns[v.key]
	if c == nil {
		c = &column{key: v.key}
		for i := range c.tx {
			c.tx[i], c.rx[i] = float32(math.NaN()), float32(math.NaN())
		}
		p.columns[v.key] = c
	}
	c.vm, c.index = v.VM, v.Index
	return c
}

// add gathers one tick of the vifs and writes a row when one is due.
func (p *past) add(at time.Time, vifs []*vif) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range vifs {
		v.column.alive = true
		if s := v.elapsed.Seconds(); s > 0 {
			v.column.bitsTx += float64(v.tx.usage) * s
			v.column.bitsRx += float64(v.rx.usage) * s
			v.column.seconds += s
		}
	}
	if p.n > 0 && at.Sub(p.at[(p.next+rows-1)%rows]) < p.period*9/10 {
		return
	}
	gone := 0
	for key, c := range p.columns {
		nan := float32(math.NaN())
		c.tx[p.next], c.rx[p.next] = nan, nan
		if c.seconds > 0 {
			c.tx[p.next], c.rx[p.next] = float32(c.bitsTx/c.seconds), float32(c.bitsRx/c.seconds)
			c.since = 0
		} else {
			c.since++
		}
		if !c.alive {
			if gone++; gone > maxGone || c.since >= rows {
				delete(p.columns, key)
			}
		}
		c.bitsTx, c.bitsRx, c.seconds, c.alive = 0, 0, 0, false
	}
	p.at[p.next] = at
	p.next, p.n = (p.next+1)%rows, min(p.n+1, rows)
}

// recent copies the rows of the last seconds. Rows from before a backward
// step of the wall clock are left out, so that time only grows.
func (p *past) recent(seconds int) sluice.Recent {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := sluice.Recent{At: []int64{}, VIFs: []sluice.RecentVIF{}}
	if p.n == 0 || seconds <= 0 {
		return r
	}
	newest := p.at[(p.next+rows-1)%rows]
	var picked []int // rows, newest first
	for i := 1; i <= p.n; i++ {
		row := (p.next + rows - i) % rows
		ms := p.at[row].UnixMilli()
		if newest.Sub(p.at[row]).Seconds() >= float64(seconds) || len(picked) > 0 && ms >= r.At[len(r.At)-1] {
			break
		}
		picked, r.At = append(picked, row), append(r.At, ms)
	}
	slices.Reverse(picked)
	slices.Reverse(r.At)
	for _, c := range p.columns {
		tx, rx := points(&c.tx, picked), points(&c.rx, picked)
		r.VIFs = append(r.VIFs, sluice.RecentVIF{Key: c.key, VM: c.vm, VIF: c.index, Tx: tx, Rx: rx})
	}
	slices.SortFunc(r.VIFs, func(a, b sluice.RecentVIF) int { return strings.Compare(a.Key, b.Key) })
	return r
}

func points(from *[rows]float32, picked []int) []*float64 {
	values, out := make([]float64, len(picked)), make([]*float64, len(picked))
	for i, row := range picked {
		if v := float64(from[row]); !math.IsNaN(v) {
			values[i] = math.Round(v)
			out[i] = &values[i]
		}
	}
	return out
}
