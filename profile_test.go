package sluice

import (
	"encoding/json"
	"testing"
)

func TestResolve(t *testing.T) {
	small := UnshapedBoth
	small.Tx.Limit, small.Tx.Guarantee, small.Tx.Priority, small.Own = 20*Mbit, 5*Mbit, 1, TxLimit|TxGuarantee|TxPriority
	gold := UnshapedBoth
	gold.Rx.Weight, gold.Group, gold.Own = 400, "gold", RxWeight|InGroup
	p := Profiles{All: []Profile{{"gold", gold}, {"small", small}}, Default: "small", Match: []Match{{"db-*", "gold"}}}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	here := func(vm, described string) VIF { return VIF{VM: vm, Device: "tap0", Profile: described} }
	own := func(limit Rate, f Fields, profile string) Allocations {
		a := UnshapedBoth
		a.Tx.Limit, a.Own, a.Profile = limit, f, profile
		return a
	}
	for name, c := range map[string]struct {
		v    VIF
		now  Allocations
		want string
	}{
		"default":            {here("web", ""), UnshapedBoth, "tx 20mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
		"pattern":            {here("db-1", ""), UnshapedBoth, "tx unlimited, rx weight 400, no limit in group gold by profile gold"},
		"described":          {here("db-1", "small"), UnshapedBoth, "tx 20mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
		"described unknown":  {here("db-1", "big"), UnshapedBoth, "tx unlimited, rx weight 400, no limit in group gold by profile gold"},
		"chosen":             {here("db-1", "gold"), own(Unlimited, ByProfile, "small"), "tx 20mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
		"chosen none":        {here("db-1", "gold"), own(Unlimited, ByProfile, ""), "unlimited"},
		"chosen, now gone":   {here("web", ""), own(Unlimited, ByProfile, "big"), "tx 20mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
		"own wins":           {here("web", ""), own(50*Mbit, TxLimit, ""), "tx 50mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
		"own unlimited wins": {here("web", ""), own(Unlimited, TxLimit, ""), "tx guarantee 5mbit priority 1, no limit, rx unlimited by profile small"},
		"own below":          {here("web", ""), own(1*Mbit, TxLimit, ""), "tx 1mbit guarantee 1mbit priority 1, rx unlimited by profile small"},
		"an older record":    {here("web", ""), own(50*Mbit, 0, ""), "tx 50mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
		"absent":             {VIF{VM: "db-1"}, own(20*Mbit, 0, "small"), "tx 20mbit guarantee 5mbit priority 1, rx unlimited by profile small"},
	} {
		to := p.Resolve(c.v, c.now)
		if to.String() != c.want {
			t.Errorf("%s: %s; want %s", name, to, c.want)
		}
		if again := p.Resolve(c.v, to); again != to {
			t.Errorf("%s: a second time it is %s", name, again)
		}
		if to.Terms().Profile != "" || to.Terms().Own != 0 {
			t.Errorf("%s: the kernel is told %+v", name, to.Terms())
		}
	}
	if got := (Profiles{}).Resolve(here("web", "small"), UnshapedBoth); got != UnshapedBoth {
		t.Errorf("without profiles: %s", got)
	}
}

func TestFieldsJSON(t *testing.T) {
	all := Fields(1<<len(fieldNames) - 1)
	b, err := json.Marshal(all)
	var back Fields
	if err != nil || json.Unmarshal(b, &back) != nil || back != all {
		t.Errorf("%s: %v, %v", b, back, err)
	}
	for _, bad := range []string{`["tx.speed"]`, `7`, `"tx.limit"`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	if b, _ := json.Marshal(UnshapedBoth); string(b) != `{"tx":{"guarantee":0,"limit":null,"weight":100},"rx":{"guarantee":0,"limit":null,"weight":100}}` {
		t.Errorf("what nobody set is %s", b)
	}
}
