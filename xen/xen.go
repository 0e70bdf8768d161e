// Package xen is everything Xen: which domains and vifs a host has
// ([Inventory]), the device store with its trigger ([Store]) and netback's own
// limit ([Netback]). All three speak to xenstored through package xenstore,
// and none keeps state of its own: after a restart they read it again.
//
// What Sluice keeps in a back-end's folder, beside what Xen keeps there:
//
//	/local/domain/0/backend/vif/3/0/state                 4 Connected, 7 Reconfiguring
//	                               /rate                  netback's own limit: bytes per window, window in microseconds
//	                               /sluice/tx/limit       the value: 10mbit, unlimited; likewise guarantee, weight,
//	                                                      priority, and rx
//	                               /sluice/change         the change under way, while there is one of ours
//	                               /sluice/created-rate   what rate said before Sluice first wrote it
//
// So a person can do by hand what sluice set does: write sluice/tx/limit, then
// 7 into state.
package xen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"sluice"
	"sluice/xen/xenstore"
)

// backends is where dom0 keeps the back-ends of all vifs.
const backends = "/local/domain/0/backend/vif"

// ControlDomain reports whether this is the domain that runs Xen's guests.
func ControlDomain() bool {
	b, err := os.ReadFile("/proc/xen/capabilities")
	return err == nil && strings.Contains(string(b), "control_d")
}

// unanswered is a request that xenstored did not carry out.
func unanswered(err error) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "xenstored did not answer",
		Try: "look whether it runs: xenstore-ls", Err: err}
}

// optional reads a node that need not be there.
func optional(ctx context.Context, v xenstore.View, path string) (string, error) {
	s, err := v.ReadString(ctx, path)
	if errors.Is(err, xenstore.ErrNotFound) {
		return "", nil
	}
	return s, err
}

func gone(v sluice.VIF) error {
	return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no back-end in xenstore any more", v), Try: "sluice list"}
}
