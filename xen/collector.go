package xen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	// publishEvery is how often a guest writes at most. xenstored is shared by
	// the whole host.
	publishEvery = time.Second
)

// Publisher tells dom0, by way of xenstore, what a guest's collector saw. It
// is for guests that dom0 has no network path to, and runs in the guest. Not
// for concurrent use.
type Publisher struct {
	Store *xenstore.Client // by [xenstore.Device]
	last  time.Time
}

// Publish writes the sample in place of the one before. It leaves out one that
// comes too soon after that, and those of so many interfaces as do not fit;
// each is its own interval, so nothing is added up wrongly.
func (p *Publisher) Publish(ctx context.Context, s sluice.Sample) error {
	if time.Since(p.last) < publishEvery {
		return nil
	}
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
	p.last = time.Now()
	return nil
}

// Published returns the newest sample that a domain's collector wrote into
// xenstore. NotFound if it wrote none. What a guest writes is shown and never
// acted on; a sample that makes no sense is an error of code Invalid.
func Published(ctx context.Context, store *xenstore.Client, domain int) (sluice.Sample, error) {
	path := fmt.Sprintf("/local/domain/%d/%s", domain, usageNode)
	b, err := store.Read(ctx, path)
	if errors.Is(err, xenstore.ErrNotFound) {
		return sluice.Sample{}, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("domain %d's collector has written nothing into xenstore", domain)}
	}
	if err != nil {
		return sluice.Sample{}, unanswered(err)
	}
	return parseSample(b)
}

func parseSample(b []byte) (sluice.Sample, error) {
	var s sluice.Sample
	err := json.Unmarshal(b, &s)
	if len(b) > maxUsage {
		err = fmt.Errorf("it is %d bytes long", len(b))
	}
	if err == nil && (s.Span <= 0 || s.Span > time.Hour) {
		err = fmt.Errorf("its interval is %s", s.Span)
	}
	for i := range s.NICs {
		hw, bad := net.ParseMAC(s.NICs[i].MAC)
		if err == nil && bad != nil {
			err = bad
		}
		s.NICs[i].MAC = hw.String()
	}
	if err != nil {
		return sluice.Sample{}, &sluice.Error{Code: sluice.Invalid, Message: "what the guest's collector wrote is no sample", Err: err}
	}
	return s, nil
}
