package sluice_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice"
)

func TestAllocationCheck(t *testing.T) {
	with := func(change func(*sluice.Allocation)) sluice.Allocation {
		a := sluice.Unshaped
		change(&a)
		return a
	}
	limit := func(r sluice.Rate) sluice.Allocation {
		return with(func(a *sluice.Allocation) { a.Limit = r })
	}
	const link = 100 * sluice.Mbit
	for name, c := range map[string]struct {
		is   sluice.Allocation
		code sluice.Code // "" if it may be
		says string
	}{
		"unshaped":                {sluice.Unshaped, "", ""},
		"a limit":                 {limit(10 * sluice.Mbit), "", ""},
		"the link":                {limit(link), "", ""},
		"the least":               {limit(sluice.MinLimit), "", ""},
		"nothing":                 {limit(0), sluice.Invalid, "would cut the VM off"},
		"below the least":         {limit(sluice.MinLimit - 1), sluice.Invalid, "below 8kbit"},
		"above the link":          {limit(link + 1), sluice.Refused, "at most 100mbit, or unlimited"},
		"guarantee":               {with(func(a *sluice.Allocation) { a.Guarantee = link }), "", ""},
		"guarantee = limit":       {with(func(a *sluice.Allocation) { a.Guarantee, a.Limit = 9000, 9000 }), "", ""},
		"guarantee above limit":   {with(func(a *sluice.Allocation) { a.Guarantee, a.Limit = 9001, 9000 }), sluice.Refused, "a guarantee of at most 9kbit"},
		"guarantee above link":    {with(func(a *sluice.Allocation) { a.Guarantee = link + 1 }), sluice.Refused, "at most 100mbit"},
		"guarantee of all":        {with(func(a *sluice.Allocation) { a.Guarantee = sluice.Unlimited }), sluice.Refused, "at most 100mbit"},
		"weight 1":                {with(func(a *sluice.Allocation) { a.Weight = 1 }), "", ""},
		"weight 10000":            {with(func(a *sluice.Allocation) { a.Weight = 10_000 }), "", ""},
		"weight 0":                {with(func(a *sluice.Allocation) { a.Weight = 0 }), sluice.Invalid, "outside 1 to 10000"},
		"weight -1":               {with(func(a *sluice.Allocation) { a.Weight = -1 }), sluice.Invalid, "outside 1 to 10000"},
		"weight 10^9":             {with(func(a *sluice.Allocation) { a.Weight = 1e9 }), sluice.Invalid, "outside 1 to 10000"},
		"priority 1":              {with(func(a *sluice.Allocation) { a.Priority, a.Guarantee = 1, sluice.Mbit }), "", ""},
		"priority of nothing":     {with(func(a *sluice.Allocation) { a.Priority = 1 }), sluice.Invalid, "within the guarantee"},
		"priority 2":              {with(func(a *sluice.Allocation) { a.Priority = 2 }), sluice.Invalid, "neither 0 nor 1"},
		"priority -1":             {with(func(a *sluice.Allocation) { a.Priority = -1 }), sluice.Invalid, "neither 0 nor 1"},
		"what JSON forgot to say": {sluice.Allocation{}, sluice.Invalid, "would cut the VM off"},
	} {
		err := c.is.Check(sluice.Tx, link)
		if sluice.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want code %q and %q", name, err, c.code, c.says)
		}
		// Each direction is held against its own capacity, and named.
		tx := sluice.Allocations{Tx: c.is, Rx: sluice.Unshaped}.Check(sluice.Capacity{Tx: link, Rx: 1})
		rx := sluice.Allocations{Tx: sluice.Unshaped, Rx: c.is}.Check(sluice.Capacity{Tx: 1, Rx: link})
		if c.code != "" && (tx == nil || !strings.HasPrefix(tx.Error(), "tx ") || rx == nil || !strings.HasPrefix(rx.Error(), "rx ")) {
			t.Errorf("%s: tx says %v, rx says %v", name, tx, rx)
		}
		if c.code == "" && (tx != nil || rx != nil) {
			t.Errorf("%s: tx says %v, rx says %v", name, tx, rx)
		}
	}
}

// Also where nobody said what the link carries, nobody is guaranteed more than any has.
func TestGuaranteeBeyondAnyLink(t *testing.T) {
	a := sluice.Unshaped
	for a.Guarantee = sluice.MaxRate; a.Guarantee > 0; a.Guarantee *= 2 {
		if err := a.Check(sluice.Tx, sluice.Unlimited); (err == nil) != (a.Guarantee == sluice.MaxRate) {
			t.Errorf("%s: %v", a.Guarantee, err)
		}
	}
}

// What Check lets pass is within every bound, whatever the link; and a wider
// link refuses nothing that a narrower one allows.
func TestAllocationCheckHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := sluice.Allocation{Guarantee: anyRate().Draw(t, "guarantee"), Limit: anyRate().Draw(t, "limit"),
			Weight: rapid.IntRange(-2, 20_000).Draw(t, "weight"), Priority: rapid.IntRange(-1, 2).Draw(t, "priority")}
		link := anyRate().Draw(t, "link")
		err := a.Check(sluice.Rx, link)
		bad := a.Limit < sluice.MinLimit || a.Limit != sluice.Unlimited && a.Limit > link || a.Guarantee > min(a.Limit, link, sluice.MaxRate) ||
			a.Weight < 1 || a.Weight > 10_000 || a.Priority>>1 != 0 || a.Priority > 0 && a.Guarantee == 0
		if bad != (err != nil) {
			t.Fatalf("%+v on %s: %v", a, link, err)
		}
		if err == nil && a.Check(sluice.Rx, sluice.Unlimited) != nil {
			t.Fatalf("%+v holds on %s but not on a wider link", a, link)
		}
	})
}

func TestAllocationsJSON(t *testing.T) {
	a := sluice.Allocations{Tx: sluice.Allocation{Guarantee: 1000, Limit: 10 * sluice.Mbit, Weight: 7, Priority: 1}, Rx: sluice.Unshaped}
	b, err := json.Marshal(a)
	const want = `{"tx":{"guarantee":1000,"limit":10000000,"weight":7,"priority":1},"rx":{"guarantee":0,"limit":null,"weight":100}}`
	if err != nil || string(b) != want {
		t.Fatalf("%s, %v; want %s", b, err, want)
	}
	var back sluice.Allocations
	if err := json.Unmarshal(b, &back); err != nil || back != a {
		t.Fatalf("read back as %+v, %v", back, err)
	}
}

func TestAllocationsString(t *testing.T) {
	ten := sluice.Allocation{Limit: 10 * sluice.Mbit, Weight: 100}
	full := sluice.Allocation{Limit: 10 * sluice.Mbit, Guarantee: sluice.Mbit, Weight: 5, Priority: 1}
	for want, a := range map[string]sluice.Allocations{
		"unlimited":               sluice.UnshapedBoth,
		"10mbit":                  {Tx: ten, Rx: ten},
		"tx 10mbit, rx unlimited": {Tx: ten, Rx: sluice.Unshaped},
		"tx unlimited, rx 10mbit guarantee 1mbit weight 5 priority 1": {Tx: sluice.Unshaped, Rx: full},
	} {
		if got := a.String(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
