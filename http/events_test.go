package http

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice"
)

// TestEvents: a watcher gets the current data set at once, then what comes.
func TestEvents(t *testing.T) {
	needRoot(t)
	d, c := unixDoor(t)
	h := newHost()
	serve(t, h, d)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	datasets, changes := make(chan sluice.DataSet, 10), make(chan sluice.Change, 10)
	ended := make(chan error)
	go func() {
		ended <- c.Watch(ctx, func(d sluice.DataSet) { datasets <- d }, func(c sluice.Change) { changes <- c })
	}()
	if d := <-datasets; len(d.VIFs) != 1 || d.VIFs[0].VM != "web" {
		t.Errorf("first data set: %+v", d)
	}
	h.changes <- sluice.Change{ID: 5, Result: sluice.Pending}
	if c := <-changes; c.ID != 5 {
		t.Errorf("change: %+v", c)
	}
	h.datasets <- sluice.DataSet{Interval: 42}
	if d := <-datasets; d.Interval != 42 {
		t.Errorf("second data set: %+v", d)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error("Watch:", err)
	}
}

// TestEventsResume: who comes back with Last-Event-ID gets the changes missed.
func TestEventsResume(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	ids := map[uint64]string{}
	for id := range uint64(3) {
		h.changes <- sluice.Change{ID: id + 1}
	}
	for id, text := range read(t, d, "0", 4) {
		ids[id] = text
	}
	var first string
	for id, text := range ids {
		if strings.Contains(text, `"id":1,`) {
			first = fmt.Sprint(id)
		}
	}
	missed := read(t, d, first, 3)
	for _, text := range missed {
		if strings.Contains(text, `"id":1,`) {
			t.Error("change 1 came twice")
		}
	}
	if len(missed) != 3 { // changes 2 and 3, and the data set
		t.Errorf("got %v", missed)
	}
}

// read returns the first n events of a new stream by id.
func read(t *testing.T, d *Door, lastID string, n int) map[uint64]string {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", d.URL()+"v1/events", nil)
	req.Header.Set("Last-Event-ID", lastID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := map[uint64]string{}
	var id uint64
	for lines := bufio.NewScanner(resp.Body); len(events) < n && lines.Scan(); {
		fmt.Sscanf(lines.Text(), "id: %d", &id)
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			events[id] = data
		}
	}
	return events
}

// TestSlowWatcher: one who reads nothing holds up nobody and nothing, and
// there is an end to how many may watch.
func TestSlowWatcher(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	for range mostStreams {
		c, err := net.Dial("tcp", d.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, "GET /v1/events HTTP/1.1\r\nHost: %s\r\n\r\n", d.Addr())
		if _, err := c.Read(make([]byte, 1)); err != nil { // it has entered
			t.Fatal(err)
		}
	}
	resp, err := http.Get(d.URL() + "v1/events")
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %v, %v", resp.Status, err)
	}
	big := sluice.DataSet{VIFs: make([]sluice.VIFStatus, 1000)}
	deadline := time.After(20 * time.Second)
	for i := range 4 * backlog {
		select {
		case h.datasets <- big:
		case <-deadline:
			t.Fatal("a slow watcher holds up the data sets")
		}
		if i%2 == 0 {
			select {
			case h.changes <- sluice.Change{Error: strings.Repeat("x", 4000)}:
			case <-deadline:
				t.Fatal("a slow watcher holds up the changes")
			}
		}
	}
	// Those who fell behind were let go, so there is room again.
	if got := read(t, d, "", 1); len(got) != 1 {
		t.Errorf("no room after the slow ones went: %v", got)
	}
}
