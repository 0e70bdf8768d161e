package xen

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

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
	name, err := optional(ctx, v, home+"/name")
	if err != nil {
		return nil, err
	}
	vm, err := optional(ctx, v, home+"/vm")
	if err != nil {
		return nil, err
	}
	uuid := ""
	if m := uuidIn.FindStringSubmatch(vm); m != nil {
		uuid = strings.ToLower(m[1])
	}
	indices, err := listOptional(ctx, v, base)
	if err != nil {
		return nil, err
	}
	var all []Interface
	for _, s := range indices {
		index, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			continue
		}
		one := Interface{Domain: domain, Backend: base + "/" + s}
		one.VIF = sluice.VIF{VM: cmp.Or(name, fmt.Sprintf("domain-%d", domain)), UUID: uuid, Index: int(index),
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
	for path, into := range map[string]*string{
		"mac": &mac, "bridge": &i.Bridge, "state": &i.State, "rate": &i.Rate, "frontend": &front,
	} {
		s, err := optional(ctx, v, i.Backend+"/"+path)
		if err != nil {
			return err
		}
		*into = s
	}
	if hw, err := net.ParseMAC(mac); err == nil && len(hw) == 6 {
		i.MAC = hw.String()
	}
	i.Queues = 1
	if xenstore.CheckPath(front) != nil {
		return nil
	}
	var err error
	if i.Frontend, err = optional(ctx, v, front+"/state"); err != nil {
		return err
	}
	if queues, err = optional(ctx, v, front+"/multi-queue-num-queues"); err != nil {
		return err
	}
	if n, err := strconv.ParseUint(queues, 10, 16); err == nil {
		i.Queues = int(min(max(n, 1), maxQueues))
	}
	return nil
}
