package allocate_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice"
	"sluice/allocate"
)

const m = sluice.Mbit

// claim is one that wants all it can get.
func claim(guarantee, limit sluice.Rate, weight, group int) allocate.Claim {
	return allocate.Claim{Guarantee: guarantee, Limit: limit, Demand: sluice.Unlimited, Weight: weight, Group: group}
}

func TestShare(t *testing.T) {
	const host, none = allocate.Host, sluice.Unlimited
	quiet := claim(50*m, none, 100, host)
	quiet.Demand = 10 * m
	tests := map[string]struct {
		capacity sluice.Rate
		claims   []allocate.Claim
		groups   []allocate.Group
		want     []sluice.Rate
	}{
		"nobody":                  {100 * m, nil, nil, []sluice.Rate{}},
		"one takes all":           {100 * m, []allocate.Claim{claim(0, none, 1, host)}, nil, []sluice.Rate{100 * m}},
		"by weight":               {70 * m, []allocate.Claim{claim(0, none, 1, host), claim(0, none, 2, host), claim(0, none, 4, host)}, nil, []sluice.Rate{10 * m, 20 * m, 40 * m}},
		"excess above guarantees": {100 * m, []allocate.Claim{claim(40*m, none, 1, host), claim(0, none, 2, host)}, nil, []sluice.Rate{60 * m, 40 * m}},
		"a limit frees the rest":  {100 * m, []allocate.Claim{claim(0, 10*m, 1, host), claim(0, none, 1, host)}, nil, []sluice.Rate{10 * m, 90 * m}},
		"what one leaves, others use": {100 * m, []allocate.Claim{quiet, claim(0, none, 100, host)}, nil,
			[]sluice.Rate{10 * m, 90 * m}},
		"guarantees above the capacity": {60 * m, []allocate.Claim{claim(80*m, none, 1, host), claim(40*m, none, 9, host)}, nil,
			[]sluice.Rate{40 * m, 20 * m}},
		"a tenant of two beside one vif": {100 * m,
			[]allocate.Claim{claim(0, none, 1, 0), claim(0, none, 3, 0), claim(0, none, 1, host)},
			[]allocate.Group{{Limit: none, Weight: 1, Parent: host}},
			[]sluice.Rate{12_500_000, 37_500_000, 50 * m}},
		"a group's limit binds its members": {100 * m,
			[]allocate.Claim{claim(0, none, 1, 1), claim(0, none, 1, host)},
			[]allocate.Group{{Limit: 20 * m, Weight: 1, Parent: host}, {Limit: none, Weight: 1, Parent: 0}},
			[]sluice.Rate{20 * m, 80 * m}},
		"a group's guarantee is for its members": {100 * m,
			[]allocate.Claim{claim(0, none, 1, 0), claim(0, none, 9, host)},
			[]allocate.Group{{Guarantee: 50 * m, Limit: none, Weight: 1, Parent: host}},
			[]sluice.Rate{55 * m, 45 * m}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := allocate.Share(test.capacity, test.claims, test.groups)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestShareRefuses(t *testing.T) {
	ok := claim(0, sluice.Unlimited, 1, 0)
	group := func(parent int) allocate.Group {
		return allocate.Group{Limit: sluice.Unlimited, Weight: 1, Parent: parent}
	}
	huge := claim(sluice.Unlimited, sluice.Unlimited, 1, allocate.Host)
	tests := map[string]struct {
		claims []allocate.Claim
		groups []allocate.Group
	}{
		"weight 0":              {[]allocate.Claim{claim(0, m, 0, allocate.Host)}, nil},
		"weight 10^9":           {[]allocate.Claim{claim(0, m, 1e9, allocate.Host)}, nil},
		"no such group":         {[]allocate.Claim{ok}, nil},
		"a group in itself":     {[]allocate.Claim{ok}, []allocate.Group{group(0)}},
		"two groups in a ring":  {[]allocate.Claim{ok}, []allocate.Group{group(1), group(0)}},
		"guarantees that wrap":  {[]allocate.Claim{huge, huge}, nil},
		"a parent out of range": {nil, []allocate.Group{group(7)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := allocate.Share(m, test.claims, test.groups); sluice.CodeOf(err) != sluice.Invalid {
				t.Errorf("got %v, %v; want an error with code invalid", got, err)
			}
		})
	}
}

// rates draws rates of every magnitude, zero and unlimited among them.
func rates() *rapid.Generator[sluice.Rate] {
	return rapid.OneOf(
		rapid.Just(sluice.Rate(0)),
		rapid.Map(rapid.Uint64Range(0, 1000), func(n uint64) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }),
		rapid.Map(rapid.Uint64Range(0, uint64(sluice.Tbit)), func(n uint64) sluice.Rate { return sluice.Rate(n) }),
	)
}

func limits() *rapid.Generator[sluice.Rate] {
	return rapid.OneOf(rapid.Just(sluice.Unlimited), rates())
}

// drawHost draws up to 12 claims in up to 4 nested groups.
func drawHost(t *rapid.T) ([]allocate.Claim, []allocate.Group) {
	groups := make([]allocate.Group, rapid.IntRange(0, 4).Draw(t, "groups"))
	for g := range groups {
		groups[g] = allocate.Group{
			Guarantee: rates().Draw(t, "guarantee"), Limit: limits().Draw(t, "limit"),
			Weight: rapid.IntRange(1, sluice.MaxWeight).Draw(t, "weight"),
			Parent: rapid.IntRange(allocate.Host, g-1).Draw(t, "parent"),
		}
	}
	claims := make([]allocate.Claim, rapid.IntRange(1, 12).Draw(t, "claims"))
	for c := range claims {
		claims[c] = allocate.Claim{
			Guarantee: rates().Draw(t, "guarantee"), Limit: limits().Draw(t, "limit"), Demand: limits().Draw(t, "demand"),
			Weight: rapid.IntRange(1, sluice.MaxWeight).Draw(t, "weight"),
			Group:  rapid.IntRange(allocate.Host, len(groups)-1).Draw(t, "group"),
		}
	}
	return claims, groups
}

func share(t *rapid.T, capacity sluice.Rate, claims []allocate.Claim, groups []allocate.Group) []sluice.Rate {
	grants, err := allocate.Share(capacity, claims, groups)
	if err != nil {
		t.Fatal(err)
	}
	return grants
}

// inside reports whether a claim or group whose parent is p lies in group g.
func inside(groups []allocate.Group, p, g int) bool {
	for ; p != allocate.Host; p = groups[p].Parent {
		if p == g {
			return true
		}
	}
	return g == allocate.Host
}

// below sums what the members of g were granted.
func below(claims []allocate.Claim, groups []allocate.Group, grants []sluice.Rate, g int) (sum sluice.Rate) {
	for i, c := range claims {
		if inside(groups, c.Group, g) {
			sum = add(sum, grants[i])
		}
	}
	return sum
}

func TestNeverOverAnyBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rates().Draw(t, "capacity")
		claims, groups := drawHost(t)
		within(t, capacity, claims, groups, share(t, capacity, claims, groups))
	})
}

