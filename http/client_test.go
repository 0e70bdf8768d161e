package http

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

func ptr[T any](v T) *T { return &v }

// TestClient goes through every call over the Unix socket, as root.
func TestClient(t *testing.T) {
	needRoot(t)
	d, c := unixDoor(t)
	h := newHost()
	serve(t, h, d)
	ctx := t.Context()

	vifs, err := c.VIFs(ctx)
	if err != nil || len(vifs) != 1 || !reflect.DeepEqual(vifs[0], web) {
		t.Errorf("VIFs: %+v, %v", vifs, err)
	}
	for _, name := range []string{web.VM, web.UUID} {
		if vifs, err := c.VM(ctx, name); err != nil || len(vifs) != 1 {
			t.Errorf("VM(%s): %+v, %v", name, vifs, err)
		}
	}
	if _, err := c.VM(ctx, "nobody/../x"); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("unknown VM: %v", err)
	}

	done, err := c.Set(ctx, ChangeRequest{VM: "web", VIF: 2, Tx: &control.Patch{Limit: ptr(sluice.Unlimited)},
		Rx: &control.Patch{Limit: ptr(3 * sluice.Mbit), Weight: ptr(7)}, Revision: ptr(uint64(0)), DryRun: true})
	if err != nil || done.By != "root" || done.To != sluice.UnshapedBoth {
		t.Errorf("Set: %+v, %v", done, err)
	}
	want := control.Request{VM: "web", VIF: 2, By: "root", Tx: &control.Patch{Limit: ptr(sluice.Unlimited)},
		Rx: &control.Patch{Limit: ptr(3 * sluice.Mbit), Weight: ptr(7)}, Revision: ptr(uint64(0)), DryRun: true}
	if got := h.last(t); !reflect.DeepEqual(got, want) {
		t.Errorf("asked for %+v, want %+v", got, want)
	}
	h.err = &sluice.Error{Code: sluice.Refused, Message: "no", Unchanged: "all", Try: "less"}
	_, err = c.Set(ctx, ChangeRequest{VM: "web"})
	var told *sluice.Error
	if !errors.As(err, &told) || !reflect.DeepEqual(told, h.err) {
		t.Errorf("Set refused: %#v, want %#v", err, h.err)
	}
	h.err = nil

	if kept, err := c.Confirm(ctx, 7); err != nil || kept.ID != 7 || kept.ConfirmedBy != "root" {
		t.Errorf("Confirm: %+v, %v", kept, err)
	}
	if link, err := c.Link(ctx); err != nil || link.Reserve != 25 || link.Capacity.Rx != sluice.Unlimited {
		t.Errorf("Link: %+v, %v", link, err)
	}
	tx := sluice.Mbit
	if link, err := c.PatchCapacity(ctx, &tx, nil); err != nil || link.Capacity.Tx != sluice.Mbit || link.Capacity.Rx != sluice.Unlimited {
		t.Errorf("PatchCapacity: %+v, %v", link, err)
	}
	if link, err := c.SetCapacity(ctx, sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Mbit}); err != nil || link.Capacity.Tx != sluice.Unlimited || link.Capacity.Rx != sluice.Mbit {
		t.Errorf("SetCapacity: %+v, %v", link, err)
	}
	if undone, err := c.Undo(ctx, 7); err != nil || undone.Undoes != 7 || undone.By != "root" {
		t.Errorf("Undo: %+v, %v", undone, err)
	}
	if all, err := c.Changes(ctx, 2); err != nil || len(all) != 2 {
		t.Errorf("Changes: %v, %v", all, err)
	}
	if _, err := c.Changes(ctx, 0); sluice.CodeOf(err) != sluice.Invalid {
		t.Errorf("Changes(0): %v", err)
	}
	if one, err := c.Change(ctx, 1); err != nil || one.ID != 1 {
		t.Errorf("Change: %v, %v", one, err)
	}
	if _, err := c.Change(ctx, 9); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("Change(9): %v", err)
	}
	if r, err := c.Recent(ctx, 5); err != nil || len(r.At) != 5 {
		t.Errorf("Recent: %v, %v", r, err)
	}
	if f, err := c.Doctor(ctx); err != nil || len(f) != 1 || !f[0].OK {
		t.Errorf("Doctor: %v, %v", f, err)
	}
}

// TestClientAlone: no daemon, one that hangs up, and one that is none of ours.
func TestClientAlone(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if _, err := NewClient(filepath.Join(t.TempDir(), "none")).VIFs(ctx); sluice.CodeOf(err) != sluice.Unavailable {
		t.Error("no daemon:", err)
	}
	for name, answer := range map[string]string{"silence": "", "stranger": "SSH-2.0-OpenSSH\r\n",
		"wrong status": "HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\n\r\n{}", "no json": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				b := make([]byte, 4096)
				c.Read(b)
				c.Write([]byte(answer))
				c.Close()
			}
		}()
		if _, err := NewClient(path).Set(ctx, ChangeRequest{}); sluice.CodeOf(err) != sluice.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		l.Close()
		if _, err := NewClient(path).Changes(ctx, 1); sluice.CodeOf(err) != sluice.Unavailable {
			t.Errorf("%s, gone: %v", name, err)
		}
	}
}
