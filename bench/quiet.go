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
	idle, total, err := jiffies()
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, look); err != nil {
		return 0, err
	}
	idle2, total2, err := jiffies()
	return 1 - float64(idle2-idle)/float64(max(total2-total, 1)), err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// jiffies are the first line of /proc/stat (proc(5)).
func jiffies() (idle, total int, err error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var cpu string
	var n [8]int // user nice system idle iowait irq softirq steal
	if _, err := fmt.Fscan(f, &cpu, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]); err != nil {
		return 0, 0, err
	}
	for _, v := range n {
		total += v
	}
	return n[3] + n[4], total, nil
}
