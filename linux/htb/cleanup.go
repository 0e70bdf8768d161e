package htb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

// CleanUp takes everything of ours out of the kernel, whoever made it: the
// filters, the clsacts made for them and the IFBs. It works after a crash. The
// error is NotApplied and says what is left.
func CleanUp(ctx context.Context) error {
	d, err := New(slog.New(slog.DiscardHandler), 0)
	if err != nil {
		return err
	}
	defer d.Close()
	// Nothing wanted: what waits is sent, then all goes but the IFBs.
	for until := time.Now().Add(2 * patience); ; time.Sleep(firstAgain) {
		failed, err := d.Set(ctx, sluice.Effective{})
		if err != nil {
			return err
		}
		if len(failed) > 0 {
			return notApplied("not everything could be removed", fmt.Errorf("%v", failed))
		}
		if done := d.empty(); done || time.Now().After(until) || ctx.Err() != nil {
			break
		}
	}
	var left []error
	for _, dir := range sluice.Directions {
		link, ok, err := d.conn.LinkByName(ifbName(dir))
		if err == nil && ok && link.Kind == "ifb" {
			err = d.conn.DeleteLink(link.Index)
		}
		if err != nil && !errors.Is(err, unix.ENODEV) {
			left = append(left, err)
		}
	}
	if len(left) > 0 {
		return notApplied("not everything could be removed", errors.Join(left...))
	}
	return nil
}

// empty says whether no hook of ours and no class but the root is left.
func (d *Driver) empty() bool {
	d.lock <- struct{}{}
	defer d.unlock()
	for _, k := range d.have {
		for _, h := range k.Hooks {
			if h.Ours {
				return false
			}
		}
		for minor := range k.Classes {
			if minor != rootMinor {
				return false
			}
		}
	}
	return true
}

// Plain says whether the kernel has no fq_codel, so that a FIFO waits in each
// class. It is known once something is shaped.
func (d *Driver) Plain() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plain
}
