package xen_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
)

// threeGuests boots three guests side by side.
func threeGuests(t *testing.T, d *daemon) (guests [3]*vm) {
	t.Helper()
	for i := range guests {
		guests[i] = create(t, i+1, []string{""})
	}
	for _, g := range guests {
		g.ready(t)
	}
	eventually(t, "three vifs", func() bool { return len(d.inventory.VIFs()) == 3 })
	return guests
}

// TestAccuracy measures what passes against what is set, both ways, beside
// what xl's own rate= makes of it.
func TestAccuracy(t *testing.T) {
	d := mustServe(t, "")
	g, peer := create(t, 1, []string{""}), create(t, 2, []string{""})
	g.ready(t)
	peer.ready(t)
	for _, rate := range []sluice.Rate{5 * sluice.Mbit, 20 * sluice.Mbit, 40 * sluice.Mbit, 100 * sluice.Mbit} {
		c := d.set(t, "vm1", 0, limit(rate), limit(rate))
		t.Logf("%s: set and verified in %s", rate, time.Duration(c.TookNS))
		for _, way := range sluice.Directions {
			within(t, fmt.Sprintf("%s %s", way, rate), g.mustFlow(t, way, 5), rate, 3)
		}
		must(t, fmt.Sprintf("xenstore-write %s/rate %d,50000", peer.backend(t, 0), uint64(rate)/8/20)) // as xl writes it
		got := peer.mustFlow(t, sluice.Tx, 5)
		t.Logf("tx %s by xl's rate=: %.2f Mbit/s of payload, %.2f %% of the ideal", rate, got/1e6, 100*got/(float64(rate)*payload))
	}
}

// TestFlood has one guest send UDP as fast as it can; the other two keep
// their rates. Beside it, what the flood costs dom0 without netback's wall.
func TestFlood(t *testing.T) {
	d := mustServe(t, "")
	guests := threeGuests(t, d)
	for i, rate := range []sluice.Rate{5 * sluice.Mbit, sluice.Mbit, 5 * sluice.Mbit} {
		d.set(t, guests[i].name, 0, limit(rate), limit(rate))
	}
	neighbours := func() (rates [2]float64) {
		t.Helper()
		var both sync.WaitGroup
		var errs [2]error
		for i, g := range []*vm{guests[0], guests[2]} {
			both.Go(func() { rates[i], errs[i] = g.flow(sluice.Tx, 6) })
		}
		both.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		return rates
	}
	flooded := func() (rates [2]float64, cpu float64) {
		flood := make(chan error, 1)
		go func() {
			_, err := guests[1].flow(sluice.Tx, 8, "-u", "-b", "400M", "-l", "1400", "-p", "5202")
			flood <- err
		}()
		time.Sleep(time.Second)
		cpu = busy(t, func() { rates = neighbours() })
		if err := <-flood; err != nil {
			t.Error(err)
		}
		return rates, cpu
	}
	calm := neighbours()
	with, cpuWith := flooded()
	must(t, "xenstore-rm "+guests[1].backend(t, 0)+"/rate")
	time.Sleep(200 * time.Millisecond)
	without, cpuWithout := flooded()
	t.Logf("calm: %.2f and %.2f Mbit/s; flooded: %.2f and %.2f, dom0 %.0f %%; without the wall: %.2f and %.2f, dom0 %.0f %%",
		calm[0]/1e6, calm[1]/1e6, with[0]/1e6, with[1]/1e6, 100*cpuWith, without[0]/1e6, without[1]/1e6, 100*cpuWithout)
	for i := range with {
		if share := with[i] / calm[i]; share < .95 || share > 1.05 {
			t.Errorf("a neighbour of the flood has %.1f %% of what it had", 100*share)
		}
	}
}

// report is the part of iperf3's report that the tests read.
type report struct {
	Error     string
	Intervals []struct {
		Sum struct{ Bits_per_second float64 }
	}
	End struct {
		Sum     struct{ Lost_packets, Packets int }
		SumSent struct{ Retransmits int } `json:"sum_sent"`
	}
}

// stream starts a transfer and returns what waits for its report.
func (g *vm) stream(seconds int, more ...string) (wait func() (report, error)) {
	cmd := exec.Command("iperf3", append([]string{"-c", g.ips[0], "-t", strconv.Itoa(seconds), "-J"}, more...)...)
	var out []byte
	var err error
	done := make(chan struct{})
	go func() { out, err = cmd.Output(); close(done) }()
	return func() (r report, _ error) {
		<-done
		if bad := json.Unmarshal(out, &r); bad != nil || err != nil || r.Error != "" {
			return r, fmt.Errorf("%v: %v %v %s", cmd.Args, err, bad, r.Error)
		}
		return r, nil
	}
}

