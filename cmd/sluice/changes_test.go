package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice"
)

// asked runs a command of sluice's against a daemon that answers so.
func asked(t *testing.T, answer any, args ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	var out bytes.Buffer
	t.Setenv("SLUICE_SOCKET", socket)
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestNotes: a record that changed nothing says what was found, and no "from X
// to X".
func TestNotes(t *testing.T) {
	a := sluice.UnshapedBoth
	a.Tx.Limit = 10 * sluice.Mbit
	out := asked(t, []sluice.Change{{ID: 7, VM: "web", Key: "web/0", By: "sluice", At: time.Now(), From: a, To: a, Result: sluice.Done, Verified: true,
		Note: "repaired by sluice: another program changed it in the kernel; restored: tx class"}}, "changes")
	line := strings.Split(out, "\n")[1]
	if strings.Contains(line, "10mbit") || !strings.HasSuffix(strings.TrimSpace(line), "restored: tx class") || !strings.Contains(line, " note ") {
		t.Errorf("%s", out)
	}
}

// TestShowNotEnforced: what does not obey what is set is said, before what is
// wrong with its collector.
func TestShowNotEnforced(t *testing.T) {
	v := vif("web", 0)
	v.Source, v.NotEnforced, v.Problem = sluice.SourceHost, "vif0 has an ingress qdisc", "no collector"
	for _, command := range [][]string{{"show", "web"}, {"list"}} {
		if out := asked(t, []sluice.VIFStatus{v}, command...); !strings.Contains(out, "not enforced: vif0 has an ingress qdisc; no collector") {
			t.Errorf("%v:\n%s", command, out)
		}
	}
}
