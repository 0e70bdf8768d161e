package xen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice"
	"sluice/xen/xenstore"
)

const (
	// window is how often a queue's credit is renewed. Below about 50 ms the
	// tick of dom0's clock shows; far above, a VM's allowance for one window
	// is a burst that others feel.
	window = 50 * time.Millisecond
	// tick is what netback's timer adds to a window on average: one jiffy at
	// the 250 Hz of Debian's kernels. The credit makes up for it.
	tick = 4 * time.Millisecond
	// headroom is how far above the exact limit the outer wall stands, so that
	// it holds back a flood and never the traffic that the limit lets pass,
	// also under a clock of 100 Hz, where a window takes 60 ms.
	headroom = 1.25
)

// Shaper makes Linux enforce allocations on a device, exactly and in both
// directions; see control.Driver, whose methods these are.
type Shaper interface {
	Apply(ctx context.Context, v sluice.VIF, want sluice.Allocations) error
	Release(ctx context.Context, v sluice.VIF) error
}

// Netback is the driver for Xen's vifs. What a guest sends is held back in the
// guest itself, by netback's credit: packets over it stay in the guest's ring,
// so that a flood costs dom0 next to nothing. Inside that wall the Shaper is
// exact, for tx and rx. docs/xen.md has the figures behind this.
//
// A credit holds for every queue of a vif by itself. Inside the wall each
// queue has it whole, because one flow uses one queue and must reach the
// limit. Without a Shaper the credit is the limit, and is divided.
type Netback struct {
	Store     *xenstore.Client
	Inventory *Inventory
	Shaper    Shaper // nil: netback's credit alone, tx only
}

// Apply implements control.Driver.
func (n *Netback) Apply(ctx context.Context, v sluice.VIF, want sluice.Allocations) error {
	if v.IsGroup() && n.Shaper != nil {
		return n.Shaper.Apply(ctx, v, want) // a group has no ring to hold back
	}
	at, ok := n.Inventory.find(v.Key())
	if !ok {
		return gone(v)
	}
	if n.Shaper == nil && (want.Rx != sluice.Unshaped || want.Tx != (sluice.Allocation{Limit: want.Tx.Limit, Weight: sluice.DefaultWeight})) {
		return &sluice.Error{Code: sluice.Unsupported, Message: fmt.Sprintf("netback alone can only limit what %s sends", v),
			Try: "load the kernel modules sch_htb and ifb"}
	}
	before, err := n.rate(ctx, at)
	if err != nil {
		return err
	}
	if err := n.keep(ctx, at, before); err != nil {
		return err
	}
	queues, err := queues(at)
	if err != nil {
		return err
	}
	credit := n.credit(want.Tx.Limit, queues)
	err = n.set(ctx, at, credit)
	if err == nil && n.Shaper != nil {
		err = n.Shaper.Apply(ctx, v, want)
	}
	if err == nil {
		return nil
	}
	back := context.WithoutCancel(ctx)
	if restored := n.put(back, at, before); restored != nil {
		return errors.Join(err, restored)
	}
	return err
}

// Release implements control.Driver: the vif is as xl made it.
func (n *Netback) Release(ctx context.Context, v sluice.VIF) error {
	if n.Shaper != nil {
		if err := n.Shaper.Release(ctx, v); err != nil {
			return err
		}
	}
	for _, at := range n.Inventory.Interfaces() {
		if at.Key() != v.Key() || at.Device != v.Device {
			continue
		}
		created, err := n.Store.ReadString(ctx, at.Backend+"/sluice/created-rate")
		if errors.Is(err, xenstore.ErrNotFound) {
			return nil // never set
		}
		if err != nil {
			return unanswered(err)
		}
		if err := n.put(ctx, at, created); err != nil {
			if sluice.CodeOf(err) == sluice.NotFound {
				continue // it is just going, and its limit with it
			}
			return err
		}
		if err := n.Store.Remove(ctx, at.Backend+"/sluice/created-rate"); err != nil {
			return unanswered(err)
		}
	}
	return nil
}

// credit is what enforces a limit on a vif with so many queues.
func (n *Netback) credit(limit sluice.Rate, queues int) Credit {
	if limit == sluice.Unlimited {
		return NoLimit
	}
	share := headroom
	if n.Shaper == nil {
		share = 1 / float64(queues)
	}
	return Credit{max(uint64(float64(limit.BytesPerSecond())*share*(window+tick).Seconds()), 1), window}
}

// set makes every queue have the credit.
func (n *Netback) set(ctx context.Context, at Interface, c Credit) error {
	text := c.String()
	if c == NoLimit {
		text = "" // netback has no limit where there is no node
	}
	return n.put(ctx, at, text)
}

// put writes a rate node, or removes it if rate is "", and waits until netback
// has taken it up.
func (n *Netback) put(ctx context.Context, at Interface, rate string) error {
	want := NoLimit
	if rate != "" {
		var err error
		if want, err = ParseCredit(rate); err != nil && rate != "" {
			want = NoLimit // whoever wrote it, netback takes it so
		}
	}
	now, err := n.rate(ctx, at)
	if err != nil {
		return err
	}
	if now != rate {
		// Never in a folder that was removed meanwhile: writing would make it again.
		err = n.Store.Transaction(ctx, func(v xenstore.View) error {
			if _, err := v.Read(ctx, at.Backend+"/frontend"); err != nil {
				return err
			}
			if rate == "" {
				return v.Remove(ctx, at.Backend+"/rate")
			}
			return v.WriteString(ctx, at.Backend+"/rate", rate)
		})
		if errors.Is(err, xenstore.ErrNotFound) {
			return gone(at.VIF)
		}
		if err != nil {
			return unanswered(err)
		}
	}
	return confirm(ctx, at, want)
}

// keep notes what rate said before Sluice wrote it for the first time.
func (n *Netback) keep(ctx context.Context, at Interface, rate string) error {
	if _, err := n.Store.Read(ctx, at.Backend+"/sluice/created-rate"); err == nil {
		return nil
	}
	err := n.Store.Transaction(ctx, func(v xenstore.View) error {
		if _, err := v.Read(ctx, at.Backend+"/frontend"); err != nil {
			return err
		}
		_, err := v.Read(ctx, at.Backend+"/sluice/created-rate")
		if errors.Is(err, xenstore.ErrNotFound) {
			return v.WriteString(ctx, at.Backend+"/sluice/created-rate", rate)
		}
		return err
	})
	if errors.Is(err, xenstore.ErrNotFound) {
		return gone(at.VIF)
	}
	if err != nil {
		return unanswered(err)
	}
	return nil
}

func (n *Netback) rate(ctx context.Context, at Interface) (string, error) {
	s, err := optional(ctx, n.Store.View, at.Backend+"/rate")
	if err != nil {
		return "", unanswered(err)
	}
	return s, nil
}
