package control_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"sluice"
	"sluice/control"
)

var (
	atMost  = regexp.MustCompile(`a guarantee of at most (\w[\w.]*)`)
	command = regexp.MustCompile(`sluice group set (\w+) --(tx|rx) --guarantee (\w[\w.]*)`)
)

// Whatever a refusal says would be accepted, is accepted to the bit, and one
// bit more is not: of vifs on the link and in groups up to three deep, whatever
// limits and neighbours they have.
func TestRefusalsAreExact(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Reserve = 7 }).run()
	random := rand.New(rand.NewPCG(1, 2))
	rate := func(most sluice.Rate) sluice.Rate { return sluice.Rate(random.Uint64N(uint64(most))) }
	m := sluice.Mbit
	for _, g := range [][2]string{{"a", "host"}, {"b", "a"}, {"c", "b"}} {
		r := of(g[0], 0, sluice.Unlimited)
		r.Group = &g[1]
		h.ask(r)
	}
	rate0, seen := sluice.Rate(0), map[string]int{}
	for range 60 {
		// Anything that is possible; what is not is left as it is.
		for _, r := range []control.Request{
			of("a", rate(50*m), 20*m+rate(90*m)), of("b", rate(40*m), 20*m+rate(90*m)), of("c", rate(30*m), 20*m+rate(90*m)),
			guarantee(ftp, rate(30*m), rate(60*m)), guarantee(web1, rate(20*m), rate(5*m)), into(web1, []string{"a", "b", "c", "host"}[random.IntN(4)]),
		} {
			_, _ = h.Set(t.Context(), r)
		}
		r := guarantee(web, rate(90*m), rate(90*m))
		if random.IntN(2) == 0 {
			r.Rx = r.Tx // as the command line asks
		} else {
			r.Rx.Guarantee = &rate0
		}
		r.Group = []*string{ptr("c"), ptr("b"), ptr("host")}[random.IntN(3)]
		limit := 30*m + rate(70*m)
		r.Tx.Limit, r.Rx.Limit, r.DryRun = &limit, &limit, true
		for range 10 {
			_, err := h.Set(t.Context(), r)
			if err == nil {
				seen["accepted"]++
				break
			}
			var told *sluice.Error
			if !errors.As(err, &told) || told.Code != sluice.Refused {
				t.Fatal(err)
			}
			if s := atMost.FindStringSubmatch(told.Try); s != nil {
				seen["at most"]++
				h.exact(r, s[1], told)
			}
			cs := command.FindAllStringSubmatch(told.Try, -1)
			if cs == nil {
				break
			}
			seen["first"]++
			for i, c := range cs {
				g, _ := sluice.ParseRate(c[3])
				one, patch := control.Request{VM: "@" + c[1], By: "root"}, &control.Patch{Guarantee: &g}
				if one.Tx = patch; c[2] == "rx" {
					one.Tx, one.Rx = nil, patch
				}
				if i == len(cs)-1 { // a bit less would not do
					less := g - 1
					patch.Guarantee = &less
					if _, err := h.Set(t.Context(), one); err == nil {
						if _, err := h.Set(t.Context(), r); err == nil {
							t.Errorf("%v: but a bit less does as well", told)
						}
					}
					patch.Guarantee = &g
				}
				if _, err := h.Set(t.Context(), one); err != nil {
					t.Fatalf("%v: %s is refused: %v", told, c[0], err)
				}
			}
			if _, err := h.Set(t.Context(), r); err != nil && strings.HasPrefix(err.Error(), told.Message) {
				t.Errorf("%v: is still refused: %v", told, err)
			}
		}
	}
	for _, what := range []string{"accepted", "at most", "first"} {
		if seen[what] < 10 {
			t.Errorf("%s came %d times", what, seen[what])
		}
	}
	t.Log(seen)
}

// exact asks for a guarantee in all directions that want one, and for a bit more.
func (h *host) exact(r control.Request, says string, told error) {
	h.Helper()
	most, err := sluice.ParseRate(says)
	if err != nil {
		h.Fatal(err)
	}
	for _, x := range []struct {
		r  sluice.Rate
		ok bool
	}{{most, true}, {most + 1, false}} {
		tx, rx := *r.Tx, *r.Rx
		tx.Guarantee = &x.r
		if *rx.Guarantee != 0 {
			rx.Guarantee = &x.r
		}
		again := r
		again.Tx, again.Rx = &tx, &rx
		if _, err := h.Set(h.Context(), again); (err == nil) != x.ok {
			h.Errorf("%v: but of %s it is said: %v", told, x.r, err)
		}
	}
}
