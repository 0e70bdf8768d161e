package http

import (
	"fmt"
	"maps"
	"slices"

	"sluice"
)

// room refuses one more stream than a door or a client may have. Where the
// door has all it may, the client that has most gives way to one with fewer.
// The caller holds mu.
func (e *events) room(p pass) error {
	if p.trusted() {
		return nil
	}
	streams, held := 0, map[*client]int{}
	for w := range e.watchers {
		if w.door == p.door && !(w.door.unix && w.client.root) {
			streams++
			held[w.client]++
		}
	}
	full := func(n int) error {
		return &sluice.Error{Code: sluice.Unavailable, Message: fmt.Sprintf("%d are watching already", n), Try: "close a page, then again"}
	}
	if n := held[p.client]; n >= mostClientStreams && !p.client.root {
		return full(n)
	}
	if streams < mostStreams {
		return nil
	}
	largest := slices.Max(slices.Collect(maps.Values(held)))
	for w := range e.watchers {
		if w.door == p.door && held[w.client] == largest && largest > held[p.client]+1 {
			close(w.behind)
			delete(e.watchers, w)
			return nil
		}
	}
	return full(streams)
}
