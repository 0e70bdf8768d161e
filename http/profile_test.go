package http

import (
	"strings"
	"testing"

	"sluice"
)

// What is asked of the profiles arrives as it was asked for, with who asks.
func TestSetProfiles(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	for body, want := range map[string]string{
		`{}`:               "400 changes nothing",
		`{"name":7}`:       "400 cannot be read",
		`{"nobody":"x"}`:   "400 unknown field",
		`{"default":"x"}`:  "200 \"revision\":7",
		`{"name":"small"}`: "200 \"changes\":[]",
		`{"match":{"pattern":"db-*","profile":"gold"},"dry_run":true}`: "200 \"match\":[]",
	} {
		status, text, _ := ask(t, d, "POST", "/v1/profiles", body, "Authorization", "Bearer "+testToken)
		code, says, _ := strings.Cut(want, " ")
		if (code == "200") != (status == 200) || !strings.Contains(text, says) {
			t.Errorf("%s: %d %s; want %s", body, status, text, want)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.profiles) != 3 {
		t.Fatalf("%d of 3 arrived: %+v", len(h.profiles), h.profiles)
	}
	for _, p := range h.profiles {
		switch {
		case p.By == "":
			t.Errorf("nobody asked: %+v", p)
		case p.Match != nil && (*p.Match != sluice.Match{Pattern: "db-*", Profile: "gold"} || !p.DryRun):
			t.Errorf("%+v", p)
		case p.Match == nil && (p.DryRun || (p.Default == nil) == (p.Name == "")):
			t.Errorf("%+v", p)
		}
	}
}
