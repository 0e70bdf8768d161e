package monitor

import "time"

const (
	stretch   = 5 * time.Second // of guest samples that is compared, at least
	lateWrite = time.Second     // from a sample's end until a pull can see it
	tolerance = 0.10            // headers that one side counts and the other does not, frames under way
	allowance = 64 << 10        // bytes; for what is next to idle
	moments   = 32              // of the host's counting that are kept
)

// window is what a guest said passed in one unbroken stretch of samples. Its
// clock is not ours; all that is known is between which pulls it ended.
type window struct {
	span             time.Duration
	earliest, latest time.Time // of its end
	nics             []nic
}

// counted is what the host saw pass in all, at some moments.
type counted struct {
	at     [moments]time.Time
	tx, rx [moments]uint64
	n      int // ever taken
	sumTx  uint64
	sumRx  uint64
}

// add takes in one tick: tx as the VM sent it, before shaping, and rx as it got it, after.
func (c *counted) add(at time.Time, tx, rx uint64) {
	c.sumTx, c.sumRx = c.sumTx+tx, c.sumRx+rx
	if c.n > 0 && at.Sub(c.at[(c.n-1)%moments]) < 450*time.Millisecond {
		return
	}
	i := c.n % moments
	c.at[i], c.tx[i], c.rx[i] = at, c.sumTx, c.sumRx
	c.n++
}

// before returns the newest moment at or before t, after the oldest at or after it.
func (c *counted) before(t time.Time) (int, bool) {
	for i := c.n - 1; i >= max(0, c.n-moments); i-- {
		if !c.at[i%moments].After(t) {
			return i, true
		}
	}
	return 0, false
}

func (c *counted) after(t time.Time) (int, bool) {
	for i := max(0, c.n-moments); i < c.n; i++ {
		if !c.at[i%moments].Before(t) {
			return i, true
		}
	}
	return 0, false
}

// disagree remembers the last verdict on one vif's guest.
type disagree struct {
	judged  *window
	differs bool
}

// judge compares a guest's window, once, with what the host counted. The
// guest must lie between what passed in the shortest time the window can
// have been and what passed in the longest.
func (d *disagree) judge(c *counted, r *report, mac string) bool {
	w := r.window
	if w == nil || w == d.judged {
		return d.differs
	}
	outer0, ok0 := c.before(w.earliest.Add(-w.span))
	outer1, ok1 := c.after(w.latest)
	if !ok1 && c.n > 0 {
		return d.differs // the host has not counted that far yet
	}
	d.judged = w
	if !ok0 || !ok1 {
		return d.differs // too long ago to tell
	}
	for i := range w.nics {
		if n := &w.nics[i]; n.mac == mac {
			inner0, ok0 := c.after(w.latest.Add(-w.span))
			inner1, ok1 := c.before(w.earliest)
			known := ok0 && ok1 && inner1 > inner0
			d.differs = outside(n.tx, &c.tx, outer0, outer1, inner0, inner1, known) ||
				outside(n.rx, &c.rx, outer0, outer1, inner0, inner1, known)
		}
	}
	return d.differs
}

func outside(said uint64, sums *[moments]uint64, outer0, outer1, inner0, inner1 int, known bool) bool {
	most := float64(sums[outer1%moments] - sums[outer0%moments])
	if float64(said) > most*(1+tolerance)+allowance {
		return true
	}
	if !known {
		return false
	}
	least := float64(sums[inner1%moments] - sums[inner0%moments])
	return float64(said) < least*(1-tolerance)-allowance
}
