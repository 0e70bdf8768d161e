package htb

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"sluice"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds texts by their names against a file: a line "== name", then
// the text. What differs is to be read before it is taken over with -update.
func golden(t *testing.T, file string, names []string, texts map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		b.WriteString("== " + name + "\n" + texts[name] + "\n")
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for block := range strings.SplitSeq(strings.TrimPrefix(string(want), "== "), "\n== ") {
		name, text, _ := strings.Cut(block, "\n")
		found[name] = strings.TrimSpace(text)
	}
	for _, name := range names {
		if got := strings.TrimSpace(texts[name]); got != found[name] {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, found[name])
		}
		delete(found, name)
	}
	for name := range found {
		t.Errorf("%s has %q, which nothing makes", file, name)
	}
}

const (
	mbit = sluice.Mbit
	gbit = sluice.Gbit
	none = sluice.Unlimited
)

func state(capacity sluice.Rate, vifs map[string]sluice.Allocations, groups map[string]sluice.Allocations) State {
	s := State{Capacity: sluice.Capacity{Tx: capacity, Rx: none}, Overhead: Ethernet, Groups: groups, VIFs: map[string]VIF{}}
	for key, a := range vifs {
		s.VIFs[key] = VIF{10 + int(key[0]-'a'), a}
	}
	return s
}

// TestPlan reads as what HTB is told for each state, in byte/s and bytes.
func TestPlan(t *testing.T) {
	type set = map[string]sluice.Allocations
	now := time.Now()
	free := alloc(none, 0, 100, 0, "")
	host := func(limit, guarantee sluice.Rate, weight int) sluice.Allocations {
		return alloc(limit, guarantee, weight, 0, sluice.HostGroup)
	}
	shares := set{"a": alloc(none, 300*mbit, 100, 1, ""), "b": alloc(none, 0, 300, 0, ""), "c": alloc(none, 0, 50, 0, "")}
	nested := set{"gold": host(600*mbit, 500*mbit, 200), "inner": alloc(200*mbit, 0, 100, 0, "gold"), "empty": host(none, 0, 100)}
	members := set{"a": alloc(none, 0, 100, 0, "gold"), "b": alloc(none, 0, 100, 0, "inner"), "c": alloc(50*mbit, 0, 300, 0, "inner"), "d": free}
	looked := func(busy string) Activity {
		a := Activity{At: now, Bytes: map[string]uint64{"a": 1, "b": 1, "c": 1, "d": 1}, Seen: map[string]time.Time{}, Beyond: map[string]time.Time{}}
		for _, key := range strings.Fields(busy) {
			a.Seen[key] = now
		}
		return a
	}
	beyond := looked("a b c")
	beyond.Beyond["a"] = now
	plain := state(gbit, set{"a": alloc(none, 300*mbit, 100, 0, "")}, nil)
	plain.Overhead = 0
	names, texts := []string{}, map[string]string{}
	for _, c := range []struct {
		name  string
		state State
		a     Activity
	}{
		{"nobody is there", state(gbit, nil, nil), Activity{}},
		{"nothing is limited, and the capacity is not known", state(none, set{"a": free, "b": alloc(none, 0, 300, 0, "")}, nil), Activity{}},
		{"nothing is limited, and all are alike", state(gbit, set{"a": free, "b": free}, nil), Activity{}},
		{"a limit alone, of one of two", state(none, set{"a": alloc(100*mbit, 0, 100, 0, ""), "b": free}, nil), Activity{}},
		{"the least limit and the greatest", state(none, set{"a": alloc(sluice.MinLimit, 0, 100, 0, ""), "b": alloc(400*gbit, 0, 100, 0, "")}, nil), Activity{}},
		{"a guarantee with priority, and weights", state(gbit, shares, nil), Activity{}},
		{"a guarantee on a link without overhead", plain, Activity{}},
		{"the weights while one of them sends", state(gbit, shares, nil), looked("b")},
		{"the priority is taken from one that sends more than its guarantee", state(gbit, shares, nil), beyond},
		{"groups in groups", state(gbit, members, nested), Activity{}},
		{"a group whose members are idle but for one", state(gbit, members, nested), looked("b d")},
		{"a group of which nothing is known", state(gbit, set{"a": alloc(10*mbit, 0, 100, 0, "none"), "b": alloc(10*mbit, 0, 100, 0, "")}, nil), Activity{}},
	} {
		names = append(names, c.name)
		texts[c.name] = treeText(Plan(c.state, sluice.Tx, c.a))
		if again := treeText(Plan(c.state, sluice.Tx, c.a)); again != texts[c.name] {
			t.Errorf("%s: the same state again is\n%s", c.name, again)
		}
		if rx := treeText(Plan(c.state, sluice.Rx, c.a)); !strings.Contains(c.name, "group") && rx != "nothing\n" {
			t.Errorf("%s: nothing was said of rx:\n%s", c.name, rx)
		}
	}
	golden(t, "testdata/plan.txt", names, texts)
}
