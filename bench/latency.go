package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"sluice"
)

// latency is how long a change takes, from the request until the kernel was
// read back: through the daemon's socket, and by programs.
func latency(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "changes", "p50 ms", "p90 ms", "p99 ms", "max ms"}},
		Chart:  Chart{Title: "From request to verified", Unit: "ms", Log: true, Bars: []float64{5}, Groups: []string{"p50", "p90", "p99"}},
		Note: "A change is tx and rx of one vif: journalled and synced to disk twice, applied, read back from the kernel. " +
			"The socket is the API on the Unix socket from a client that keeps its connection, as the page's and the lab's do; the programs are timed from fork to exit. " +
			"tc class change sets one class, reads nothing back and remembers nothing. The last line is what the disk alone takes, twice as a change does. All take turns.",
	}
	ours, err := b.shaped(ctx, bySluice, cycle[0])
	if err != nil {
		return r, err
	}
	defer ours.close()
	theirs, err := b.shaped(ctx, byDefaultHTB, cycle[0])
	if err != nil {
		return r, err
	}
	defer theirs.close()
	crowded, err := newSite()
	if err != nil {
		return r, err
	}
	defer crowded.close()
	vifs := 1000
	if b.short {
		vifs = 100
	}
	err = crowded.crowd(b, vifs)
	if err == nil {
		err = crowded.serve(ctx, b)
	}
	if err == nil {
		err = crowded.shapeAll(ctx)
	}
	if err != nil {
		return r, err
	}
	disk, err := os.CreateTemp(ours.dir, "sync")
	if err != nil {
		return r, err
	}
	defer disk.Close()
	ways := []struct {
		name  string
		times int // of 1,000
		set   func(sluice.Rate) error
	}{
		{"Sluice, the socket", 1000, func(rate sluice.Rate) error {
			c, err := ours.client.Set(ctx, limit(vif, rate))
			if err == nil && !c.Verified {
				err = fmt.Errorf("change %d is not verified", c.ID)
			}
			return err
		}},
		{fmt.Sprintf("Sluice, the socket, %d vifs shaped", vifs), 1000, func(rate sluice.Rate) error {
			c, err := crowded.client.Set(ctx, limit(vif, rate))
			if err == nil && !c.Verified {
				err = fmt.Errorf("change %d is not verified", c.ID)
			}
			return err
		}},
		{"sluice set", 500, func(rate sluice.Rate) error {
			_, err := ours.host.output(exec.CommandContext(ctx, b.sluice, "--socket", ours.socket(), "set", vif, "0", rate.String()))
			return err
		}},
		{"tc class change", 1000, func(rate sluice.Rate) error {
			return theirs.host.run(ctx, fmt.Sprintf("tc class change dev %s parent 1: classid %s htb rate %dbit ceil %dbit", vif, htbClass, rate, rate))
		}},
		{"two syncs of 2 KB to the disk", 1000, func(sluice.Rate) error {
			for range 2 {
				if _, err := disk.Write(make([]byte, 2<<10)); err != nil {
					return err
				}
				if err := disk.Sync(); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	took := make([][]float64, len(ways))
	rounds := 1000
	if b.short {
		rounds = 100
	}
	for i := range rounds {
		if i%50 == 0 {
			if err := b.lull(ctx); err != nil {
				return r, err
			}
		}
		for k, way := range ways {
			if i >= way.times {
				continue
			}
			begin := time.Now()
			if err := way.set(sluice.Rate(100e6 + i*1e5)); err != nil {
				return r, fmt.Errorf("%s, change %d: %w", way.name, i+1, err)
			}
			took[k] = append(took[k], time.Since(begin).Seconds()*1000)
		}
	}
	at := func(k int, q float64) float64 { return quantile(took[k], q) }
	for k, way := range ways {
		line := []string{way.name, strconv.Itoa(len(took[k]))}
		for _, q := range []float64{0.5, 0.9, 0.99, 1} {
			line = append(line, fmt.Sprintf("%.2f", at(k, q)))
		}
		b.say("  %v", line)
		r.Detail.Rows = append(r.Detail.Rows, line)
		r.Chart.Series = append(r.Chart.Series, Series{way.name, []float64{at(k, 0.5), at(k, 0.9), at(k, 0.99)}})
	}
	both := func(k int) string { return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", at(k, 0.5), at(k, 0.99)) }
	r.Rows = []Row{{
		Figure: fmt.Sprintf("set to verified through the Unix socket, %d changes", len(took[0])),
		Sluice: both(0) + fmt.Sprintf("; with %d vifs shaped: ", vifs) + both(1), Bar: "p99 ≤ 5 ms", Met: max(at(0, 0.99), at(1, 0.99)) <= 5,
		Beside: fmt.Sprintf("the program tc class change: %s; the program sluice set: %s; two syncs of the disk alone: %s", both(3), both(2), both(4)),
	}}
	return r, nil
}
