package xen

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"sluice"
	"sluice/xen/xenstore"
)

// Xenbus's states of a device's end (xen/include/public/io/xenbus.h).
const (
	connected     = "4"
	reconfiguring = "7"
)

// maxQueues is more than any netback offers; a guest writes what it likes.
const maxQueues = 64

// Interface is a vif as xenstore describes it.
type Interface struct {
	sluice.VIF
	Domain   int    // another after every boot of the VM
	Bridge   string // "" if it is on none
	Queues   int    // of each direction, as the guest says
	Backend  string // the back-end's path
	State    string // of the back-end, by Xenbus's number
	Frontend string // the guest's end's state
	Rate     string // netback's limit as it stands, or ""
}

// present reports whether traffic can pass: before, and after, there is
// nothing to allocate.
func (i Interface) present() bool { return i.State == connected || i.State == reconfiguring }

var uuidIn = regexp.MustCompile(`^/vm/([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})`)

// readDomain reads a domain's vifs. A domain that has gone has none.
func readDomain(ctx context.Context, v xenstore.View, domain int) ([]Interface, error) {
	home := fmt.Sprintf("/local/domain/%d", domain)
	base := fmt.Sprintf("%s/%d", backends, domain)
	var name, vm, profile string
	var indices []string
	err := together(ctx, v, map[string]*string{home + "/name": &name, home + "/vm": &vm, home + "/sluice/profile": &profile})
	if err == nil {
		indices, err = listOptional(ctx, v, base)
	}
	if err != nil {
		return nil, err
	}
	uuid := ""
	if m := uuidIn.FindStringSubmatch(vm); m != nil {
		uuid = strings.ToLower(m[1])
	}
	var all []Interface
	for _, s := range indices {
		index, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			continue
		}
		one := Interface{Domain: domain, Backend: base + "/" + s}
		one.VIF = sluice.VIF{VM: cmp.Or(name, fmt.Sprintf("domain-%d", domain)), UUID: uuid, Index: int(index), Profile: profile,
			Device: fmt.Sprintf("vif%d.%d", domain, index)}
		if err := one.read(ctx, v); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// read reads what the two ends say. The front-end's folder is the guest's to
// write: it is asked for nothing that anything depends on.
func (i *Interface) read(ctx context.Context, v xenstore.View) error {
	var mac, front, queues string
	err := together(ctx, v, map[string]*string{
		i.Backend + "/mac": &mac, i.Backend + "/bridge": &i.Bridge, i.Backend + "/state": &i.State,
		i.Backend + "/rate": &i.Rate, i.Backend + "/frontend": &front,
	})
	if err != nil {
		return err
	}
	i.MAC = sluice.MAC(mac)
	i.Queues = 1
	if xenstore.CheckPath(front) != nil {
		return nil
	}
	if err := together(ctx, v, map[string]*string{front + "/state": &i.Frontend, front + "/multi-queue-num-queues": &queues}); err != nil {
		return err
	}
	if n, err := strconv.ParseUint(queues, 10, 16); err == nil {
		i.Queues = int(min(max(n, 1), maxQueues))
	}
	return nil
}

// together reads nodes that need not be there, all at once.
func together(ctx context.Context, v xenstore.View, nodes map[string]*string) error {
	all, ctx := errgroup.WithContext(ctx)
	for path, into := range nodes {
		all.Go(func() (err error) {
			*into, err = optional(ctx, v, path)
			return err
		})
	}
	return all.Wait()
}
