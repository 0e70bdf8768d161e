package xen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

// Shaper makes Linux enforce a whole state, exactly and in both directions;
// see control.Driver, whose method this is.
type Shaper interface {
	Set(ctx context.Context, want sluice.Effective) (failed map[string]error, err error)
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

	mu    sync.Mutex
	walls map[string]wall // what stands, by the vif's key; nil before the first Set
}

// wall is the outer limit of one vif.
type wall struct {
	bound  sluice.Bound
	at     Interface
	before string // what rate said before this wall
}

// atOnce is how many vifs' walls are moved at once: each waits for netback.
const atOnce = 16

// Set implements control.Driver: first the walls, then what is exact inside
// them, then what is let go becomes as xl made it.
func (n *Netback) Set(ctx context.Context, want sluice.Effective) (failed map[string]error, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	moved, failed := n.moveWalls(ctx, want)
	inside := want
	inside.VIFs = maps.Clone(want.VIFs)
	for key := range failed { // it stays as it was
		if old, ok := n.walls[key]; ok {
			inside.VIFs[key] = old.bound
		} else {
			delete(inside.VIFs, key)
		}
	}
	if n.Shaper != nil {
		more, err := n.Shaper.Set(ctx, inside)
		if err != nil {
			for _, w := range moved {
				err = errors.Join(err, n.put(context.WithoutCancel(ctx), w.at, w.before))
			}
			return nil, err
		}
		for key, err := range more {
			failed[key] = errors.Join(failed[key], err)
			if w, ok := moved[key]; ok {
				failed[key] = errors.Join(failed[key], n.put(context.WithoutCancel(ctx), w.at, w.before))
				delete(moved, key)
			}
		}
	}
	first := n.walls == nil
	if first {
		n.walls = make(map[string]wall)
	}
	maps.Copy(n.walls, moved)
	for _, at := range n.Inventory.Interfaces() {
		key := at.Key()
		_, stands := n.walls[key]
		if _, wanted := want.VIFs[key]; wanted || !stands && !first {
			continue
		}
		if err := n.release(ctx, at); err != nil && sluice.CodeOf(err) != sluice.NotFound {
			failed[key] = err
		}
	}
	for key := range n.walls {
		if _, wanted := want.VIFs[key]; !wanted && failed[key] == nil {
			delete(n.walls, key)
		}
	}
	return failed, nil
}

// moveWalls has netback hold back what has changed, or, where nothing has, sees
// to it that all is as it should be. It returns what it did, and where it failed.
func (n *Netback) moveWalls(ctx context.Context, want sluice.Effective) (moved map[string]wall, failed map[string]error) {
	todo := make(map[string]sluice.Bound)
	for key, b := range want.VIFs {
		if w, stands := n.walls[key]; !stands || w.bound != b {
			todo[key] = b
		}
	}
	if len(todo) == 0 {
		todo = want.VIFs
	}
	moved, failed = make(map[string]wall), make(map[string]error)
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for key, b := range todo {
		group.Go(func() error {
			w, err := n.move(ctx, key, b)
			mu.Lock()
			defer mu.Unlock()
			if moved[key] = w; err != nil {
				delete(moved, key)
				failed[key] = err
			}
			return nil
		})
	}
	_ = group.Wait()
	if n.Shaper == nil {
		for name := range want.Groups {
			failed[sluice.GroupVIF(name).Key()] = unshaped(sluice.GroupVIF(name))
		}
	}
	return moved, failed
}

func unshaped(v sluice.VIF) error {
	return &sluice.Error{Code: sluice.Unsupported, Message: fmt.Sprintf("netback alone can only limit what %s sends", v),
		Try: "load the kernel modules sch_htb and ifb"}
}

// move moves one vif's wall.
func (n *Netback) move(ctx context.Context, key string, b sluice.Bound) (wall, error) {
	at, ok := n.Inventory.find(key)
	if !ok {
		return wall{}, gone(b.VIF)
	}
	tx := b.Want.Tx
	if n.Shaper == nil && (b.Want.Rx != sluice.Unshaped || tx != (sluice.Allocation{Limit: tx.Limit, Weight: sluice.DefaultWeight})) {
		return wall{}, unshaped(b.VIF)
	}
	before, err := n.rate(ctx, at)
	if err != nil {
		return wall{}, err
	}
	if err := n.keep(ctx, at, before); err != nil {
		return wall{}, err
	}
	queues, err := queues(at)
	if err != nil {
		return wall{}, err
	}
	if err := n.set(ctx, at, n.credit(tx.Limit, queues)); err != nil {
		return wall{}, errors.Join(err, n.put(context.WithoutCancel(ctx), at, before))
	}
	return wall{b, at, before}, nil
}

// release makes a vif as xl made it.
func (n *Netback) release(ctx context.Context, at Interface) error {
	created, err := n.Store.ReadString(ctx, at.Backend+"/sluice/created-rate")
	if errors.Is(err, xenstore.ErrNotFound) {
		return nil // never set
	}
	if err != nil {
		return unanswered(err)
	}
	if err := n.put(ctx, at, created); err != nil {
		return err
	}
	if err := n.Store.Remove(ctx, at.Backend+"/sluice/created-rate"); err != nil {
		return unanswered(err)
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
