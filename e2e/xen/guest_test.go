package xen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
)

// payload is the part of a full Ethernet frame that is TCP's payload:
// 1448 of 1514 bytes.
const payload = 1448.0 / 1514.0

// vm is a PV guest.
type vm struct {
	name, uuid string
	ips        []string // of its vifs
	config     string
}

// bridge makes the bridge that guests are on, once.
var bridge = sync.OnceValue(func() error {
	// A guest that computes must not starve dom0: what any Xen host is set to.
	_, err := shell("xl sched-credit2 -d Domain-0 -w 4096; ip link add xenbr0 type bridge && ip link set xenbr0 up && ip addr add 10.7.0.1/24 dev xenbr0")
	return err
})

// three are the guests that most tests use, booted with the first of them.
// The first has a collector to be asked over TCP, the third one that can only
// tell by xenstore, the second none.
var three [3]*vm

// guests returns the first of the three, up, and the daemon.
func guests(t testing.TB, number int) (*daemon, []*vm) {
	t.Helper()
	some := three[:number]
	for i := range some {
		if three[i] == nil {
			ramdisk := [3]string{"/guest/collector.img", "/guest/initrd.gz", "/guest/collector.img"}[i]
			three[i] = create(t, i+1, []string{""}, ramdisk, [3]string{"collector=:9511", "", "collector="}[i])
		}
	}
	for _, g := range some {
		g.ready(t)
	}
	d := serve(t)
	for _, g := range some {
		eventually(t, "a vif of "+g.name, func() bool { return len(d.vifs(t, g.uuid)) == 1 })
	}
	return d, some
}

// start boots a guest for one test and waits until its services answer. More
// words become lines of its configuration.
func start(t testing.TB, number int, vifs []string, more ...string) *vm {
	t.Helper()
	g := create(t, number, vifs, "/guest/initrd.gz", "", more...)
	t.Cleanup(func() { _, _ = shell("xl destroy " + g.name) })
	g.ready(t)
	return g
}

// create has a guest boot, with words for its kernel's command line.
func create(t testing.TB, number int, vifs []string, ramdisk, words string, more ...string) *vm {
	t.Helper()
	if err := bridge(); err != nil {
		t.Fatal(err)
	}
	g := &vm{name: fmt.Sprintf("vm%d", number), uuid: fmt.Sprintf("5103e000-0000-4000-8000-%012d", number)}
	specs, args := []string(nil), []string{words}
	for i, spec := range vifs {
		ip := fmt.Sprintf("10.7.0.%d", 10*number+i)
		g.ips = append(g.ips, ip)
		args = append(args, fmt.Sprintf("vmip%d=%s/24", i, ip))
		specs = append(specs, fmt.Sprintf("'mac=00:16:3e:07:%02x:%02x,bridge=xenbr0%s'", number, i, spec))
	}
	g.config = filepath.Join(os.TempDir(), g.name)
	lines := append([]string{
		"name='" + g.name + "'", "uuid='" + g.uuid + "'", "memory=160", "on_crash='destroy'",
		"kernel='/guest/vmlinuz'", "ramdisk='" + ramdisk + "'",
		"extra='console=hvc0 quiet mitigations=off " + strings.Join(args, " ") + "'",
		"vif=[" + strings.Join(specs, ",") + "]",
	}, more...)
	if err := os.WriteFile(g.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "xl create -q "+g.config)
	return g
}

// ready waits until the guest's services answer on all its addresses.
func (g *vm) ready(t testing.TB) {
	t.Helper()
	until := time.Now().Add(3 * time.Minute)
	for _, ip := range g.ips {
		for {
			c, err := net.DialTimeout("tcp", ip+":5202", time.Second)
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(until) {
				out, _ := shell("xl list; tail -n 30 /var/log/xen/console/*" + g.name + "*; dmesg | tail -n 20")
				t.Fatalf("%s does not answer on %s: %v\n%s", g.name, ip, err, out)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	time.Sleep(300 * time.Millisecond) // iperf3's server takes up the next client
}

// domid is the guest's domain at the moment.
func (g *vm) domid(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(must(t, "xl domid "+g.name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// backend is the path of the guest's vif in xenstore at the moment.
func (g *vm) backend(t testing.TB, index int) string {
	t.Helper()
	return fmt.Sprintf("/local/domain/0/backend/vif/%d/%d", g.domid(t), index)
}

// iperf runs iperf3 and returns its report. The server closes its port for a
// moment between two clients: who is refused then tries again.
func iperf(ctx context.Context, args ...string) ([]byte, error) {
	until := time.Now().Add(10 * time.Second)
	for {
		out, err := exec.CommandContext(ctx, "iperf3", args...).Output()
		if err == nil || !bytes.Contains(out, []byte("Connection refused")) || time.Now().After(until) {
			return out, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// flow measures the payload rate of one transfer, after a second's start, in
// bit/s. Tx is what the guest sends.
func (g *vm) flow(d sluice.Direction, seconds int, more ...string) (float64, error) {
	args := append([]string{"-c", g.ips[0], "-t", strconv.Itoa(seconds), "-O", "1", "-J"}, more...)
	if d == sluice.Tx {
		args = append(args, "-R")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+20)*time.Second)
	defer cancel()
	out, err := iperf(ctx, args...)
	var r struct {
		Error string
		End   struct {
			Sum         struct{ Bits_per_second, Lost_percent float64 }
			SumReceived struct{ Bits_per_second float64 } `json:"sum_received"`
		}
	}
	if bad := json.Unmarshal(out, &r); bad != nil || err != nil || r.Error != "" {
		return 0, fmt.Errorf("iperf3 %v: %v %v %s", args, err, bad, r.Error)
	}
	if r.End.SumReceived.Bits_per_second != 0 {
		return r.End.SumReceived.Bits_per_second, nil
	}
	return r.End.Sum.Bits_per_second * (1 - r.End.Sum.Lost_percent/100), nil
}

// mustFlow is flow for the test's own goroutine.
func (g *vm) mustFlow(t testing.TB, d sluice.Direction, seconds int, more ...string) float64 {
	t.Helper()
	rate, err := g.flow(d, seconds, more...)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

// busy returns how many of dom0's processors were busy during do.
func busy(t testing.TB, do func()) float64 {
	t.Helper()
	read := func() (used float64) {
		b, err := os.ReadFile("/proc/stat")
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range strings.Fields(strings.SplitN(string(b), "\n", 2)[0])[1:] {
			n, _ := strconv.ParseFloat(f, 64)
			if i != 3 && i != 4 && i < 7 { // neither idle nor waiting nor stolen by a guest
				used += n / 100
			}
		}
		return used
	}
	begin, before := time.Now(), read()
	do()
	return (read() - before) / time.Since(begin).Seconds()
}

func shell(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", command).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// must runs a command that has to succeed and returns what it printed.
func must(t testing.TB, command string) string {
	t.Helper()
	out, err := shell(command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
