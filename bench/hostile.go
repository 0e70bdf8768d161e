package main

import (
	"context"
	"fmt"

	"sluice"
	"sluice/control"
)

// Who is on a link under hostile load.
const (
	one        = iota // a TCP flow
	eight             // flows
	sixtyFour         // flows
	flooding          // UDP at twice the link
	askingOne         // small requests
	tenantsAll        // of them
)

// What is guaranteed, of a link: to the one flow, and to the one that only asks
// and waits for answers.
func guaranteed(link sluice.Rate) sluice.Rate { return link * 3 / 10 }
func asked(link sluice.Rate) sluice.Rate      { return link / 20 }

// hostile begins the load: what each VM but the asking one sends. The
// function ends it, also after an error.
func (t *tenants) hostile(d sluice.Direction, link sluice.Rate) (loads []*load, end func(), err error) {
	end = func() {
		for _, n := range loads {
			n.close()
		}
	}
	begin := make(chan struct{}) // when all are connected, which takes long on a full link
	defer close(begin)
	for i, flows := range []int{one: 1, eight: 8, sixtyFour: 64} {
		n, err := t.tcp(i, d, flows, begin)
		if err != nil {
			return loads, end, err
		}
		loads = append(loads, n)
	}
	n, err := t.flood(flooding, d, 2*link)
	if err == nil {
		loads = append(loads, n)
	}
	return loads, end, err
}

// regime is a way to share the link among tenants.
type regime struct {
	name  string
	begin func(context.Context, *bench, *tenants, sluice.Rate) error
}

var (
	bySharing = regime{"Sluice", func(ctx context.Context, b *bench, t *tenants, link sluice.Rate) error {
		return t.guarantee(ctx, b, link, 1)
	}}

	byTurns = regime{"a class each, without priority", func(ctx context.Context, b *bench, t *tenants, link sluice.Rate) error {
		return t.guarantee(ctx, b, link, 0)
	}}

	byFIFO = regime{"no shaping", func(ctx context.Context, _ *bench, t *tenants, link sluice.Rate) error { return t.fifo(ctx, link) }}

	byLimits = regime{"limits only", func(ctx context.Context, _ *bench, t *tenants, link sluice.Rate) error {
		if err := t.fifo(ctx, link); err != nil {
			return err
		}
		for i, vm := range t.vms { // on either side of the vif: towards the VM, and what it sends
			for dev, on := range map[string]*space{tenant(i): t.host, "eth0": vm} {
				for _, words := range []string{"tc qdisc add dev %s root handle 1: htb default 1",
					fmt.Sprintf("tc class add dev %%s parent 1: classid 1:1 htb rate %dbit ceil %dbit", link/2, link/2)} {
					if err := on.run(ctx, fmt.Sprintf(words, dev)); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}}
)

// share has the daemon share the link.
func (t *tenants) share(ctx context.Context, b *bench, link sluice.Rate) error {
	if err := t.serve(ctx, b); err != nil {
		return err
	}
	_, err := t.client.SetCapacity(ctx, sluice.Capacity{Tx: link, Rx: link})
	return err
}

// guarantee has the daemon share the link, with something guaranteed to the one
// flow and, where it gets a priority, to the one that asks.
func (t *tenants) guarantee(ctx context.Context, b *bench, link sluice.Rate, priority int) error {
	if err := t.share(ctx, b, link); err != nil {
		return err
	}
	most, own := guaranteed(link), asked(link)
	if err := t.set(ctx, one, control.Patch{Guarantee: &most}); err != nil {
		return err
	}
	if priority == 0 {
		return nil
	}
	return t.set(ctx, askingOne, control.Patch{Guarantee: &own, Priority: &priority})
}

// fifo makes the link one queue, in both directions: 15 ms long.
func (t *tenants) fifo(ctx context.Context, link sluice.Rate) error {
	tbf := fmt.Sprintf(" root tbf rate %dbit burst 128kb limit %d", link, max(link/8*15/1000, 128<<10))
	if err := t.host.run(ctx, "tc qdisc add dev "+uplink+tbf); err != nil {
		return err
	}
	return t.net.run(ctx, "tc qdisc add dev eth0"+tbf)
}
