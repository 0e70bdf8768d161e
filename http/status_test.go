package http

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"sluice"
)

// TestStatusesAreOneToOne: a client can tell the code from the status alone.
func TestStatusesAreOneToOne(t *testing.T) {
	seen := map[int]sluice.Code{}
	for code, status := range statuses {
		if other, twice := seen[status]; twice {
			t.Errorf("%d is both %s and %s", status, code, other)
		}
		seen[status] = code
	}
	for _, code := range []sluice.Code{sluice.Invalid, sluice.NotFound, sluice.Refused, sluice.Unknown, sluice.Forbidden, sluice.Conflict, sluice.NotApplied, sluice.Unsupported, sluice.Unavailable, sluice.Internal} {
		if statuses[code] == 0 {
			t.Errorf("%s has no status", code)
		}
	}
}

func TestFail(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fmt.Errorf("set: %w", &sluice.Error{Code: sluice.Conflict, Message: "changed meanwhile", Unchanged: "web keeps 1mbit", Try: "again", Err: errors.New("revision 8")}),
			409, `{"code":"conflict","message":"changed meanwhile: revision 8","unchanged":"web keeps 1mbit","try":"again"}` + "\n"},
		{errors.New("disk on fire"), 500, `{"code":"internal","message":"disk on fire","try":"see the daemon's log"}` + "\n"},
		{&sluice.Error{Code: "new", Message: "x"}, 500, `{"code":"internal","message":"x"}` + "\n"},
	} {
		w := httptest.NewRecorder()
		fail(w, c.err)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
	}
}
