package sluice_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"sluice"
)

func TestVIFKey(t *testing.T) {
	for want, v := range map[string]sluice.VIF{
		"web/0":                    {VM: "web", Device: "tap3"},
		"web/1":                    {VM: "web", Index: 1},
		"web/52:54:00:00:00:01":    {VM: "web", MAC: "52:54:00:00:00:01"},
		"0b5e-1/2":                 {VM: "web", UUID: "0b5e-1", Index: 2},
		"0b5e-1/52:54:00:00:00:01": {VM: "web", UUID: "0b5e-1", Index: 2, MAC: "52:54:00:00:00:01", Device: "vif1.2"},
	} {
		if got := v.Key(); got != want {
			t.Errorf("%+v has the key %q; want %q", v, got, want)
		}
	}
}

func TestState(t *testing.T) {
	for _, s := range []sluice.State{sluice.Connected, sluice.Reconfiguring} {
		b, err := json.Marshal(s)
		if err != nil || string(b) != `"`+s.String()+`"` {
			t.Errorf("%d is written %s, %v", s, b, err)
		}
		for _, spelt := range []string{s.String(), fmt.Sprint(int(s))} {
			var back sluice.State
			if err := back.UnmarshalText([]byte(spelt)); err != nil || back != s {
				t.Errorf("%s is read as %v, %v", spelt, back, err)
			}
		}
	}
	for _, bad := range []string{"", "connected", "5", "04", "Closed"} {
		s := sluice.Connected
		if err := s.UnmarshalText([]byte(bad)); sluice.CodeOf(err) != sluice.Invalid || s != sluice.Connected {
			t.Errorf("%q is read as %v, %v", bad, s, err)
		}
	}
}

func TestError(t *testing.T) {
	cause := fs.ErrNotExist
	err := &sluice.Error{Code: sluice.NotFound, Message: "no web", Unchanged: "nothing was changed", Try: "sluice list", Err: cause}
	if got, want := err.Error(), "no web: file does not exist; nothing was changed (try: sluice list)"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	wrapped := fmt.Errorf("asking: %w", err)
	if sluice.CodeOf(wrapped) != sluice.NotFound || !errors.Is(wrapped, cause) {
		t.Errorf("%v has code %s", wrapped, sluice.CodeOf(wrapped))
	}
	if sluice.CodeOf(nil) != "" || sluice.CodeOf(cause) != sluice.Internal {
		t.Errorf("code of nil is %q, of a stranger %q", sluice.CodeOf(nil), sluice.CodeOf(cause))
	}
}

// The command line's exit statuses are promised to scripts.
func TestExitStatus(t *testing.T) {
	for code, want := range map[sluice.Code]int{
		sluice.Invalid: 2, sluice.NotFound: 3, sluice.Refused: 4, sluice.Unknown: 4, sluice.Forbidden: 4, sluice.Conflict: 4, sluice.NotApplied: 5,
		sluice.Unsupported: 5, sluice.Unavailable: 6, sluice.Internal: 1,
	} {
		if got := code.ExitStatus(); got != want {
			t.Errorf("%s exits with %d; want %d", code, got, want)
		}
	}
}
