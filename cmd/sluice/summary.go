package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sluice"
)

// summary says in six lines what goes on here, and what to type next.
func (c *client) summary(ctx context.Context, w io.Writer) error {
	vifs, err := c.daemon().AllVIFs(ctx)
	if err != nil {
		return err
	}
	link, err := c.daemon().Link(ctx)
	if err != nil {
		return err
	}
	changes, err := c.daemon().Changes(ctx, 1)
	if err != nil {
		return err
	}
	var tx, rx sluice.Rate
	var troubled []string
	here, absent := 0, 0
	vms := make(map[string]bool)
	busy := slices.MaxFunc(append(vifs, sluice.VIFStatus{}), func(a, b sluice.VIFStatus) int {
		return cmp.Compare(a.Tx.Usage+a.Rx.Usage, b.Tx.Usage+b.Rx.Usage)
	})
	for _, v := range vifs {
		if v.Absent {
			absent++
			continue
		}
		here++
		vms[v.UUID+"/"+v.VM] = true
		tx, rx = tx+v.Tx.Usage, rx+v.Rx.Usage
		if v.NotEnforced != "" {
			troubled = append(troubled, v.String())
		}
	}
	lines := []string{fmt.Sprintf("%d VMs with %d vifs; kept for %d absent ones", len(vms), here, absent)}
	lines = append(lines, fmt.Sprintf("they send %s and receive %s; the link carries tx %s, rx %s, of which tx %s and rx %s are guaranteed",
		short(tx), short(rx), link.Capacity.Tx, link.Capacity.Rx, link.Guaranteed.Tx, link.Guaranteed.Rx))
	if busy.VM == "" {
		lines = append(lines, "nobody sends or receives now")
	} else {
		lines = append(lines, fmt.Sprintf("the busiest is %s: tx %s, rx %s", busy, short(busy.Tx.Usage), short(busy.Rx.Usage)))
	}
	switch {
	case len(troubled) > 0:
		lines = append(lines, fmt.Sprintf("not enforced: %s; sluice list says why", strings.Join(troubled[:min(len(troubled), 4)], ", ")))
	default:
		lines = append(lines, "everything that is set was enforced when the kernel was last looked at")
	}
	if len(changes) > 0 {
		last := changes[0]
		lines = append(lines, fmt.Sprintf("the last record is %d, of %s by %s at %s; sluice changes lists all", last.ID,
			sluice.VIF{VM: last.VM, Index: last.VIF}, last.By, last.At.Local().Format(time.DateTime)))
	} else {
		lines = append(lines, "nothing was changed yet")
	}
	next := "sluice --help"
	if busy.VM != "" {
		next = fmt.Sprintf("sluice show %q, sluice set %q 100mbit --dry-run, sluice --help", busy.VM, busy.VM)
	}
	lines = append(lines, "next: sluice top, "+next)
	return c.print(w, map[string]any{"vms": len(vms), "vifs": here, "absent": absent, "link": link, "not_enforced": troubled}, func(w io.Writer) {
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
	})
}