// within holds grants against every bound there is. Sums stop instead of
// wrapping, for whoever draws rates that no link has.
func within(t interface{ Errorf(string, ...any) }, capacity sluice.Rate, claims []allocate.Claim, groups []allocate.Group, grants []sluice.Rate) {
	for i, c := range claims {
		if grants[i] > min(c.Limit, c.Demand) {
			t.Errorf("claim %d: granted %s over limit %s or demand %s", i, grants[i], c.Limit, c.Demand)
		}
	}
	if sum := below(claims, groups, grants, allocate.Host); sum > capacity {
		t.Errorf("granted %s of %s", sum, capacity)
	}
	for g := range groups {
		if sum := below(claims, groups, grants, g); sum > groups[g].Limit {
			t.Errorf("group %d: granted %s over limit %s", g, sum, groups[g].Limit)
		}
	}
}

// A guarantee is satisfiable when those of the whole host fit everywhere.
func TestSatisfiableGuaranteesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims, groups := drawHost(t)
		for g := range groups {
			groups[g].Limit = sluice.Unlimited
		}
		capacity := rates().Draw(t, "spare")
		for _, c := range claims {
			capacity += c.Guarantee
		}
		for _, g := range groups {
			capacity += g.Guarantee
		}
		for i, granted := range share(t, capacity, claims, groups) {
			if c := claims[i]; granted < min(c.Guarantee, c.Limit, c.Demand) {
				t.Errorf("claim %d: granted %s under its guarantee of %s", i, granted, c.Guarantee)
			}
		}
	})
}