// TestExperiment is the patent's: three VMs loaded at once, usage watched,
// three live changes; every connection lives, every change is read back.
func TestExperiment(t *testing.T) {
	d := mustServe(t, "")
	guests := threeGuests(t, d)
	var waits [3]func() (report, error)
	for i, g := range guests {
		d.set(t, g.name, 0, limit(10*sluice.Mbit), nil)
		waits[i] = g.stream(14, "-R")
	}
	vifs := d.inventory.VIFs()
	usage := func(i int) float64 { // by the host's counter: what the guest sends, the host receives
		read := func() float64 {
			b, err := os.ReadFile("/sys/class/net/" + vifs[i].Device + "/statistics/rx_bytes")
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before, begin := read(), time.Now()
		time.Sleep(1500 * time.Millisecond)
		return (read() - before) * 8 / time.Since(begin).Seconds()
	}
	for i, rate := range []sluice.Rate{20 * sluice.Mbit, 5 * sluice.Mbit, 15 * sluice.Mbit} {
		before := usage(i)
		c := d.set(t, guests[i].name, 0, limit(rate), nil)
		after := usage(i)
		if states := c.States; len(states) != 3 || states[0].State != sluice.Connected || states[1].State != sluice.Reconfiguring || states[2].State != sluice.Connected {
			t.Errorf("the states of the change are %v", states)
		}
		t.Logf("%s: %.1f Mbit/s; set to %s in %s; %.1f Mbit/s", guests[i].name, before/1e6, rate, time.Duration(c.TookNS), after/1e6)
		if grew := after > before; grew != (rate > 10*sluice.Mbit) {
			t.Errorf("%s: the usage went from %.1f to %.1f Mbit/s", guests[i].name, before/1e6, after/1e6)
		}
	}
	for i, wait := range waits {
		r, err := wait()
		if err != nil {
			t.Errorf("a connection broke: %v", err)
			continue
		}
		for at, one := range r.Intervals {
			if one.Sum.Bits_per_second == 0 {
				t.Errorf("%s stood still in second %d", guests[i].name, at)
			}
		}
	}
}

// TestLiveChanges makes 500 changes under load: none breaks a connection or
// loses a packet, and every one is verified.
func TestLiveChanges(t *testing.T) {
	const changes = 500
	d := mustServe(t, "")
	g := start(t, 1, []string{""})
	eventually(t, "the vif", func() bool { return len(d.inventory.VIFs()) == 1 })
	var slowest time.Duration
	change := func(i int) {
		c := d.set(t, "vm1", 0, limit(sluice.Rate(10+i%10)*sluice.Mbit), limit(sluice.Rate(20+i%10)*sluice.Mbit))
		slowest = max(slowest, time.Duration(c.TookNS))
	}
	change(0)
	begin := time.Now()
	for i := range 10 {
		change(i + 1)
	}
	each := time.Since(begin) / 10
	seconds := int((each * changes * 3 / 2).Seconds()) + 3 // under load it takes longer
	tcp := g.stream(seconds, "-R")
	udp := g.stream(seconds, "-R", "-u", "-b", "1M", "-l", "1000", "-p", "5202")
	time.Sleep(time.Second)
	begin, slowest = time.Now(), 0
	for i := range changes {
		change(i)
	}
	took := time.Since(begin)
	tcpReport, err := tcp()
	if err != nil {
		t.Errorf("the TCP connection broke: %v", err)
	}
	udpReport, err := udp()
	if err != nil {
		t.Errorf("the UDP stream broke: %v", err)
	}
	lost := udpReport.End.Sum
	t.Logf("%d changes in %s (load for %d s), %s each, the slowest %s; UDP lost %d of %d; TCP retransmits %d",
		changes, took.Round(time.Second), seconds, (took / changes).Round(time.Millisecond), slowest.Round(time.Millisecond), lost.Lost_packets, lost.Packets, tcpReport.End.SumSent.Retransmits)
	if lost.Lost_packets > 0 {
		t.Errorf("%d packets were lost", lost.Lost_packets)
	}
	if took > time.Duration(seconds)*time.Second {
		t.Logf("the load ended before the changes")
	}
}
