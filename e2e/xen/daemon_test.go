package xen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice"
	"sluice/control"
	"sluice/http"
)

// daemon is sluice serve in dom0, and the way to it. It keeps its state over
// restarts.
type daemon struct {
	*http.Client
	dir     string
	process *exec.Cmd
	log     *bytes.Buffer
	ended   chan struct{}
}

// settings of the daemon: to vm3's collector only xenstore leads.
const settings = `
listen = ""

[[vm]]
name = "vm1"
collector = "10.7.0.10:9511"
`

// theDaemon is the one that all tests use, made with the first of them.
var theDaemon = sync.OnceValue(func() *daemon {
	dir, err := os.MkdirTemp("", "sluice")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "sluice.toml"), []byte(settings), 0o600)
	}
	if err != nil {
		panic(err)
	}
	return &daemon{Client: http.NewClient(filepath.Join(dir, "socket")), dir: dir}
})

// serve returns the daemon, running.
func serve(t testing.TB) *daemon {
	t.Helper()
	d := theDaemon()
	if !d.running() {
		d.start(t)
	}
	t.Cleanup(func() {
		if t.Failed() {
			d.said(t)
		}
	})
	return d
}

// said logs the end of what the daemon wrote.
func (d *daemon) said(t testing.TB) {
	if d.log != nil {
		said := d.log.String()
		t.Logf("the daemon (%v) said:\n%s\nthe kernel:\n%s", d.process.ProcessState, said[max(0, len(said)-3000):], must(t, "dmesg | tail -5"))
	}
}

func (d *daemon) running() bool {
	if d.ended == nil {
		return false
	}
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// start starts the daemon and waits until it answers; env are more variables for it.
func (d *daemon) start(t testing.TB, env ...string) {
	t.Helper()
	d.log, d.ended = new(bytes.Buffer), make(chan struct{})
	d.process = exec.Command("./sluice", "serve", "--socket", d.dir+"/socket", "--state-dir", d.dir+"/state", "--config", d.dir+"/sluice.toml")
	d.process.Env = append(os.Environ(), env...)
	d.process.Stderr = d.log
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func(p *exec.Cmd, ended chan struct{}) { _ = p.Wait(); close(ended) }(d.process, d.ended)
	for until := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := d.VIFs(ctx)
		cancel()
		if err == nil {
			return
		}
		if !d.running() || time.Now().After(until) {
			t.Fatalf("the daemon does not answer: %v\n%s", err, d.log)
		}
	}
}

// wait waits until the daemon has ended.
func (d *daemon) wait(t testing.TB) {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		t.Fatal("the daemon does not end")
	}
}

// stop ends the daemon in order.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	_ = d.process.Process.Signal(syscall.SIGTERM)
	d.wait(t)
}

// sluice runs the command line.
func (d *daemon) sluice(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("./sluice", append([]string{"--socket", d.dir + "/socket"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// command has the command line make a change and requires it done and verified.
func (d *daemon) command(t testing.TB, args ...string) (c sluice.Change) {
	t.Helper()
	out := d.sluice(t, append([]string{"set", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil || c.Result != sluice.Done || !c.Verified {
		t.Fatalf("sluice set %v: %s%v", args, out, err)
	}
	return c
}

func limit(rate sluice.Rate) *control.Patch { return &control.Patch{Limit: &rate} }

// ask has the daemon set limits.
func (d *daemon) ask(vm string, vif int, tx, rx *control.Patch) (sluice.Change, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return d.Set(ctx, http.ChangeRequest{VM: vm, VIF: vif, Tx: tx, Rx: rx})
}

// set has the daemon set limits and requires it done and verified.
func (d *daemon) set(t testing.TB, vm string, vif int, tx, rx *control.Patch) sluice.Change {
	t.Helper()
	c, err := d.ask(vm, vif, tx, rx)
	if err != nil || c.Result != sluice.Done || !c.Verified {
		t.Fatalf("setting %s vif %d: %+v, %v", vm, vif, c, err)
	}
	return c
}

// vifs is what the daemon lists of a VM, known by its UUID.
func (d *daemon) vifs(t testing.TB, uuid string) (found []sluice.VIFStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := d.VIFs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.UUID == uuid {
			found = append(found, v)
		}
	}
	return found
}

// last is the newest change in the journal.
func (d *daemon) last(t testing.TB) sluice.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	changes, err := d.Changes(ctx, 1)
	if err != nil || len(changes) != 1 {
		t.Fatalf("the journal: %v, %v", changes, err)
	}
	return changes[0]
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

var creditLine = regexp.MustCompile(`(?m)^Credit.* credit: (\d+), usec: (\d+)`)

// creditOf is the kernel's credit of each queue of a device.
func creditOf(t testing.TB, device string) (all []string) {
	t.Helper()
	rings, err := filepath.Glob("/sys/kernel/debug/xen-netback/" + device + "/io_ring_q*")
	if err != nil || len(rings) == 0 {
		t.Fatalf("%s has no queues in debugfs, %v", device, err)
	}
	for _, ring := range rings {
		b, err := os.ReadFile(ring)
		m := creditLine.FindSubmatch(b)
		if err != nil || m == nil {
			t.Fatalf("%s: %v\n%s", ring, err, b)
		}
		all = append(all, fmt.Sprintf("%s,%s", m[1], m[2]))
	}
	return all
}

// wall is the credit that goes with a limit: a quarter above it.
func wall(limit sluice.Rate) string {
	return fmt.Sprintf("%d,50000", uint64(float64(limit)/8*1.25*.054))
}

// shaped reports whether the kernel's tree of a direction has a class with
// that limit.
func shaped(t testing.TB, way sluice.Direction, limit sluice.Rate) bool {
	t.Helper()
	return strings.Contains(must(t, "tc class show dev sluice-"+string(way)), fmt.Sprintf(" ceil %dMbit ", limit/sluice.Mbit))
}
