package http

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"sluice"
	"sluice/control"
)

// host is a small host in memory: it keeps what was asked of it and lets a
// test send news. The real one is behind the command line's tests.
type host struct {
	mu       sync.Mutex
	asked    []control.Request
	changes  chan sluice.Change
	datasets chan sluice.DataSet
	profiles []control.ProfilePatch
	err      error
}

func newHost() *host {
	return &host{changes: make(chan sluice.Change), datasets: make(chan sluice.DataSet)}
}

var web = sluice.VIFStatus{
	VIF:    sluice.VIF{VM: "web", UUID: "4c4c4544-0042-3010-8044-b4c04f4d3132", Index: 0, MAC: "52:54:00:00:00:01", Device: "tap0"},
	Source: sluice.SourceHost, State: sluice.Connected, Revision: 7,
	Tx: sluice.DirectionStatus{Usage: 12_345_678, Demand: 12_345_678, Limit: 100 * sluice.Mbit, Weight: 100},
	Rx: sluice.DirectionStatus{Limit: sluice.Unlimited, Weight: 100},
}

func (h *host) Set(_ context.Context, r control.Request) (sluice.Change, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, r)
	if h.err != nil {
		return sluice.Change{}, h.err
	}
	return sluice.Change{ID: 1, VM: r.VM, VIF: r.VIF, By: r.By, From: sluice.UnshapedBoth, To: sluice.UnshapedBoth, Result: sluice.Done, Verified: true}, nil
}

func (h *host) SetAll(ctx context.Context, all []control.Request) (changes []sluice.Change, _ error) {
	for _, r := range all {
		c, err := h.Set(ctx, r)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

func (h *host) Groups(context.Context) ([]sluice.GroupStatus, error) {
	return []sluice.GroupStatus{{Name: "gold", Parent: sluice.HostGroup}, {Name: "inner", Parent: "gold"}}, nil
}

func (h *host) Profiles(context.Context) (sluice.Profiles, error) { return sluice.Profiles{}, h.err }

func (h *host) SetProfiles(_ context.Context, p control.ProfilePatch) (sluice.Profiles, []sluice.Change, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.profiles = append(h.profiles, p)
	return sluice.Profiles{Revision: 7}, nil, h.err
}

func (h *host) VM(_ context.Context, vm string) ([]sluice.VIF, error) {
	if vm == web.VM || vm == web.UUID && vm != "" {
		return []sluice.VIF{web.VIF}, h.err
	}
	return nil, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no VM %q", vm)}
}

func (h *host) Absent(context.Context) ([]sluice.VIFStatus, error) {
	return []sluice.VIFStatus{{VIF: sluice.VIF{ID: "gone/0", VM: "gone"}, Absent: true}}, h.err
}

func (h *host) Forget(_ context.Context, vm string, vif *int, by string) ([]sluice.Change, error) {
	c := sluice.Change{ID: 1, VM: vm, By: by}
	if vif != nil {
		c.VIF = *vif
	}
	return []sluice.Change{c}, h.err
}

func (h *host) Link(context.Context) (sluice.Link, error) {
	return sluice.Link{Capacity: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Unlimited}, Reserve: 25}, h.err
}

func (h *host) SetLink(_ context.Context, p control.LinkPatch) (sluice.Link, error) {
	link := sluice.Link{Capacity: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Unlimited}, Reserve: 25}
	if p.Tx != nil {
		link.Capacity.Tx = *p.Tx
	}
	if p.Rx != nil {
		link.Capacity.Rx = *p.Rx
	}
	return link, h.err
}

func (h *host) Confirm(_ context.Context, id uint64, by string) (sluice.Change, error) {
	return sluice.Change{ID: id, ConfirmedBy: by, Result: sluice.Done}, h.err
}

func (h *host) Undo(_ context.Context, id uint64, by string) (sluice.Change, error) {
	return sluice.Change{ID: id + 1, Undoes: id, By: by, Result: sluice.Done}, h.err
}

func (h *host) Change(_ context.Context, id uint64) (sluice.Change, error) {
	if id != 1 {
		return sluice.Change{}, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no change %d", id)}
	}
	return sluice.Change{ID: id}, nil
}

func (h *host) Changes(_ context.Context, limit int) ([]sluice.Change, error) {
	return make([]sluice.Change, min(limit, 3)), nil
}

func (h *host) last(t *testing.T) control.Request {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.asked) == 0 {
		t.Fatal("nothing was asked for")
	}
	return h.asked[len(h.asked)-1]
}

func (h *host) Watch(context.Context) <-chan sluice.Change { return h.changes }

// usage is the host's Monitor; apart, because its Watch has another type.
type usage struct{ *host }

func (u usage) DataSet() sluice.DataSet {
	return sluice.DataSet{At: time.Unix(1, 0).UTC(), Interval: time.Second, VIFs: []sluice.VIFStatus{web}}
}
func (u usage) Watch(context.Context) <-chan sluice.DataSet { return u.datasets }
func (u usage) Recent(seconds int) sluice.Recent            { return sluice.Recent{At: make([]int64, seconds)} }

func (h *host) Check(context.Context) []sluice.Finding {
	return []sluice.Finding{{Name: "htb", OK: true, Detail: "sch_htb is there"}}
}

const testToken = "LET-ME-IN"

// serve starts the API at the doors and ends it with the test.
func serve(t *testing.T, h *host, doors ...*Door) *Server {
	t.Helper()
	s := &Server{Control: h, Monitor: usage{h}, Doctor: h, Token: testToken, Log: slog.New(slog.DiscardHandler),
		Page: fstest.MapFS{"index.html": {Data: []byte("<!doctype html>")}, "assets/app-1a2b.js": {Data: []byte("1")}}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, doors...) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error("Serve:", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve does not end")
		}
	})
	return s
}

func unixDoor(t *testing.T) (*Door, *Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "sluice.sock")
	d, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	return d, NewClient(path)
}

func tcpDoor(t *testing.T) *Door {
	t.Helper()
	d, err := ListenTCP("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func port(d *Door) int { return d.Addr().(*net.TCPAddr).Port }
