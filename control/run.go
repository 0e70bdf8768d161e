package control

import (
	"context"
	"maps"
	"time"

	"sluice"
)

const (
	// sweepPause is how often, at most, a changing inventory has all settings
	// applied again, for devices that were replaced under their old name.
	sweepPause = time.Second
	// shutdownGrace is how long Run waits for drivers after its context ended.
	shutdownGrace = 5 * time.Second
)

// Run is the driver layer. It finishes what a crash left under way, applies
// what is set to every vif there is, then does so for every change and every
// vif that comes, and releases those that go. It returns nil when ctx ends,
// and an error if the store ends before.
func (c *Control) Run(ctx context.Context) error {
	updates, err := c.Store.Watch(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it began
		}
		return err
	}
	changed := c.Inventory.Watch(ctx)
	// A change at hand is finished also when the daemon is told to stop.
	working := context.WithoutCancel(ctx)
	var queue *queue
	queue = newQueue(c.Log, func(j job) error {
		switch {
		case j.all:
			return c.resync(working, queue)
		case j.profiles:
			return c.conform(working)
		case j.lease != "":
			return c.expire(working, j.lease)
		}
		return c.layer.settle(working, j.key)
	})
	defer queue.stop(shutdownGrace)

	leases := make(map[string]*time.Timer)
	defer func() {
		for _, t := range leases {
			t.Stop()
		}
	}()
	if err := c.census.load(working); err != nil {
		return err
	}
	// All that is set is told at once: the driver takes a state for the whole.
	nodes, err := c.Store.Nodes(working)
	if err != nil {
		return err
	}
	for key, n := range nodes {
		c.learn(Update{Key: key, Node: n})
	}
	c.recognise(working)
	present := c.present()
	if err := c.resync(working, queue); err != nil {
		c.Log.Warn("reconcile failed, retrying", "error", err)
		queue.wake(job{all: true})
	}
	// What was begun before, or meanwhile, is finished also if we are told to stop now.
	if nodes, err = c.Store.Nodes(working); err != nil {
		return err
	}
	for key, n := range nodes {
		if n.State == sluice.Reconfiguring && ctx.Err() != nil {
			if err := c.layer.settle(working, key); err != nil {
				c.Log.Warn("a change is finished at the next start", "vif", key, "error", err)
			}
		} else if n.State == sluice.Reconfiguring {
			queue.wake(job{key: key})
		}
	}
	queue.wake(job{profiles: true})
	gone := make(map[string]time.Time)
	tidy := time.NewTicker(time.Minute)
	defer tidy.Stop()
	var sweep <-chan time.Time
	sharing := c.sharing()
	regard := func() { // the vifs that nobody set come into the tree, or leave it
		if now := c.sharing(); now != sharing {
			sharing = now
			queue.wake(job{all: true})
		}
	}
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return &sluice.Error{Code: sluice.Unavailable, Message: "the store has ended",
					Unchanged: "what the kernel enforces stays as it is", Try: "the daemon's log says why"}
			}
			c.learn(u)
			c.arm(queue, leases, u)
			if u.Node.State == sluice.Reconfiguring {
				queue.wake(job{key: u.Key})
			} else if c.lacking.Load() || c.strays(u) {
				queue.wake(job{profiles: true})
			}
			regard()
		case _, ok := <-changed:
			if !ok {
				changed = nil
				continue
			}
			c.recognise(working)
			present = c.follow(queue, present)
			queue.wake(job{profiles: true})
			c.leave(working, gone)
			if sweep == nil {
				sweep = time.After(sweepPause)
			}
		case <-c.resized:
			regard()
			queue.wake(job{profiles: true})
		case <-tidy.C:
			c.leave(working, gone)
		case <-sweep:
			sweep = nil
			queue.nudge(job{all: true})
		}
	}
}

// resync tells the driver everything anew. Who is not enforced then is tried
// again alone.
func (c *Control) resync(ctx context.Context, q *queue) error {
	failed, err := c.layer.resync(ctx)
	for key := range failed {
		q.nudge(job{key: key})
	}
	return err
}

// recognise keeps what is learnt of the vifs that are there.
func (c *Control) recognise(ctx context.Context) {
	nodes := c.Settings()
	if err := c.census.learnt(ctx, func(key string) bool { _, set := nodes[key]; return set }); err != nil {
		c.Log.Warn("what vifs are known by is not kept; it is tried again when one comes or goes", "error", err)
	}
}

// present are the vifs that there are, by key.
func (c *Control) present() map[string]sluice.VIF {
	present := make(map[string]sluice.VIF)
	for _, v := range c.Inventory.VIFs() {
		present[v.Key()] = v
	}
	return present
}

// follow compares the inventory with what was present before, and wakes what
// is new, has moved or has gone.
func (c *Control) follow(q *queue, before map[string]sluice.VIF) map[string]sluice.VIF {
	present := c.present()
	for key, v := range present {
		if before[key].Device != v.Device {
			q.wake(job{key: key})
		}
	}
	for _, key := range c.layer.abandoned(present) {
		q.wake(job{key: key})
	}
	return present
}

// sharing says whether vifs stand against each other: the link's capacity is
// known, and somebody has a guarantee, a weight, a priority or a group. Then also the
// vifs that nobody set are in the tree, with the default weight and no limit,
// or they would take what was guaranteed. Otherwise nobody unasked is shaped.
func (c *Control) sharing() bool {
	capacity := c.Capacity()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range sluice.Directions {
		if capacity.Get(d) == sluice.Unlimited {
			continue
		}
		for _, n := range c.nodes {
			a := n.Value.Get(d)
			a.Limit = sluice.Unlimited
			if a != sluice.Unshaped || n.Value.Group != "" {
				return true
			}
		}
	}
	return false
}

// learn takes in what the store says.
func (c *Control) learn(u Update) {
	c.mu.Lock()
	// Also at the same revision, 0: a limit that somebody else made, and nobody set.
	if c.nodes[u.Key].Revision <= u.Node.Revision {
		c.nodes[u.Key] = u.Node
	}
	c.mu.Unlock()
	if u.Change.ID != 0 {
		c.hub.publish(u.Change)
	}
}

// Settings are all nodes that were ever set, by the vif's key, as the store
// last announced them. It costs a copy, no question to the store.
func (c *Control) Settings() map[string]Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.nodes)
}
