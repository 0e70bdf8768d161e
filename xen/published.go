package xen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"sluice"
	"sluice/xen/xenstore"
)

// lookForCollectors is how often guests are looked at for a collector that
// writes into xenstore.
const lookForCollectors = 5 * time.Second

// Collectors finds the guests whose collectors write into xenstore.
type Collectors struct {
	Store     *xenstore.Client
	Inventory *Inventory

	mu    sync.Mutex
	found map[int]*Collector // by domain
}

// Run looks for collectors until ctx ends.
func (c *Collectors) Run(ctx context.Context) {
	again := time.NewTicker(lookForCollectors)
	defer again.Stop()
	for {
		c.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

func (c *Collectors) look(ctx context.Context) {
	now := make(map[int]*Collector)
	for _, at := range c.Inventory.Interfaces() {
		c.mu.Lock()
		known := c.found[at.Domain]
		c.mu.Unlock()
		if known == nil && now[at.Domain] == nil {
			ctx, cancel := context.WithTimeout(ctx, answerWithin)
			_, err := c.Store.Read(ctx, usagePath(at.Domain))
			cancel()
			if err != nil {
				continue
			}
			known = &Collector{VM: at.VM, UUID: at.UUID, store: c.Store, domain: at.Domain}
		}
		if known != nil {
			now[at.Domain] = known
		}
	}
	c.mu.Lock()
	c.found = now
	c.mu.Unlock()
}

// All returns the collectors found, one for each VM.
func (c *Collectors) All() []*Collector {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := make(map[string]*Collector)
	for _, one := range c.found {
		if old := newest[one.UUID]; old == nil || old.domain < one.domain {
			newest[one.UUID] = one
		}
	}
	all := make([]*Collector, 0, len(newest))
	for _, one := range newest {
		all = append(all, one)
	}
	return all
}

// Collector is one VM's collector, read through xenstore. Not for concurrent use.
type Collector struct {
	VM     string // its name when it was found
	UUID   string // the VM's
	store  *xenstore.Client
	domain int
	last   uint64
	began  int // how often its IDs began anew
}

// Pull returns the newest sample if its ID is above after; xenstore holds no others.
func (c *Collector) Pull(ctx context.Context, after uint64, _ int) (sluice.Samples, error) {
	s, err := Published(ctx, c.store, c.domain)
	if err != nil {
		return sluice.Samples{}, err
	}
	if s.ID < c.last {
		c.began++
	}
	c.last = s.ID
	got := sluice.Samples{Database: fmt.Sprintf("xenstore/%d/%d", c.domain, c.began)}
	if s.ID > after {
		got.Samples = []sluice.Sample{s}
	}
	return got, nil
}

// Published returns the newest sample that a domain's collector wrote into
// xenstore. NotFound if it wrote none. What a guest writes is shown and never
// acted on; a sample that makes no sense is an error of code Invalid.
func Published(ctx context.Context, store *xenstore.Client, domain int) (sluice.Sample, error) {
	b, err := store.Read(ctx, usagePath(domain))
	if errors.Is(err, xenstore.ErrNotFound) {
		return sluice.Sample{}, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("domain %d's collector has written nothing into xenstore", domain)}
	}
	if err != nil {
		return sluice.Sample{}, unanswered(err)
	}
	return parseSample(b)
}

func usagePath(domain int) string { return fmt.Sprintf("/local/domain/%d/%s", domain, usageNode) }

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
		if s.NICs[i].MAC == "" {
			continue
		}
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
