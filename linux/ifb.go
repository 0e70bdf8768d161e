package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"

	"sluice"
)

// ifbName is the device that a direction's tree is on.
func ifbName(d sluice.Direction) string { return "sluice-" + string(d) }

// trunkClass is the class that all leaves borrow from.
var trunkClass = classHandle(1)

// tree is one direction's HTB.
type tree struct {
	direction sluice.Direction
	ifindex   int
}

// plant finds or makes a direction's IFB and HTB.
func (h *HTB) plant(ctx context.Context, d sluice.Direction) (tree, error) {
	name := ifbName(d)
	link, err := h.links.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		loadIFB(ctx)
		if err := h.links.LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: 1000}}); err != nil {
			return tree{}, fmt.Errorf("making %s: %w", name, err)
		}
		link, err = h.links.LinkByName(name)
	}
	if err != nil {
		return tree{}, fmt.Errorf("looking for %s: %w", name, err)
	}
	if link.Type() != "ifb" {
		return tree{}, fmt.Errorf("%s is not an IFB but a %s of somebody else's", name, link.Type())
	}
	if err := h.links.LinkSetUp(link); err != nil {
		return tree{}, fmt.Errorf("setting %s up: %w", name, err)
	}
	t := tree{direction: d, ifindex: link.Attrs().Index}
	ours := false
	err = h.tc.qdiscs(t.ifindex, func(q qdisc) {
		ours = ours || q.kind == "htb" && q.handle == major<<16
	})
	if err == nil && !ours {
		err = h.tc.putTree(t.ifindex)
	}
	return t, err
}

// loadIFB loads the module without the two devices that it makes of itself.
// Where it is built in or missing the kernel's answer to the first use counts.
func loadIFB(ctx context.Context) {
	if _, err := os.Stat("/sys/module/ifb"); err == nil {
		return
	}
	_ = exec.CommandContext(ctx, "modprobe", "ifb", "numifbs=0").Run()
}
