package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"sluice"
)

// costRate is what the machine forwards while its cost is taken: what its
// slowest candidate can.
const costRate = 200 * sluice.Mbit

// costCounts are how many VMs send.
var costCounts = []int{1, 3, 200}

// cost is the processors' time per Gbit with few classes and with many. Many
// VMs cost more than one whoever shapes them: more sockets, more devices. So
// what classes cost is what they add to one class for the same VMs.
func cost(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "VMs", "CPU seconds per Gbit, median", "of one class for all of them"}},
		Chart:  Chart{Title: "What a Gbit costs, by the number of VMs", Unit: "of what it costs with one class for all of them", Bars: []float64{1.15}},
		Note: fmt.Sprintf("UDP of %d bytes, %s in all, from so many VMs, each with a limit that it does not reach; the sites exist side by side and take turns. One class for all is the same arrangement, an IFB with an HTB, made by tc. "+
			"What is counted is all that the machine does meanwhile, less what it does idle: the sender, the bridge, the shaper and the receiver.", datagram, costRate),
	}
	rounds, span := 20, time.Second // many: half of them are off by a tenth and more
	if b.short {
		rounds, span = 2, time.Second
	}
	ways := []carrier{
		{"one class for all, by tc", false, func(t *tenants) error { return t.oneClass(ctx, sluice.Gbit) }},
		{"Sluice, a class each", false, func(t *tenants) error {
			if err := t.serve(ctx, b); err != nil {
				return err
			}
			for i := range t.vms {
				if _, err := t.client.Set(ctx, limit(tenant(i), sluice.Gbit)); err != nil {
					return err
				}
			}
			return nil
		}},
		{byCNI.name + ", an IFB each", true, func(t *tenants) error {
			for i, vm := range t.vms {
				if err := limitByCNI(ctx, t.host, vm, tenant(i), sluice.Gbit); err != nil {
					return err
				}
			}
			return nil
		}},
		{byDefaultHTB.name + ", one class on the uplink", false, func(t *tenants) error { return addHTB(ctx, t.site, uplink, sluice.Gbit) }},
		{byNobody.name, false, func(*tenants) error { return nil }},
	}
	const single, ours = 0, 1
	costs, ratios := make([][][]float64, len(ways)), make([][][]float64, len(ways))
	for _, vms := range costCounts {
		r.Chart.Groups = append(r.Chart.Groups, fmt.Sprint(vms))
		each, err := b.costs(ctx, ways, vms, rounds, span)
		if err != nil {
			return r, err
		}
		for i := range ways {
			var of []float64
			for n, c := range each[i] {
				of = append(of, c/each[single][n])
			}
			costs[i], ratios[i] = append(costs[i], each[i]), append(ratios[i], of)
		}
	}
	for i, way := range ways {
		series := Series{Name: way.name}
		for k, vms := range costCounts {
			if ratios[i][k] == nil {
				series.Values = append(series.Values, 0)
				continue
			}
			of := median(ratios[i][k])
			series.Values = append(series.Values, of)
			r.Detail.Rows = append(r.Detail.Rows, []string{way.name, fmt.Sprint(vms), fmt.Sprintf("%.2f", median(costs[i][k])), fmt.Sprintf("%.3f", of)})
			b.say("  %v", last(r.Detail.Rows))
		}
		if i != single {
			r.Chart.Series = append(r.Chart.Series, series)
		}
	}
	of := func(i int) string {
		var words []string
		for _, r := range ratios[i][1:] {
			if r != nil {
				words = append(words, fmt.Sprintf("%.2f ×", median(r)))
			}
		}
		return strings.Join(words, ", ")
	}
	var beside []string
	for i := ours + 1; i < len(ways); i++ {
		beside = append(beside, ways[i].name+": "+of(i))
	}
	r.Rows = []Row{{
		Figure: "CPU per Gbit of 3 and of 200 VMs with a class each, of that with one class for all of them",
		Sluice: of(ours), Bar: "≤ 1.15 ×", Met: max(median(ratios[ours][1]), median(ratios[ours][2])) <= 1.15,
		Beside: strings.Join(beside, "; "),
	}}
	return r, nil
}

