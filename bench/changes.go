package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice"
)

// way is one that limits change, or do not.
type way struct {
	name string
	shaper
	changes int                                             // of each kind of traffic
	to      func(context.Context, *site, sluice.Rate) error // nil: nothing changes
}

// What the limits go through, and their mean, at which nothing changes; the
// UDP flow fits below all of them.
var cycle = []sluice.Rate{100e6, 120e6, 150e6, 200e6}

const (
	mean  sluice.Rate = 142.5e6
	below sluice.Rate = 80e6
	pace              = 6 * time.Millisecond // from change to change
)

func live(ctx context.Context, s *site, r sluice.Rate) error {
	_, err := s.client.Set(ctx, limit(vif, r))
	return err
}

// deleteAndAdd is what libvirt's domiftune does to a device's egress. It
// takes 50 ms.
func deleteAndAdd(ctx context.Context, s *site, r sluice.Rate) error {
	for _, dev := range []string{vif, uplink} {
		if err := s.host.run(ctx, "tc qdisc del dev "+dev+" root"); err != nil {
			return err
		}
		if err := addHTB(ctx, s, dev, r); err != nil {
			return err
		}
	}
	return nil
}

// changes is what 1,000 live changes do to what passes.
func changes(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "changes under each", "UDP lost", "of", "TCP lost, window fits", "TCP lost, greedy", "greedy, Mbit/s", "connections broken"}},
		Chart: Chart{Title: "Lost to live changes, both directions", Unit: "count", Log: true,
			Groups: []string{"UDP packets", "TCP lost, window fits", "TCP lost, greedy", "connections broken"}},
		Note: fmt.Sprintf("Tx and rx together go to the next of %v; UDP at %s each way, then two TCP connections each way whose windows fit the queue, "+
			"so that TCP itself loses nothing, then two that send all they can and "+
			"so find every lower limit by loss: that is TCP's way, and not counted against the bar. Without changes the limit is their mean, %s.", cycle, below, mean),
	}
	ways := []way{{"Sluice, no changes", bySluice, 1000, nil}, {"Sluice, live", bySluice, 1000, live},
		{"HTB, no changes", byDefaultHTB, 200, nil}, {"delete and add", byDefaultHTB, 200, deleteAndAdd}}
	var got []passed
	for _, w := range ways {
		if b.short {
			w.changes /= 10
		}
		p, err := b.disturb(ctx, w)
		if err != nil {
			return r, fmt.Errorf("%s: %w", w.name, err)
		}
		line := []string{w.name, strconv.Itoa(p.changes), strconv.Itoa(p.lost), strconv.Itoa(p.sent), strconv.Itoa(p.again),
			strconv.Itoa(p.greedy), fmt.Sprintf("%.0f", p.rate/1e6), strconv.Itoa(p.broken)}
		b.say("  %v", line)
		r.Detail.Rows = append(r.Detail.Rows, line)
		r.Chart.Series = append(r.Chart.Series, Series{w.name, []float64{float64(p.lost), float64(p.again), float64(p.greedy), float64(p.broken)}})
		got = append(got, p)
	}
	cost := func(with, without passed) string {
		return fmt.Sprintf("%d of %d UDP packets, %+d retransmits (greedy TCP: %+d), %d connections",
			with.lost, with.sent, with.again-without.again, with.greedy-without.greedy, with.broken)
	}
	r.Rows = []Row{{
		Figure: fmt.Sprintf("lost in %d live changes under UDP, and as many under TCP", got[1].changes),
		Sluice: cost(got[1], got[0]), Bar: "0, 0 more, 0",
		Met:    got[1].lost == 0 && got[1].again <= got[0].again && got[1].broken == 0,
		Beside: fmt.Sprintf("delete and add, %d times: %s", got[3].changes, cost(got[3], got[2])),
	}}
	return r, nil
}

// passed is what came through while limits changed.
type passed struct {
	changes       int // under each kind of traffic
	sent, lost    int // UDP
	again, greedy int // TCP segments lost
	broken        int // TCP connections
	rate          float64
}

// disturb runs the three kinds of traffic, both ways, through the changes.
func (b *bench) disturb(ctx context.Context, w way) (p passed, err error) {
	s, err := b.shaped(ctx, w.shaper, mean)
	if err != nil {
		return p, err
	}
	defer s.close()
	if p.sent, p.lost, err = w.underUDP(ctx, s); err != nil {
		return p, err
	}
	const window = 48 << 10 // of two: half of the smallest queue
	fits, err := w.underTCP(ctx, s, window)
	if err != nil {
		return p, err
	}
	greedy, err := w.underTCP(ctx, s, 0)
	p.again, p.greedy, p.broken, p.rate = fits.again, greedy.again, fits.broken+greedy.broken, greedy.rate
	if w.to != nil {
		p.changes = w.changes
	}
	return p, err
}

// change changes the limit as often as is wanted, or waits as long.
func (w way) change(ctx context.Context, s *site) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := range w.changes {
		<-tick.C
		if w.to == nil {
			continue
		}
		if err := w.to(ctx, s, cycle[i%len(cycle)]); err != nil {
			return fmt.Errorf("change %d: %w", i+1, err)
		}
	}
	return nil
}

func (w way) underUDP(ctx context.Context, s *site) (sent, lost int, err error) {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	group := new(errgroup.Group)
	var sents, losts [2]int
	for i, d := range sluice.Directions {
		group.Go(func() (err error) { sents[i], losts[i], err = s.datagrams(sending, d, below); return })
	}
	time.Sleep(200 * time.Millisecond)
	err = w.change(ctx, s)
	stop()
	if e := group.Wait(); err == nil {
		err = e
	}
	return sents[0] + sents[1], losts[0] + losts[1], err
}

// underTCP has two connections each way; a window of 0 is the kernel's choice.
func (w way) underTCP(ctx context.Context, s *site, window int) (sum flowed, err error) {
	over, stop := context.WithCancel(ctx)
	defer stop()
	group := new(errgroup.Group)
	var all [4]flowed
	for i := range all {
		f, err := s.stream(sluice.Directions[i%2], window)
		if err != nil {
			return sum, err
		}
		defer f.close()
		group.Go(func() (err error) { all[i], err = f.follow(over); return })
	}
	err = w.change(ctx, s)
	stop()
	if e := group.Wait(); err == nil {
		err = e
	}
	for _, f := range all {
		sum.again, sum.broken, sum.rate = sum.again+f.again, sum.broken+f.broken, sum.rate+f.rate
	}
	return sum, err
}

// flowed is what became of a connection, or of several.
type flowed struct {
	again, broken int     // segments lost, connections
	rate          float64 // payload, bit/s
}

// follow reads until ctx ends.
func (f *stream) follow(ctx context.Context) (g flowed, err error) {
	n := 0
	for ctx.Err() == nil {
		rate, err := f.rate(500 * time.Millisecond)
		if err != nil && err != errSilent {
			g.broken = 1
			return g, nil
		}
		g.rate, n = g.rate+rate, n+1
	}
	g.rate /= float64(max(n, 1))
	g.again, err = f.lost()
	return g, err
}
