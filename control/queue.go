package control

import (
	"log/slog"
	"sync"
	"time"
)

const (
	workers    = 16 // vifs that are worked on at once
	firstRetry = 250 * time.Millisecond
	lastRetry  = time.Minute
)

// job is one thing to bring in order: the vif or group with a key, all of
// them, or the vif whose lease has ended, or what profiles say. Exactly one is set.
type job struct {
	key   string
	all   bool
	lease string

	profiles bool // all that have a profile are brought in line with it
}

// queue does jobs, each never twice at once, different ones concurrently, and
// those that fail again later. Waking a job that is just being done has it
// done once more: nothing is overlooked and nothing piles up.
type queue struct {
	do    func(job) error
	log   *slog.Logger
	slots chan struct{}
	work  sync.WaitGroup
	over  chan struct{} // closed when no job may begin any more

	mu       sync.Mutex
	again    map[job]bool // the jobs at hand; true if woken meanwhile
	failures map[job]int  // how often in a row
}

func newQueue(log *slog.Logger, do func(job) error) *queue {
	return &queue{do: do, log: log, slots: make(chan struct{}, workers), over: make(chan struct{}),
		again: make(map[job]bool), failures: make(map[job]int)}
}

// wake has the job done, soon.
func (q *queue) wake(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, busy := q.again[j]; busy {
		q.again[j] = true
		return
	}
	select {
	case <-q.over:
	default:
		q.again[j] = false
		q.work.Go(func() { q.run(j) })
	}
}

// nudge wakes the job unless it waits for its next attempt.
func (q *queue) nudge(j job) {
	q.mu.Lock()
	failing := q.failures[j] > 0
	q.mu.Unlock()
	if !failing {
		q.wake(j)
	}
}

func (q *queue) run(j job) {
	for {
		var err error
		select {
		case <-q.over:
			return
		case q.slots <- struct{}{}:
			err = q.do(j)
			<-q.slots
		}
		if !q.more(j, err) {
			return
		}
	}
}

// more notes how the job went and says whether it is to be done at once again.
func (q *queue) more(j job, err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		delete(q.failures, j)
	} else {
		pause := min(firstRetry<<min(q.failures[j], 16), lastRetry)
		q.failures[j]++
		q.log.Warn("reconcile failed, retrying", "vif", j.key+j.lease, "error", err, "again_in", pause)
		time.AfterFunc(pause, func() { q.wake(j) })
	}
	if q.again[j] {
		q.again[j] = false
		return true
	}
	delete(q.again, j)
	return false
}

// stop lets no job begin any more and waits for those at hand, but not for
// ever: what a driver leaves hanging is finished at the next start.
func (q *queue) stop(grace time.Duration) {
	q.mu.Lock()
	close(q.over)
	q.mu.Unlock()
	done := make(chan struct{})
	go func() {
		q.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(grace):
		q.log.Warn("a driver still hangs; its change will be finished at the next start")
	}
}
