package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/control"
	"sluice/http"
	"sluice/linux"
)

// confirmWithin is how long somebody whose own connection a change may slow
// down has to say that it still works.
const confirmWithin = time.Minute

// protect has a change revert unless it is confirmed, if it may narrow the
// path of the connection that it is made through, and says so. Who said how long
// it is to hold has thought of it.
func (c *client) protect(cmd *cobra.Command, r *http.ChangeRequest) {
	if r.DryRun || r.ForS != 0 || r.ConfirmS != 0 {
		return
	}
	if path := c.ownPathBy(cmd.Context(), *r); path != "" {
		r.ConfirmS = int(confirmWithin / time.Second)
		fmt.Fprintf(cmd.ErrOrStderr(), "sluice: %s: so the change reverts unless it is confirmed\n", path)
	}
}

// warn says which of many changes, that do not revert by themselves, may
// narrow the path of the connection that they are made through.
func (c *client) warn(cmd *cobra.Command, all []http.ChangeRequest) {
	for _, r := range all {
		if path := c.ownPathBy(cmd.Context(), r); path != "" && !r.DryRun {
			fmt.Fprintf(cmd.ErrOrStderr(), "sluice: mind that %s, and what is changed together does not revert by itself\n", path)
		}
	}
}

// ownPathBy says that a request may narrow the path of the connection that it
// is made through; "" if not.
func (c *client) ownPathBy(ctx context.Context, r http.ChangeRequest) string {
	if !narrows(r) {
		return ""
	}
	from, device := ownPath()
	if device == "" {
		return ""
	}
	name := c.behind(ctx, r, device)
	if name == "" {
		return ""
	}
	return fmt.Sprintf("your own connection, from %s, comes through %s of %s", from, device, printable(name))
}

// narrows says whether a request may leave less than there was.
func narrows(r http.ChangeRequest) bool {
	if r.Group != nil {
		return true
	}
	for _, p := range []*control.Patch{r.Tx, r.Rx} {
		if p != nil && p.Limit != nil && *p.Limit != sluice.Unlimited {
			return true
		}
	}
	return false
}

// ownPath is where the person is logged in from, as sshd says it, and the
// device by which that is reached; "" where nobody is, or it is not known.
func ownPath() (from, device string) {
	from, _, _ = strings.Cut(os.Getenv("SSH_CONNECTION"), " ")
	address, err := netip.ParseAddr(from)
	if err != nil || address.IsLoopback() {
		return "", ""
	}
	device, err = linux.PathTo(address.WithZone(""))
	if err != nil {
		return "", ""
	}
	return from, device
}

// behind is the vif that has the device, if the request changes it or a group
// that it is in; "" if it does not.
func (c *client) behind(ctx context.Context, r http.ChangeRequest, device string) string {
	vifs, err := c.daemon().VIFs(ctx)
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(vifs, func(v sluice.VIFStatus) bool { return v.Device == device })
	if i < 0 {
		return ""
	}
	v := vifs[i]
	if name, group := sluice.GroupOf(r.VM); group && !strings.HasPrefix(r.VM, "@@") {
		groups, _ := c.daemon().Groups(ctx)
		for at := v.Group; at != ""; {
			if at == name {
				return v.String()
			}
			up := slices.IndexFunc(groups, func(g sluice.GroupStatus) bool { return g.Name == at })
			if at = ""; up >= 0 {
				at = groups[up].Parent
			}
		}
		return ""
	}
	its, err := c.daemon().VM(ctx, r.VM)
	if err == nil && slices.ContainsFunc(its, func(x sluice.VIFStatus) bool { return x.Key() == v.Key() && (x.Index == r.VIF || x.Key() == r.VM) }) {
		return v.String()
	}
	return ""
}
