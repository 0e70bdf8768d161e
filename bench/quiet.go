package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// quiet waits until others leave the machine alone, but not for ever, and
// returns the part of it that they use.
func (b *bench) quiet(ctx context.Context) (busy float64, err error) {
	for end := time.Now().Add(b.patience); ; {
		if busy, err = others(ctx, 2*time.Second); err != nil || busy < 0.05 || time.Now().After(end) {
			return busy, err
		}
		b.say("others use %.0f %% of the machine; waiting", busy*100)
	}
}

// lull waits for a moment in which nobody else is busy, a quarter of b.patience at most.
func (b *bench) lull(ctx context.Context) error {
	for end := time.Now().Add(b.patience / 4); ; {
		if busy, err := others(ctx, 50*time.Millisecond); err != nil || busy < 0.2 || time.Now().After(end) {
			return err
		}
	}
}

// others is how busy the machine is while we do nothing.
func others(ctx context.Context, look time.Duration) (float64, error) {
	begin, err := readTimes()
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, look); err != nil {
		return 0, err
	}
	end, err := readTimes()
	return 1 - end.since(begin).idle, err
}

// undisturbed measures, and measures again while a hypervisor took the
// processors away for more than 1 % of the time, for then its ways are what
// was measured: three times at most.
func (b *bench) undisturbed(measure func() error) error {
	for try := 1; ; try++ {
		begin, err := readTimes()
		if err != nil {
			return err
		}
		if err := measure(); err != nil {
			return err
		}
		end, err := readTimes()
		if err != nil {
			return err
		}
		stolen := end.since(begin).stolen
		if stolen < 0.01 || try == 3 || b.short {
			return nil
		}
		b.say("  the hypervisor took %.1f %% of the processors; once more", 100*stolen)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// times are the processors' since the start, or parts of 1 of a while.
type times struct{ idle, stolen, total float64 }

func (t times) since(begin times) times {
	total := max(t.total-begin.total, 1)
	return times{(t.idle - begin.idle) / total, (t.stolen - begin.stolen) / total, 1}
}

// readTimes reads the first line of /proc/stat (proc(5)).
func readTimes() (t times, err error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return t, err
	}
	defer f.Close()
	var cpu string
	var n [8]float64 // user nice system idle iowait irq softirq steal
	if _, err := fmt.Fscan(f, &cpu, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]); err != nil {
		return t, err
	}
	for _, v := range n {
		t.total += v
	}
	t.idle, t.stolen = n[3]+n[4], n[7]
	return t, nil
}