// carrier is a way to shape what VMs send, or not to.
type carrier struct {
	name  string
	few   bool // with more than three VMs it does not carry costRate
	begin func(*tenants) error
}

// costs are what a Gbit of so many VMs costs by each way, round by round;
// nothing for one that cannot have as many. The sites exist side by side and
// take turns.
func (b *bench) costs(ctx context.Context, ways []carrier, vms, rounds int, span time.Duration) ([][]float64, error) {
	sprays, each := make([]*spray, len(ways)), make([][]float64, len(ways))
	for i, way := range ways {
		if way.few && vms > 3 {
			continue
		}
		t, err := newTenants(vms)
		if err != nil {
			return nil, err
		}
		defer t.close()
		if err := way.begin(t); err != nil {
			return nil, fmt.Errorf("%s: %w", way.name, err)
		}
		if sprays[i], err = t.spray(sluice.Tx, nil); err != nil {
			return nil, err
		}
		defer sprays[i].close()
	}
	if _, err := b.quiet(ctx); err != nil { // hundreds of new devices make themselves known
		return nil, err
	}
	for range rounds {
		idle, err := b.perGbit(ctx, span, nil)
		if err != nil {
			return nil, err
		}
		for i, p := range sprays {
			if p == nil {
				continue
			}
			if err := b.lull(ctx); err != nil {
				return nil, err
			}
			var seconds float64
			err := b.undisturbed(func() (err error) { seconds, err = b.perGbit(ctx, span, p); return err })
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
			each[i] = append(each[i], max(seconds-idle, 0))
		}
	}
	return each, nil
}

func last[T any](all []T) T { return all[len(all)-1] }

// oneClass has all that the VMs send go through one class of HTB on an IFB.
func (t *tenants) oneClass(ctx context.Context, r sluice.Rate) error {
	commands := []string{"ip link add ifb-all type ifb", "ip link set ifb-all up",
		"tc qdisc add dev ifb-all root handle 1: htb default 1",
		fmt.Sprintf("tc class add dev ifb-all parent 1: classid 1:1 htb rate %[1]dbit ceil %[1]dbit burst 1mb cburst 1mb", r)}
	for i := range t.vms {
		commands = append(commands, "tc qdisc add dev "+tenant(i)+" clsact",
			"tc filter add dev "+tenant(i)+" ingress protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev ifb-all")
	}
	for _, c := range commands {
		if err := t.host.run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// perGbit is the processors' time, in seconds: per Gbit that p carries, or
// without p all of it, by what p would have carried.
func (b *bench) perGbit(ctx context.Context, span time.Duration, p *spray) (float64, error) {
	if p != nil {
		for i := range p.rates {
			p.set(i, costRate/sluice.Rate(len(p.rates)))
		}
		defer func() {
			for i := range p.rates {
				p.set(i, 0)
			}
		}()
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
	}
	before, err := readTimes()
	if err != nil {
		return 0, err
	}
	carried := float64(costRate) * span.Seconds()
	if p == nil {
		err = wait(ctx, span)
	} else {
		var came []float64
		if came, _, err = p.look(ctx, span); err == nil {
			carried = 0
			for _, r := range came {
				carried += r * span.Seconds()
			}
			if carried < .9*float64(costRate)*span.Seconds() {
				return 0, fmt.Errorf("only %.0f Mbit/s of %s arrived", carried/span.Seconds()/1e6, costRate)
			}
		}
	}
	if err != nil {
		return 0, err
	}
	after, err := readTimes()
	if err != nil {
		return 0, err
	}
	did := after.since(before)
	return (1 - did.idle - did.stolen) * float64(runtime.NumCPU()) * span.Seconds() / (carried / 1e9), nil
}
