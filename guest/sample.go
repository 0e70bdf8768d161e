package guest

import (
	"context"
	"log/slog"
	"time"

	"sluice"
)

// Sample calls keep with what passed in every interval, until ctx ends. The
// first reading makes no sample: there is nothing yet to compare it with.
func Sample(ctx context.Context, r *Reader, interval time.Duration, log *slog.Logger, keep func(sluice.Sample)) {
	s := sampler{read: r.read, log: log}
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if sample, ok := s.sample(); ok {
			keep(sample)
		}
		// Late samples do not make the next ones late, nor too short.
		now := time.Now()
		next = next.Add(interval)
		if next.Before(now.Add(interval / 2)) {
			next = now.Add(interval)
		}
		timer.Reset(next.Sub(now))
	}
}

// sampler makes samples of readings.
type sampler struct {
	read    func() (reading, error)
	log     *slog.Logger
	last    reading
	failing bool
}

// sample reads once. After a reading that failed the next sample is longer,
// and nothing is lost.
func (s *sampler) sample() (sluice.Sample, bool) {
	now, err := s.read()
	if err != nil {
		if !s.failing {
			s.log.Error("no sample", "error", err)
		}
		s.failing = true
		return sluice.Sample{}, false
	}
	s.failing = false
	if s.last.wall.IsZero() {
		s.last = now
		return sluice.Sample{}, false
	}
	sample, ok := difference(s.last, now)
	if ok || now.at-s.last.at > maxSpan {
		s.last = now
	}
	return sample, ok
}
