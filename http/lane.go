package http

import (
	"context"
	"sync"
	"time"

	"sluice"
)

const (
	cachedFor  = 5 * time.Second // what the doctor found
	scrapedFor = time.Second     // metrics
	mostRest   = time.Second
)

// lane has answers that anybody may ask for made one at a time, and rests as
// long as each took: asking in a loop takes half of a processor, not all.
type lane struct {
	once sync.Once
	turn chan struct{} // holds one while an answer is made
}

// enter waits for its turn; the caller calls done when the answer is made.
func (l *lane) enter(ctx context.Context) (done func(), err error) {
	l.once.Do(func() { l.turn = make(chan struct{}, 1) })
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, busy(ctx)
	}
	began := time.Now()
	return func() { time.AfterFunc(min(time.Since(began), mostRest), func() { <-l.turn }) }, nil
}

// begin waits until the client has no more answers at hand than it may;
// whoever takes them slowly waits for itself.
func (c *client) begin(ctx context.Context) (done func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	select {
	case c.answers <- struct{}{}:
		return func() { <-c.answers }, nil
	case <-ctx.Done():
		return func() {}, busy(ctx)
	}
}

func busy(ctx context.Context) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "too much is asked for at once", Unchanged: "nothing was changed",
		Try: "again later, or as root on the Unix socket", Err: ctx.Err()}
}

// recent keeps a value that is expensive to make, and has it made once at a time.
type recent[T any] struct {
	once  sync.Once
	turn  chan struct{} // holds one while the value is looked at or made
	at    time.Time
	value T
}

// get returns the value, made at most age ago. It is made to its end also
// when whoever asked has gone: others wait for it.
func (r *recent[T]) get(ctx context.Context, age time.Duration, remake func(context.Context) T) (T, error) {
	asked := time.Now()
	r.once.Do(func() { r.turn = make(chan struct{}, 1) })
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		var none T
		return none, busy(ctx)
	}
	// What was begun after the question is new enough for anybody.
	if !r.at.IsZero() && (r.at.After(asked) || time.Since(r.at) < age) {
		return r.value, nil
	}
	made, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	r.at = time.Now()
	r.value = remake(made)
	return r.value, nil
}
