package control

import (
	"context"
	"errors"
	"fmt"

	"sluice"
)

// Link is what the host's link carries, and what of it is guaranteed.
func (c *Control) Link(ctx context.Context) (sluice.Link, error) {
	link := sluice.Link{Capacity: c.Capacity(), Reserve: int(c.reserve.Load())}
	if c.CapacityWhy != nil {
		link.Why = c.CapacityWhy()
	}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return link, err
	}
	for d, to := range map[sluice.Direction]*sluice.Rate{sluice.Tx: &link.Guaranteed.Tx, sluice.Rx: &link.Guaranteed.Rx} {
		holdings, err := c.holdings(ctx, d, nodes, "", sluice.HostGroup)
		if err != nil {
			return link, err
		}
		*to = sum(holdings)
	}
	return link, nil
}

// LinkPatch is what a request changes of the link; nil fields stay as they are.
type LinkPatch struct {
	Tx, Rx  *sluice.Rate
	Reserve *int // percent of the capacity that is never guaranteed
	// Then is called when the kernel has the new capacity, before any other
	// request may change it again; its error is the request's. nil: nothing follows.
	Then func(ctx context.Context) error
}

// SetLink changes what the link carries, live. Reading what holds now and
// writing what will is one step: of two clients that set a direction each,
// neither loses its own. It refuses less than is guaranteed, with the least
// that would do, and then changes nothing.
func (c *Control) SetLink(ctx context.Context, p LinkPatch) (sluice.Link, error) {
	if c.PutCapacity == nil {
		return sluice.Link{}, &sluice.Error{Code: sluice.Unsupported, Message: "this host's capacity is fixed", Unchanged: "nothing was changed"}
	}
	c.admission.Lock()
	defer c.admission.Unlock()
	to, reserve := c.Capacity(), int(c.reserve.Load())
	if p.Tx != nil {
		to.Tx = *p.Tx
	}
	if p.Rx != nil {
		to.Rx = *p.Rx
	}
	if p.Reserve != nil {
		reserve = *p.Reserve
	}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return sluice.Link{}, err
	}
	if err := c.carries(ctx, nodes, to, reserve); err != nil {
		return sluice.Link{}, err
	}
	old := c.Capacity()
	err = c.layer.setCapacity(ctx, to)
	if err == nil {
		err = c.PutCapacity(ctx, to)
	}
	if err != nil {
		return sluice.Link{}, errors.Join(err, c.layer.setCapacity(ctx, old))
	}
	c.reserve.Store(int64(reserve))
	select {
	case c.resized <- struct{}{}:
	default:
	}
	if p.Then != nil {
		if err := p.Then(ctx); err != nil {
			return sluice.Link{}, err
		}
	}
	return c.Link(ctx)
}

// carries refuses a link that carries less than was guaranteed, and speaks of
// the direction that needs most. A link may grow, even where it is still too
// small for what an older one was guaranteed.
func (c *Control) carries(ctx context.Context, nodes map[string]Node, to sluice.Capacity, reserve int) (refusal error) {
	old, most := c.Capacity(), sluice.Rate(0)
	keeps := fmt.Sprintf("the link keeps tx %s, rx %s", old.Tx, old.Rx)
	for _, d := range sluice.Directions {
		link := to.Get(d)
		if link < sluice.MinLimit {
			return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("a %s capacity of %s carries nothing", d, link),
				Unchanged: keeps, Try: fmt.Sprintf("at least %s", sluice.MinLimit)}
		}
		holdings, err := c.holdings(ctx, d, nodes, "", sluice.HostGroup)
		if err != nil {
			return err
		}
		total, room := sum(holdings), available(link, reserve)
		if link == sluice.Unlimited && total > 0 && old.Get(d) != sluice.Unlimited {
			return &sluice.Error{Code: sluice.Refused, Unchanged: keeps, Try: "a rate, or lift the guarantees first",
				Message: fmt.Sprintf("a %s capacity that nobody knows cannot hold the %s guaranteed: %s", d, total, c.held(holdings))}
		}
		least := leastLink(total, reserve)
		if room >= total || room >= c.available(old.Get(d)) || least < most {
			continue
		}
		most = least
		of, try := "", fmt.Sprintf("at least %s, or lower guarantees by %s first", least, total-room)
		if reserve > 0 {
			of = fmt.Sprintf(" less a reserve of %d %%", reserve)
		}
		if fits := mostReserve(link, total); reserve > int(c.reserve.Load()) && fits >= 0 {
			try = fmt.Sprintf("a capacity of at least %s, or a reserve of at most %d %%, or lower guarantees by %s first", least, fits, total-room)
		}
		refusal = &sluice.Error{Code: sluice.Refused, Unchanged: keeps,
			Message: fmt.Sprintf("a %s capacity of %s%s is less than the %s guaranteed: %s", d, link, of, total, c.held(holdings)), Try: try}
	}
	return refusal
}

// available is a link less a reserve in percent.
func available(link sluice.Rate, reserve int) sluice.Rate {
	if link == sluice.Unlimited {
		return link
	}
	return link - link/100*sluice.Rate(reserve) - link%100*sluice.Rate(reserve)/100
}

// leastLink is the smallest capacity of which so much may be guaranteed.
func leastLink(guaranteed sluice.Rate, reserve int) sluice.Rate {
	least := guaranteed / sluice.Rate(100-reserve) * 100
	for available(least, reserve) < guaranteed {
		least += max((guaranteed-available(least, reserve))/2, 1)
	}
	return least
}

// mostReserve is the largest with which so much may be guaranteed; -1 if none is.
func mostReserve(link, guaranteed sluice.Rate) int {
	reserve := 99
	for reserve >= 0 && available(link, reserve) < guaranteed {
		reserve--
	}
	return reserve
}
