package xen

import (
	"context"
	"encoding/json"
	"time"

	"sluice"
	"sluice/xen/xenstore"
)

const (
	// usageNode is where a guest's collector writes its newest sample, in its
	// own domain's folder: data is the part that is the guest's to write, and
	// where XenServer's guest tools write, too.
	usageNode = "data/sluice/usage"
	// maxUsage is what a sample may take, in bytes. oxenstored gives a value
	// 2048 by default.
	maxUsage = 2000
	// publishEvery is how often a guest writes at most: every second's sample,
	// also one that comes a little early. xenstored is shared by the whole host.
	publishEvery = 900 * time.Millisecond
)

// Publisher tells dom0, by way of xenstore, what a guest's collector saw. It
// is for guests that dom0 has no network path to, and runs in the guest. Not
// for concurrent use.
type Publisher struct {
	Store *xenstore.Client // by [xenstore.Device]
	last  time.Time
	id    uint64
}

// Publish writes the sample in place of the one before, with an ID of its own
// counting. It leaves out one that comes too soon after that, and those of so
// many interfaces as do not fit; each is its own interval, so nothing is added
// up wrongly.
func (p *Publisher) Publish(ctx context.Context, s sluice.Sample) error {
	if time.Since(p.last) < publishEvery {
		return nil
	}
	s.ID = p.id + 1
	b, err := json.Marshal(s)
	for ; err == nil && len(b) > maxUsage; b, err = json.Marshal(s) {
		s.NICs = s.NICs[:len(s.NICs)-1]
	}
	if err == nil {
		err = p.Store.Write(ctx, usageNode, b)
	}
	if err != nil {
		return unanswered(err)
	}
	p.id, p.last = s.ID, time.Now()
	return nil
}
