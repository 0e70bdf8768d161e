package control

import (
	"context"
	"fmt"

	"sluice"
)

// Link is what the host's link carries, and what of it is promised.
func (c *Control) Link(ctx context.Context) (sluice.Link, error) {
	link := sluice.Link{Capacity: c.Capacity(), Reserve: c.Reserve}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return link, err
	}
	for d, to := range map[sluice.Direction]*sluice.Rate{sluice.Tx: &link.Promised.Tx, sluice.Rx: &link.Promised.Rx} {
		promises, err := c.promises(ctx, d, nodes, "", sluice.HostGroup)
		if err != nil {
			return link, err
		}
		*to = sum(promises)
	}
	return link, nil
}

// SetCapacity changes what the link carries, live. It refuses less than was
// promised, with the least that would do, and then changes nothing.
func (c *Control) SetCapacity(ctx context.Context, to sluice.Capacity) (sluice.Link, error) {
	if c.PutCapacity == nil {
		return sluice.Link{}, &sluice.Error{Code: sluice.Unsupported, Message: "this host's capacity is fixed", Unchanged: "nothing was changed"}
	}
	c.admission.Lock()
	defer c.admission.Unlock()
	old := c.Capacity()
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return sluice.Link{}, err
	}
	keeps := fmt.Sprintf("the link keeps tx %s, rx %s", old.Tx, old.Rx)
	for _, d := range sluice.Directions {
		link := to.Get(d)
		if link < sluice.MinLimit {
			return sluice.Link{}, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("a %s capacity of %s carries nothing", d, link),
				Unchanged: keeps, Try: fmt.Sprintf("at least %s", sluice.MinLimit)}
		}
		promises, err := c.promises(ctx, d, nodes, "", sluice.HostGroup)
		if err != nil {
			return sluice.Link{}, err
		}
		// A link may grow, even where it is still too small for what an older
		// one was promised.
		if total := sum(promises); link < old.Get(d) && link != sluice.Unlimited && total > c.promisable(link) {
			of := ""
			if c.Reserve > 0 {
				of = fmt.Sprintf(" less a reserve of %d %%", c.Reserve)
			}
			return sluice.Link{}, &sluice.Error{Code: sluice.Refused, Unchanged: keeps,
				Message: fmt.Sprintf("a %s capacity of %s%s is less than the %s promised: %s", d, link, of, total, c.held(promises)),
				Try:     fmt.Sprintf("at least %s, or lower guarantees by %s first", c.least(total), total-c.promisable(link))}
		}
	}
	if err := c.PutCapacity(ctx, to); err != nil {
		return sluice.Link{}, err
	}
	select {
	case c.resized <- struct{}{}:
	default:
	}
	return c.Link(ctx)
}

// least is the smallest capacity of which so much may be promised.
func (c *Control) least(promised sluice.Rate) sluice.Rate {
	least := promised / sluice.Rate(100-c.Reserve) * 100
	for c.promisable(least) < promised {
		least += max((promised-c.promisable(least))/2, 1)
	}
	return least
}
