package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// page is what 1,000 vifs cost the browser that watches them.
func page(ctx context.Context, b *bench) (Result, error) {
	vifs, rest, sets := 1000, 10, 3600
	if b.short {
		vifs, rest, sets = 100, 3, 0
	}
	r := Result{
		Detail: Table{Head: []string{"", "first paint, ms", "frames a second while scrolling", "main thread at rest, % of a core"}},
		Chart:  Chart{Title: fmt.Sprintf("The page with %d vifs", vifs), Unit: "% of the bar", Bars: []float64{100}, Groups: []string{"first paint", "main thread"}},
		Note: fmt.Sprintf("Chromium without a graphics card, 1366 x 768, on the same processors as the daemon. First paint: the median of five browsers without a past. "+
			"Main thread: TaskDuration over %d s. Memory: what is in use after a collection, with ten data sets a second, when the charts' two minutes are full and %d data sets (an hour's) later.", rest, sets),
	}
	if _, err := os.Stat("web/node_modules/playwright-core"); err != nil {
		return r, fmt.Errorf("%w: make deps page makes it", err)
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
	if err := s.shapeAll(ctx); err != nil {
		return r, err
	}
	if err := wait(ctx, 30*time.Second); err != nil { // a bridge speaks of every new port until it forwards
		return r, err
	}
	at, err := s.look(ctx, rest, 0)
	if err != nil {
		return r, err
	}
	heap := "not looked at"
	flat := true
	if sets > 0 {
		s.end()
		s.more = []string{"--interval", "100ms"}
		if err := s.serve(ctx, b); err != nil {
			return r, err
		}
		long, err := s.look(ctx, rest, sets)
		if err != nil {
			return r, err
		}
		first, last := long.Heap[0], long.Heap[len(long.Heap)-1]
		heap, flat = fmt.Sprintf("%.0f MB, and %.0f MB an hour's data sets later", first, last), last < first*1.1
	}
	paint, emptyPaint := median(at.Paint), median(at.EmptyPaint)
	r.Detail.Rows = [][]string{
		{"the page", fmt.Sprintf("%.0f", paint), fmt.Sprintf("%.1f", at.Frames), fmt.Sprintf("%.1f", at.Busy)},
		{"an empty page as high", fmt.Sprintf("%.0f", emptyPaint), fmt.Sprintf("%.1f", at.EmptyFrames), fmt.Sprintf("%.1f", at.EmptyBusy)},
	}
	r.Chart.Series = []Series{{"the page", []float64{paint / 5, at.Busy * 10}}, {"an empty page", []float64{emptyPaint / 5, at.EmptyBusy * 10}}}
	r.Rows = []Row{{
		Figure: fmt.Sprintf("the page with %d vifs in Chromium: frames a second while scrolling, main thread when nobody touches it, first paint, memory", at.Rows),
		Sluice: fmt.Sprintf("%.0f, %.1f %% of a core, %.0f ms, %s", at.Frames, at.Busy, paint, heap),
		Bar:    "≥ 50, ≤ 10 %, ≤ 500 ms, flat",
		Met:    at.Frames >= 50 && at.Busy <= 10 && paint <= 500 && flat,
		Beside: fmt.Sprintf("an empty page as high: %.0f, %.1f %%, %.0f ms", at.EmptyFrames, at.EmptyBusy, emptyPaint),
	}}
	return r, nil
}

// looked is what a browser saw.
type looked struct {
	Paint, EmptyPaint, Heap []float64
	Frames, EmptyFrames     float64
	Busy, EmptyBusy         float64
	Rows                    int
}

// look has a browser on the host look at the page.
func (s *site) look(ctx context.Context, rest, sets int) (l looked, err error) {
	var out []byte
	failed := s.host.do(func() error {
		cmd := exec.CommandContext(ctx, "node", "bench/page.mjs", "http://127.0.0.1:8511/", fmt.Sprint(rest), fmt.Sprint(sets))
		cmd.Stderr = os.Stderr
		out, err = cmd.Output()
		return err
	})
	if failed != nil {
		return l, fmt.Errorf("the browser: %w", failed)
	}
	if err := json.Unmarshal(out, &l); err != nil {
		return l, fmt.Errorf("the browser says %.200q: %w", out, err)
	}
	return l, nil
}