func TestNothingIdleWhileAnyoneWants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rates().Draw(t, "capacity")
		claims, groups := drawHost(t)
		busy(t, capacity, claims, groups, share(t, capacity, claims, groups))
	})
}

// busy finds whoever gets less than it wants, though nothing is in the way.
func busy(t interface{ Errorf(string, ...any) }, capacity sluice.Rate, claims []allocate.Claim, groups []allocate.Group, grants []sluice.Rate) {
	rounding := sluice.Rate(len(claims) + len(groups))
	full := func(g int, limit sluice.Rate) bool {
		return add(below(claims, groups, grants, g), rounding) >= limit
	}
	for i, c := range claims {
		stopped := grants[i] == min(c.Limit, c.Demand) || full(allocate.Host, capacity)
		for g := c.Group; g != allocate.Host; g = groups[g].Parent {
			stopped = stopped || full(g, groups[g].Limit)
		}
		if !stopped {
			t.Errorf("claim %d wants more than %s and nothing stops it", i, grants[i])
		}
	}
}

func add(a, b sluice.Rate) sluice.Rate {
	if a+b < a {
		return sluice.Unlimited
	}
	return a + b
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rates().Draw(t, "capacity")
		claims, groups := drawHost(t)
		order := rapid.Permutation(indices(len(claims))).Draw(t, "order")
		shuffled := make([]allocate.Claim, len(claims))
		for to, from := range order {
			shuffled[to] = claims[from]
		}
		grants, again := share(t, capacity, claims, groups), share(t, capacity, shuffled, groups)
		for to, from := range order {
			if again[to] != grants[from] {
				t.Errorf("claim %d: %s in one order, %s in another", from, grants[from], again[to])
			}
		}
	})
}

func indices(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// More capacity or more weight takes nothing away from the one who has it.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity, more := rates().Draw(t, "capacity"), rates().Draw(t, "more")
		claims, _ := drawHost(t)
		for i := range claims {
			claims[i].Group = allocate.Host
		}
		before := share(t, capacity, claims, nil)
		for i, granted := range share(t, capacity+more, claims, nil) {
			if granted < before[i] {
				t.Errorf("claim %d: %s of %s, but %s of %s", i, before[i], capacity, granted, capacity+more)
			}
		}
		who := rapid.IntRange(0, len(claims)-1).Draw(t, "who")
		heavier := slices.Clone(claims)
		heavier[who].Weight = rapid.IntRange(claims[who].Weight, sluice.MaxWeight).Draw(t, "weight")
		if granted := share(t, capacity, heavier, nil)[who]; granted < before[who] {
			t.Errorf("claim %d: %s with weight %d, but %s with %d", who, before[who], claims[who].Weight, granted, heavier[who].Weight)
		}
	})
}

func TestScaleFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rates().Draw(t, "capacity")
		claims, groups := drawHost(t)
		const k = 1000
		scale := func(r sluice.Rate) sluice.Rate {
			if r == sluice.Unlimited {
				return r
			}
			return r * k
		}
		large, largeGroups := slices.Clone(claims), slices.Clone(groups)
		for i, c := range claims {
			large[i].Guarantee, large[i].Limit, large[i].Demand = scale(c.Guarantee), scale(c.Limit), scale(c.Demand)
		}
		for i, g := range groups {
			largeGroups[i].Guarantee, largeGroups[i].Limit = scale(g.Guarantee), scale(g.Limit)
		}
		small := share(t, capacity, claims, groups)
		tolerance := sluice.Rate(k * (len(claims) + len(groups)) * (len(claims) + len(groups)))
		for i, granted := range share(t, scale(capacity), large, largeGroups) {
			if granted+tolerance < scale(small[i]) || granted > scale(small[i])+tolerance {
				t.Errorf("claim %d: %s becomes %s, want %d times as much", i, small[i], granted, k)
			}
		}
	})
}

// FuzzShare makes claims and groups of any bytes: nothing that a caller can
// pass panics, what is no tree or out of range is refused in words, and all
// else is within every bound with nothing idle.
func FuzzShare(f *testing.F) {
	f.Add(uint64(100*m), []byte{2, 1, 1, 1, 1, 1, 9, 1, 1, 0, 0, 3, 3, 3, 100, 1})
	f.Add(^uint64(0), []byte{4, 255, 255, 1, 0, 255, 255, 1, 1, 254, 255, 255, 1, 2, 255, 255, 255, 255, 1, 3})
	f.Add(uint64(0), []byte{3, 0, 0, 1, 2, 0, 0, 1, 1})
	f.Fuzz(func(t *testing.T, capacity uint64, text []byte) {
		next := func() byte {
			if len(text) == 0 {
				return 0
			}
			b := text[0]
			text = text[1:]
			return b
		}
		rate := func() sluice.Rate { // of every magnitude, and both ends
			b := next()
			if b == 255 {
				return sluice.Unlimited - sluice.Rate(next())
			}
			return sluice.Rate(b&3) << (b >> 2)
		}
		weight := func() int { return int(next()) * int(next()) }
		groups := make([]allocate.Group, next()%6)
		for g := range groups {
			groups[g] = allocate.Group{Guarantee: rate(), Limit: rate(), Weight: weight(), Parent: int(next()%8) - 2}
		}
		var claims []allocate.Claim
		for len(text) > 0 && len(claims) < 64 {
			claims = append(claims, allocate.Claim{Guarantee: rate(), Limit: rate(), Demand: rate(), Weight: weight(), Group: int(next()%8) - 2})
		}
		grants, err := allocate.Share(sluice.Rate(capacity), claims, groups)
		if err != nil {
			if sluice.CodeOf(err) != sluice.Invalid {
				t.Errorf("refused as %s: %v", sluice.CodeOf(err), err)
			}
			return
		}
		within(t, sluice.Rate(capacity), claims, groups, grants)
		busy(t, sluice.Rate(capacity), claims, groups, grants)
	})
}

// BenchmarkShare100000 is a host of 100,000 claims in 1,000 groups up to four deep.
func BenchmarkShare100000(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	groups := make([]allocate.Group, 1000)
	for g := range groups {
		groups[g] = allocate.Group{Guarantee: sluice.Rate(random.IntN(10)) * m, Limit: sluice.Unlimited, Weight: 1 + random.IntN(100), Parent: g/6 - 1}
	}
	claims := make([]allocate.Claim, 100_000)
	for i := range claims {
		claims[i] = allocate.Claim{
			Guarantee: sluice.Rate(random.IntN(10)) * m, Limit: sluice.Rate(10+random.IntN(100)) * m,
			Demand: sluice.Rate(random.IntN(100)) * m, Weight: 1 + random.IntN(100), Group: random.IntN(1001) - 1,
		}
	}
	for b.Loop() {
		if _, err := allocate.Share(sluice.Tbit, claims, groups); err != nil {
			b.Fatal(err)
		}
	}
}
