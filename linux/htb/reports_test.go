package htb

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice"
)

// TestReportsAreFew: of a key that is disturbed again and again a minute has
// ten reports and then one with the number; another key's are told at once.
func TestReportsAreFew(t *testing.T) {
	var told []sluice.Repair
	r := newReports(func(one sluice.Repair) { told = append(told, one) }, tellMost, slog.New(slog.DiscardHandler))
	begin := time.Now()
	for i := range 100 {
		r.take(sluice.Repair{Key: "web/0", Text: "restored", Enforced: i%2 == 0}, begin.Add(time.Duration(i)*time.Second/2))
	}
	r.take(sluice.Repair{Key: "db/0", Text: "restored"}, begin.Add(50*time.Second))
	r.flush(begin.Add(59 * time.Second))
	if len(told) != tellMost+1 || told[tellMost].Key != "db/0" {
		t.Errorf("%d reports, the last %+v", len(told), told[len(told)-1])
	}
	r.flush(begin.Add(61 * time.Second))
	if last := told[len(told)-1]; len(told) != tellMost+2 || last.Key != "web/0" || last.Enforced || !strings.Contains(last.Text, "the last of 90 times in 1m1s") {
		t.Errorf("%d reports, the last %+v", len(told), last)
	}
	r.flush(begin.Add(130 * time.Second))
	if len(told) != tellMost+2 || len(r.of) != 0 {
		t.Errorf("%d reports, %d keys remembered", len(told), len(r.of))
	}
}

// TestRepairsDoNotWait: where nobody takes the reports, as while a journal's
// disk stalls, the kernel is repaired all the same.
func TestRepairsDoNotWait(t *testing.T) {
	b := newBench(t)
	b.apply(20*mbit, 60*mbit)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	defer func() { cancel(); <-ended }()
	go func() {
		defer close(ended)
		_ = b.htb.Run(ctx, func(sluice.Repair) { <-ctx.Done() })
	}()
	w := &watch{bench: b}
	for range 3 {
		b.run("tc", "qdisc", "del", "dev", "vif0", "clsact")
		begin := time.Now()
		for time.Since(begin) < time.Second && w.astray() != "" {
			time.Sleep(10 * time.Millisecond)
		}
		if left := w.astray(); left != "" {
			t.Fatal(left)
		}
	}
}
