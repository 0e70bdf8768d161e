package main

import (
	"bytes"
	"strings"
	"testing"

	"sluice"
)

// A table loses its least columns first, and is cut where that does not do.
func TestTableFits(t *testing.T) {
	var a table
	a.add("VM", 0)
	a.add("STATE", 2)
	a.add("GROUP", 1)
	a.rows = [][]string{{"web", "Connected", "gold"}}
	for width, heads := range map[int]string{0: "VM STATE GROUP", 24: "VM STATE GROUP", 19: "VM GROUP", 5: "VM", 1: "VM"} {
		var b bytes.Buffer
		a.fit(width).write(&b)
		head, _, _ := strings.Cut(b.String(), "\n")
		if got := strings.ReplaceAll(head, "\t", " "); got != heads {
			t.Errorf("in %d columns %q, want %q", width, got, heads)
		}
	}
	if got := cut("一二三四五 x\nab  \nabcdef", 5); got != "一二…\nab\nabcd…" {
		t.Errorf("%q", got)
	}
}

// YAML has JSON's names in JSON's order, and reads back as the same.
func TestYAML(t *testing.T) {
	out := asked(t, []sluice.VIFStatus{{VIF: sluice.VIF{VM: "yes", Index: 1}, State: sluice.Connected, Tx: sluice.DirectionStatus{Limit: sluice.Unlimited}}}, "show", "web", "-o", "yaml")
	if !strings.HasPrefix(out, "- key: \"\"\n  vm: \"yes\"\n") || !strings.Contains(out, "limit: null") {
		t.Errorf("%s", out)
	}
	if empty := asked(t, []sluice.VIFStatus{}, "list", "-o", "yaml"); empty != "[]\n" {
		t.Errorf("%q", empty)
	}
}

// A shell that asks gets what the daemon has.
func TestCompletion(t *testing.T) {
	vifs := []sluice.VIFStatus{{VIF: sluice.VIF{VM: "web", Index: 1, Device: "tap1"}, State: sluice.Connected}, {VIF: sluice.VIF{VM: "old"}, State: sluice.Connected, Absent: true}}
	for _, x := range []struct{ line, says string }{
		{"__complete show |", "old\nweb\n"}, {"__complete set |", "old\nweb\n"}, {"__complete set web |", "1\ttap1"},
		{"__complete forget |", "old\n:"}, {"__complete list -o |", "yaml"},
	} {
		args := strings.Split(x.line, " ")
		args[len(args)-1] = ""
		if out := asked(t, vifs, args...); !strings.Contains(out, x.says) {
			t.Errorf("%s: %q, want %q", x.line, out, x.says)
		}
	}
}
