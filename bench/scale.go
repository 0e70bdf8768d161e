package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice"
)

// scale is what 1,000 vifs cost the daemon at a data set a second.
func scale(ctx context.Context, b *bench) (Result, error) {
	vifs, settled, window, rounds := 1000, 5*time.Second, 10*time.Second, 3
	if b.short {
		vifs, window, rounds = 100, 3*time.Second, 1
	}
	r := Result{
		Detail: Table{Head: []string{"", "CPU, % of a core", "memory, MB"}},
		Chart:  Chart{Title: fmt.Sprintf("The daemon with %d vifs, a data set a second", vifs), Unit: "% of the bar", Bars: []float64{100}, Groups: []string{"CPU", "memory"}},
		Note: fmt.Sprintf("Every vif is a veth on one bridge; utime + stime and VmRSS of /proc/PID, over %d x %s, %s after the last change; CPU is the median. "+
			"Shaped: each has a limit of its own in both directions. Watched: a reader of /v1/events, as a page is.", rounds, window, settled),
	}
	s, err := newSite()
	if err != nil {
		return r, err
	}
	defer s.close()
	if err := s.crowd(b, vifs); err != nil {
		return r, err
	}
	if err := s.serve(ctx, b); err != nil {
		return r, err
	}
	watch := func(ctx context.Context) error { return s.client.Watch(ctx, func(sluice.DataSet) {}, nil) }
	var shaped []use
	for _, x := range []struct {
		name    string
		prepare func() error
		watch   func(context.Context) error
		rounds  int
	}{
		// A bridge speaks of every new port until it forwards, which is 30 s.
		{"nothing shaped", func() error { return wait(ctx, 30*time.Second) }, nil, 1},
		{"all shaped", func() error { return s.shapeAll(ctx) }, nil, rounds},
		{"all shaped, a page open", func() error { return nil }, watch, 1},
	} {
		if err := x.prepare(); err != nil {
			return r, err
		}
		look, stop := context.WithCancel(ctx)
		group := new(errgroup.Group)
		if x.watch != nil {
			group.Go(func() error { return x.watch(look) })
		}
		got, err := s.uses(ctx, settled, window, x.rounds)
		stop()
		if e := group.Wait(); err == nil {
			err = e
		}
		if err != nil {
			return r, err
		}
		line := []string{x.name, fmt.Sprintf("%.2f", got.cpu), fmt.Sprintf("%.0f", got.memory)}
		b.say("  %v", line)
		r.Detail.Rows = append(r.Detail.Rows, line)
		r.Chart.Series = append(r.Chart.Series, Series{x.name, []float64{got.cpu / 5 * 100, got.memory / 150 * 100}})
		shaped = append(shaped, got)
	}
	worst := shaped[1]
	r.Rows = []Row{{
		Figure: fmt.Sprintf("%d vifs (veth), all shaped, a data set a second: the daemon's CPU and memory", vifs),
		Sluice: fmt.Sprintf("%.1f %% of a core, %.0f MB", worst.cpu, worst.memory), Bar: "≤ 5 %, ≤ 150 MB",
		Met:    worst.cpu <= 5 && worst.memory <= 150,
		Beside: fmt.Sprintf("nothing shaped: %.1f %%, %.0f MB; shaped and a page open: %.1f %%, %.0f MB", shaped[0].cpu, shaped[0].memory, shaped[2].cpu, shaped[2].memory),
	}}
	return r, nil
}

// crowd makes it a site with so many vifs.
func (s *site) crowd(b *bench, vifs int) error {
	b.say("  making %d veths", vifs-2) // the site has two
	for i := range vifs - 2 {
		if err := s.host.port(bridge, fmt.Sprintf("tap%d", i), s.vm, fmt.Sprintf("vm%d", i), ""); err != nil {
			return err
		}
	}
	return nil
}

// shapeAll gives every vif a limit of its own.
func (s *site) shapeAll(ctx context.Context) error {
	vifs, err := s.client.VIFs(ctx)
	if err != nil {
		return err
	}
	for i, v := range vifs {
		if _, err := s.client.Set(ctx, limit(v.VM, sluice.Rate(10e6+i*1e5))); err != nil {
			return err
		}
	}
	return nil
}

// use is what a process takes.
type use struct {
	cpu    float64 // % of a core
	memory float64 // MB resident
}

// uses is what the daemon uses once it has settled: the median CPU of the
// rounds, the most memory.
func (s *site) uses(ctx context.Context, settle, window time.Duration, rounds int) (use, error) {
	var all []float64
	most := 0.0
	if err := wait(ctx, settle); err != nil {
		return use{}, err
	}
	for range rounds {
		begin, before, _, err := spent(s.daemon.Process.Pid)
		if err == nil {
			err = wait(ctx, window)
		}
		if err != nil {
			return use{}, err
		}
		end, after, memory, err := spent(s.daemon.Process.Pid)
		if err != nil {
			return use{}, err
		}
		all = append(all, 100*(after-before).Seconds()/end.Sub(begin).Seconds())
		most = max(most, memory)
	}
	return use{median(all), most}, nil
}

// spent reads a process's CPU time and resident memory in MB (proc(5)).
func spent(pid int) (at time.Time, cpu time.Duration, memory float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return at, 0, 0, err
	}
	at = time.Now()
	const utime, stime, rss = 14, 15, 24 // counted from 1; the name, field 2, may have blanks
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	n := make(map[int]int)
	for _, i := range []int{utime, stime, rss} {
		if n[i], err = strconv.Atoi(fields[i-3]); err != nil {
			return at, 0, 0, err
		}
	}
	const hertz = 100 // USER_HZ, everywhere that Go runs
	return at, time.Duration(n[utime]+n[stime]) * time.Second / hertz, float64(n[rss]*os.Getpagesize()) / 1e6, nil
}
