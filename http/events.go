package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sluice"
)

const (
	backlog   = 256              // changes' steps kept for those who come back
	heartbeat = 15 * time.Second // a comment, so that both ends notice a dead line
	writeTime = 10 * time.Second // for one event to be taken
	retryMS   = 2000             // after which a browser connects again
)

// events hands the daemon's news to everyone who watches. A watcher that
// does not keep up skips data sets, and is let go when it falls behind with
// changes: it comes back with Last-Event-ID and gets what it missed.
type events struct {
	control Control
	monitor Monitor
	lane    *lane // in which the first data set of a stream is made
	ended   chan struct{}

	mu       sync.Mutex // guards what follows; never held while writing to anyone
	watchers map[*watcher]bool
	last     uint64
	past     []event // the last steps of changes, oldest first
}

type event struct {
	id   uint64
	text []byte // as it goes over the wire
}

type watcher struct {
	door    *Door
	client  *client
	dataset chan []byte   // the newest only
	changes chan []byte   // all
	behind  chan struct{} // closed when changes overflowed
}

func newEvents(c Control, m Monitor) *events {
	// Numbers go on growing over a restart, so that an old Last-Event-ID never hides news.
	return &events{control: c, monitor: m, ended: make(chan struct{}), watchers: map[*watcher]bool{}, last: uint64(time.Now().UnixMicro())}
}

// run takes the news to the watchers until ctx ends, and then ends their streams.
func (e *events) run(ctx context.Context, meters *meters) {
	defer close(e.ended)
	datasets, changes := e.monitor.Watch(ctx), e.control.Watch(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case d, ok := <-datasets:
			if !ok {
				datasets = nil
				continue
			}
			e.tellDataSet(d)
		case c, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			meters.observe(c)
			e.tellChange(c)
		}
	}
}

func (e *events) tellDataSet(d sluice.DataSet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.watchers) == 0 {
		return
	}
	text := e.next("dataset", d).text
	for w := range e.watchers {
		select {
		case <-w.dataset: // not yet taken: the newer one replaces it
		default:
		}
		w.dataset <- text
	}
}

func (e *events) tellChange(c sluice.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ev := e.next("change", c)
	if len(e.past) == backlog {
		e.past = append(e.past[:0], e.past[1:]...)
	}
	e.past = append(e.past, ev)
	for w := range e.watchers {
		select {
		case w.changes <- ev.text:
		default:
			close(w.behind)
			delete(e.watchers, w)
		}
	}
}

// next numbers and spells an event. The caller holds mu.
func (e *events) next(name string, v any) event {
	e.last++
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte("null") // none of our types can fail
	}
	return event{e.last, fmt.Appendf(nil, "event: %s\nid: %d\ndata: %s\n\n", name, e.last, data)}
}

// enter adds a watcher, with the changes after the one it saw last.
func (e *events) enter(p pass, lastSeen string) (*watcher, []byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.room(p); err != nil {
		return nil, nil, err
	}
	w := &watcher{p.door, p.client, make(chan []byte, 1), make(chan []byte, backlog), make(chan struct{})}
	e.watchers[w] = true
	var missed bytes.Buffer
	fmt.Fprintf(&missed, "retry: %d\n\n", retryMS)
	if seen, err := strconv.ParseUint(lastSeen, 10, 64); err == nil {
		for _, ev := range e.past {
			if ev.id > seen {
				missed.Write(ev.text)
			}
		}
	}
	missed.Write(e.next("dataset", e.monitor.DataSet()).text)
	return w, missed.Bytes(), nil
}

func (e *events) leave(w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.watchers, w)
}

// ServeHTTP streams the events until the client or the daemon goes.
func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, _ := r.Context().Value(passKey{}).(pass)
	var me *watcher
	var text []byte
	done, err := func() {}, error(nil)
	if !p.trusted() {
		done, err = e.lane.enter(r.Context())
	}
	if err == nil {
		me, text, err = e.enter(p, r.Header.Get("Last-Event-ID"))
		done()
	}
	if err != nil {
		w.Header().Set("Retry-After", "5")
		fail(w, err)
		return
	}
	defer e.leave(me)
	line := http.NewResponseController(w)
	_ = line.SetReadDeadline(time.Time{}) // the request is over; the stream is not
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		_ = line.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := w.Write(text); err != nil || line.Flush() != nil {
			return
		}
		select {
		case text = <-me.changes:
		case text = <-me.dataset:
		case <-beat.C:
			text = []byte(": still here\n\n")
		case <-me.behind:
			return
		case <-e.ended:
			return
		case <-r.Context().Done():
			return
		}
	}
}
