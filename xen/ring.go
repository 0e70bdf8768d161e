package xen

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice"
)

// Netback's state in debugfs, one folder a vif (xen-netback, xenbus.c).
const debugfs = "/sys/kernel/debug/xen-netback"

// confirmWithin is what netback is given to take up a rate node, by a watch of its own.
const confirmWithin = 2 * time.Second

// rings are netback's queues of a vif, as debugfs shows them.
func rings(at Interface) ([]string, error) {
	all, _ := filepath.Glob(filepath.Join(debugfs, at.Device, "io_ring_q*"))
	if len(all) > 0 {
		return all, nil
	}
	if _, err := os.Stat(debugfs); err != nil {
		return nil, &sluice.Error{Code: sluice.Unsupported, Message: "netback's credit cannot be read back", Err: err,
			Try: "mount -t debugfs none /sys/kernel/debug"}
	}
	return nil, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no netback", at.VIF)}
}

func queues(at Interface) (int, error) {
	all, err := rings(at)
	return len(all), err
}

// confirm waits until every queue of the vif has the credit.
func confirm(ctx context.Context, at Interface, want Credit) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		all, err := rings(at)
		if err != nil {
			return err
		}
		differs := ""
		for _, ring := range all {
			b, err := os.ReadFile(ring)
			if err != nil {
				return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no netback any more", at.VIF), Err: err}
			}
			have, err := ringCredit(string(b))
			if err != nil {
				return &sluice.Error{Code: sluice.Unsupported, Message: ring + " is not as Linux 6.1 writes it", Err: err}
			}
			if have != want {
				differs = fmt.Sprintf("%s has the credit %s, not %s", filepath.Base(ring), have, want)
			}
		}
		if differs == "" {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return &sluice.Error{Code: sluice.NotApplied, Message: fmt.Sprintf("%s: %s", at.VIF, differs)}
		}
	}
}

// ringCredit reads the line "Credit timer_pending: 0, credit: 62500, usec: 50000".
func ringCredit(text string) (Credit, error) {
	for line := range strings.Lines(text) {
		var pending int
		var bytes, usec uint64
		if _, err := fmt.Sscanf(line, "Credit timer_pending: %d, credit: %d, usec: %d", &pending, &bytes, &usec); err == nil {
			return Credit{bytes, time.Duration(usec) * time.Microsecond}, nil
		}
	}
	return Credit{}, fmt.Errorf("no credit in %.80q", cmp.Or(text, "an empty file"))
}
