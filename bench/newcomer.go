package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"sluice"
	"sluice/allocate"
	"sluice/control"
)

// The newcomer figure's link, and what the one that comes and goes is guaranteed.
const (
	newcomersLink = 100 * sluice.Mbit
	newcomersOwn  = 40 * sluice.Mbit
)

// Who is on it.
const (
	resident = iota // floods all the time
	newcomer        // floods, and is silent, in turns
)

// The newcomer's turns, and how closely they are looked at.
const (
	stay   = 125 * time.Millisecond // on, then off
	slot   = time.Millisecond
	within = 25  // slots that a share is taken over: some rounds of the link's quanta
	ahead  = 10  // slots before the event that are kept
	behind = 100 // and after it
	off    = .05 // of the oracle's share
)

// turns are what arrived around many comings or goings, in slots.
type turns struct {
	count int
	slots [2][ahead + behind]float64 // bytes of each VM
}

func (e *turns) add(event int64, at [2][]int64) {
	e.count++
	for i, times := range at {
		for _, t := range times {
			if n := (t-event)/int64(slot) + ahead; t >= event-ahead*int64(slot) && n < ahead+behind {
				e.slots[i][n] += wire
			}
		}
	}
}

// rate is what a VM had, in bit/s, from a slot on, which is counted from the event.
func (e *turns) rate(i, from, slots int) float64 {
	sum := 0.0
	for _, b := range e.slots[i][from+ahead : from+ahead+slots] {
		sum += b
	}
	return sum * 8 / float64(e.count) / (time.Duration(slots) * slot).Seconds()
}

// settled is the time after the event from which all shares are the oracle's, and stay so.
func (e *turns) settled(want []sluice.Rate) time.Duration {
	for from := behind - within; ; from-- {
		for i, w := range want {
			if from < 0 || math.Abs(e.rate(i, from, within)-float64(w)) > off*float64(newcomersLink) && w == 0 ||
				w > 0 && math.Abs(e.rate(i, from, within)/float64(w)-1) > off {
				return time.Duration(from+1) * slot
			}
		}
	}
}

// newcomers is how long the shares take to follow one that comes, or goes.
func newcomers(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "direction", "the newcomer's first packet, median ms", "shares right after it came, ms", "after it went, ms", "its rate, Mbit/s", "the oracle's"}},
		Chart:  Chart{Title: "A newcomer with a guarantee, beside a flood: its rate, by the ms since its first packet was sent", Unit: "Mbit/s, tx"},
		Note: fmt.Sprintf("Two VMs send UDP on a link of %s, each 1.25 times as much as it carries: one always, one for %s and not for %s, guaranteed %s. What arrives has the kernel's time of arrival; "+
			"shares are taken over %d ms, the mean of all turns, and are right when both are within %.0f %% of the oracle, package allocate, and stay so. "+
			"It comes when its first packet is sent; it has gone when its last one, which may wait in its queue, has arrived.",
			newcomersLink, stay, stay, newcomersOwn, within, 100*off),
	}
	count := 120
	if b.short {
		count = 12
	}
	both := []allocate.Claim{
		{Limit: sluice.Unlimited, Demand: sluice.Unlimited, Weight: sluice.DefaultWeight, Group: allocate.Host},
		{Guarantee: newcomersOwn, Limit: sluice.Unlimited, Demand: sluice.Unlimited, Weight: sluice.DefaultWeight, Group: allocate.Host}}
	shares, err := allocate.Share(newcomersLink, both, nil)
	if err != nil {
		return r, err
	}
	r.Chart.Bars = []float64{float64(shares[newcomer]) / 1e6}
	const step = 2
	for ms := -4; ms < 36; ms += step {
		r.Chart.Groups = append(r.Chart.Groups, fmt.Sprint(ms))
	}
	guarantee := newcomersOwn
	ways := []struct {
		name  string
		ways  []sluice.Direction
		begin func(*tenants) error
	}{
		{"Sluice", sluice.Directions[:], func(t *tenants) error {
			if err := t.serve(ctx, b); err != nil {
				return err
			}
			if _, err := t.client.SetCapacity(ctx, sluice.Capacity{Tx: newcomersLink, Rx: newcomersLink}); err != nil {
				return err
			}
			return t.set(ctx, newcomer, control.Patch{Guarantee: &guarantee})
		}},
		{byDefaultHTB.name, []sluice.Direction{sluice.Tx}, func(t *tenants) error {
			return t.classes(ctx, newcomersLink, []sluice.Rate{8 * sluice.Kbit, guarantee})
		}},
	}
	came, went := make(map[string]time.Duration), make(map[string]time.Duration)
	for _, by := range ways {
		for _, d := range by.ways {
			var coming, going turns
			var first []float64
			err := b.undisturbed(func() (err error) {
				coming, going, first, err = b.comeAndGo(ctx, d, count, by.begin)
				return err
			})
			if err != nil {
				return r, fmt.Errorf("%s, %s: %w", by.name, d, err)
			}
			key := by.name + string(d)
			came[key], went[key] = coming.settled(shares), going.settled([]sluice.Rate{newcomersLink, 0})
			line := []string{by.name, string(d), fmt.Sprintf("%.2f", median(first)), fmt.Sprint(came[key].Milliseconds()), fmt.Sprint(went[key].Milliseconds()),
				fmt.Sprintf("%.1f", coming.rate(newcomer, 20, behind-20)/1e6), fmt.Sprintf("%.1f", float64(shares[newcomer])/1e6)}
			b.say("  %v", line)
			r.Detail.Rows = append(r.Detail.Rows, line)
			if d == sluice.Tx {
				s := Series{Name: by.name}
				for ms := -4; ms < 36; ms += step {
					s.Values = append(s.Values, coming.rate(newcomer, ms, step)/1e6)
				}
				r.Chart.Series = append(r.Chart.Series, s)
			}
		}
	}
	say := func(key string) string {
		return fmt.Sprintf("%d and %d ms", came[key].Milliseconds(), went[key].Milliseconds())
	}
	most := max(came["Sluicetx"], came["Sluicerx"], went["Sluicetx"], went["Sluicerx"])
	r.Rows = []Row{{
		Figure: "a contender with a guarantee comes, and goes: until shares are within 5 % of the oracle",
		Sluice: say("Sluicetx") + " tx, " + say("Sluicerx") + " rx", Bar: "≤ 10 ms", Met: most <= 10*time.Millisecond,
		Beside: byDefaultHTB.name + ": " + say(byDefaultHTB.name+"tx") + " tx; EyeQ's own figure (NSDI 2013): 5 ms",
	}}
	return r, nil
}

