package main

import (
	"context"
	"time"

	"sluice"
	"sluice/xen"
	"sluice/xen/xenstore"
)

// tellWithin is what xenstored is given to take a sample in. dom0 may be busy,
// and the next sample is as good.
const tellWithin = 5 * time.Second

// tellXen writes the newest sample into xenstore, whenever there is one, until
// ctx ends. A guest that cannot reach xenstored goes on without.
func (c *collector) tellXen(ctx context.Context, newest <-chan sluice.Sample) {
	store, err := xenstore.Dial(ctx, c.xenstore)
	if err != nil {
		c.log.Warn("dom0 is not told by xenstore", "device", c.xenstore, "error", err)
		return
	}
	defer store.Close()
	publisher := xen.Publisher{Store: store}
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-newest:
			telling, cancel := context.WithTimeout(ctx, tellWithin)
			err := publisher.Publish(telling, s)
			cancel()
			if err != nil && !failing && ctx.Err() == nil {
				c.log.Warn("xenstored takes no sample", "error", err)
			}
			failing = err != nil
		}
	}
}

// offer puts s into a channel of one place, instead of what nobody took.
func offer(newest chan sluice.Sample, s sluice.Sample) {
	select {
	case <-newest:
	default:
	}
	newest <- s
}
