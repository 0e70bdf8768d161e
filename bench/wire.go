package main

import (
	"context"
	"fmt"
	"time"

	"sluice"
	"sluice/control"
	"sluice/linux/htb"
)

// onTheWire is what a guarantee is worth on a link that counts what Ethernet
// takes beyond a frame's length, beside a flood of small frames.
func onTheWire(ctx context.Context, b *bench) (Result, error) {
	const link, own = 100 * sluice.Mbit, 60 * sluice.Mbit
	sizes := []int{1200, 200, 18}
	r := Result{
		Detail: Table{Head: []string{"", "datagrams of", "of the guarantee"}},
		Chart:  Chart{Title: "A guarantee beside a flood of UDP, on a wire of 100 Mbit/s", Unit: "of the guarantee", Bars: []float64{0.98}},
		Note: fmt.Sprintf("One TCP flow with a guarantee of %s, and a VM that sends UDP at twice the link. The uplink is an HTB of %s that counts 24 bytes more for every frame "+
			"and 84 at least, with a queue of 300 frames, as a switch's port is. The flow's frames are counted so, too.", own, link),
	}
	worst := map[int]float64{}
	span := 10 * time.Second
	if b.short {
		span = 3 * time.Second
	}
	for _, overhead := range []int{htb.Ethernet, 0} {
		name := fmt.Sprintf("Sluice, overhead %d", overhead)
		series := Series{Name: name}
		worst[overhead] = 1e9
		for _, size := range sizes {
			kept, err := b.besideFlood(ctx, link, own, overhead, size, span)
			if err != nil {
				return r, err
			}
			worst[overhead] = min(worst[overhead], kept)
			line := []string{name, fmt.Sprintf("%d bytes", size), percent(kept)}
			b.say("  %v", line)
			r.Detail.Rows = append(r.Detail.Rows, line)
			series.Values = append(series.Values, kept)
		}
		r.Chart.Series = append(r.Chart.Series, series)
	}
	for _, size := range sizes {
		r.Chart.Groups = append(r.Chart.Groups, fmt.Sprintf("%d bytes", size))
	}
	r.Rows = []Row{{
		Figure: "a guarantee of 60 on a wire of 100 Mbit/s that counts 24 bytes a frame more, beside UDP floods of 1,200, 200 and 18 bytes: the worst",
		Sluice: percent(worst[htb.Ethernet]), Bar: "≥ 98 %", Met: worst[htb.Ethernet] >= .98,
		Beside: fmt.Sprintf("the frames' lengths alone counted (overhead = 0): %s", percent(worst[0])),
	}}
	return r, nil
}

// besideFlood is how much of its guarantee a TCP flow has beside a flood.
func (b *bench) besideFlood(ctx context.Context, link, own sluice.Rate, overhead, size int, span time.Duration) (kept float64, err error) {
	t, err := newTenants(2)
	if err != nil {
		return 0, err
	}
	defer t.close()
	for _, words := range []string{
		"tc qdisc add dev " + uplink + " root handle 1: htb default 1",
		fmt.Sprintf("tc class add dev %s parent 1: classid 1:1 htb rate %[2]dbit ceil %[2]dbit overhead 24 mpu 84 burst 3k cburst 3k", uplink, link),
		"tc qdisc add dev " + uplink + " parent 1:1 pfifo limit 300",
	} {
		if err := t.host.run(ctx, words); err != nil {
			return 0, err
		}
	}
	for _, vm := range t.vms { // the emulated wire counts frames, and no segments
		if err := vm.run(ctx, "ethtool -K eth0 tso off gso off"); err != nil {
			return 0, err
		}
	}
	if err := t.settings(overhead); err != nil {
		return 0, err
	}
	if err := t.share(ctx, b, link); err != nil {
		return 0, err
	}
	if err := t.set(ctx, 0, control.Patch{Guarantee: &own}); err != nil {
		return 0, err
	}
	flood, err := t.floodOf(1, sluice.Tx, 2*link, size)
	if err != nil {
		return 0, err
	}
	defer flood.close()
	flow, err := t.tcp(0, sluice.Tx, 1, nil)
	if err != nil {
		return 0, err
	}
	defer flow.close()
	if err := wait(ctx, 2*time.Second); err != nil {
		return 0, err
	}
	before, err := flow.bytes()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := wait(ctx, span); err != nil {
		return 0, err
	}
	after, err := flow.bytes()
	rate := (after - before) * 8 / time.Since(begin).Seconds() * (1514 + htb.Ethernet) / 1514
	return rate / float64(own), err
}