// classes shares the uplink by HTB as iproute2 sets it.
func (t *tenants) classes(ctx context.Context, link sluice.Rate, each []sluice.Rate) error {
	commands := []string{"tc qdisc add dev " + uplink + " root handle 1: htb",
		fmt.Sprintf("tc class add dev %s parent 1: classid 1:1 htb rate %dbit", uplink, link)}
	for i, rate := range each {
		commands = append(commands,
			fmt.Sprintf("tc class add dev %s parent 1:1 classid 1:1%d htb rate %dbit ceil %dbit", uplink, i, rate, link),
			fmt.Sprintf("tc filter add dev %s parent 1: protocol ip u32 match ip src %s/32 flowid 1:1%d", uplink, t.address(i), i))
	}
	for _, c := range commands {
		if err := t.host.run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// comeAndGo has the newcomer come and go many times, and says how long each
// first packet took, in ms.
func (b *bench) comeAndGo(ctx context.Context, d sluice.Direction, count int, begin func(*tenants) error) (coming, going turns, first []float64, err error) {
	t, err := newTenants(2)
	if err != nil {
		return coming, going, nil, err
	}
	defer t.close()
	if err := begin(t); err != nil {
		return coming, going, nil, err
	}
	var mu sync.Mutex
	var at [2][]int64
	p, err := t.spray(d, func(i int, when int64) {
		mu.Lock()
		at[i] = append(at[i], when)
		mu.Unlock()
	})
	if err != nil {
		return coming, going, nil, err
	}
	defer p.close()
	p.set(resident, newcomersLink*5/4)
	if err := wait(ctx, time.Second); err != nil {
		return coming, going, nil, err
	}
	var came []int64
	for range count {
		came = append(came, time.Now().UnixNano())
		p.set(newcomer, newcomersLink*5/4)
		if err := wait(ctx, stay); err != nil {
			return coming, going, nil, err
		}
		p.set(newcomer, 0)
		if err := wait(ctx, stay); err != nil {
			return coming, going, nil, err
		}
	}
	p.set(resident, 0)
	if err := wait(ctx, 200*time.Millisecond); err != nil {
		return coming, going, nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	next := 0
	for n, begin := range came[:count-1] {
		last, some := int64(0), false
		for ; next < len(at[newcomer]) && at[newcomer][next] < came[n+1]; next++ {
			if t := at[newcomer][next]; t >= begin {
				if !some {
					first = append(first, float64(t-begin)/1e6)
				}
				last, some = t, true
			}
		}
		if !some {
			return coming, going, nil, fmt.Errorf("nothing of the newcomer's arrived in turn %d", n)
		}
		coming.add(begin, at)
		going.add(last+1, at)
	}
	return coming, going, first, nil
}
