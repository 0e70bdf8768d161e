package htb

import (
	"testing"

	"sluice/linux/tc"
)

// TestEnds says of other programs' filters which of them end the pipeline.
func TestEnds(t *testing.T) {
	act := func(kind string, verdict int32) tc.Action { return tc.Action{Kind: kind, Verdict: verdict} }
	for _, c := range []struct {
		filter tc.Filter
		want   string
	}{
		{tc.Filter{Kind: "u32", Pref: 7}, "a u32 filter of preference 7 without an action, which passes what it matches"},
		{tc.Filter{Kind: "flower", Pref: 7, Actions: []tc.Action{act("gact", tc.Pass)}}, "a flower filter of preference 7 whose gact passes what it matches"},
		{tc.Filter{Kind: "matchall", Pref: 7, Actions: []tc.Action{act("mirred", tc.Stolen)}}, "a matchall filter of preference 7 whose mirred takes what it matches elsewhere"},
		{tc.Filter{Kind: "bpf", Pref: 1, BPF: tc.BPF{Name: "cil_from", DirectAction: true}}, "a bpf filter of preference 1 (cil_from) whose program may pass frames"},
		{tc.Filter{Kind: "u32", Pref: 7, Actions: []tc.Action{act("skbedit", tc.Pipe)}}, "a u32 filter of preference 7 whose skbedit passes what it matches"},
		{tc.Filter{Kind: "u32", Pref: 7, Actions: []tc.Action{act("gact", tc.Pass), act("mirred", tc.Continue)}}, "a u32 filter of preference 7 whose gact passes what it matches"},
		{tc.Filter{Kind: "u32", Pref: 7, Actions: []tc.Action{act("mirred", tc.Pipe), act("gact", tc.Continue)}}, ""},
		{tc.Filter{Kind: "u32", Pref: 7, Actions: []tc.Action{act("gact", tc.Drop)}}, ""},
		{tc.Filter{Kind: "u32", Pref: 7, Actions: []tc.Action{act("gact", tc.Continue), act("mirred", tc.Stolen)}}, ""},
	} {
		if got := ends(c.filter); got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c.filter, got, c.want)
		}
	}
}
