package xen_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice"
	"sluice/control"
	"sluice/etcd"
	"sluice/xen"
	"sluice/xen/xenstore"
)

// daemon is what sluice serve runs on a Xen host, without its API.
type daemon struct {
	*control.Control
	xs        *xenstore.Client
	inventory *xen.Inventory
	stop      func()
}

// serve starts the daemon. socket is xenstored's, "" for its own.
func serve(dir, socket string, fault func(string)) (*daemon, error) {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	xs, err := xenstore.Dial(ctx, socket)
	if err != nil {
		cancel()
		return nil, err
	}
	inventory, err := xen.Open(ctx, xs, log)
	if err != nil {
		cancel()
		return nil, err
	}
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	journal, err := etcd.Open(ctx, dir, quiet)
	if err != nil {
		cancel()
		return nil, err
	}
	c := control.New(control.Options{
		Inventory: inventory,
		Store:     &xen.Store{Journal: journal, Xenstore: xs, Inventory: inventory, Log: log, Fault: fault},
		Driver:    &xen.Netback{Store: xs, Inventory: inventory, Shaper: shaper{}},
		Log:       log,
		Fault:     fault,
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			log.Error("the driver layer ended", "error", err)
		}
	}()
	return &daemon{c, xs, inventory, func() { cancel(); <-ended; journal.Close(); xs.Close() }}, nil
}

func mustServe(t testing.TB, socket string) *daemon {
	t.Helper()
	d, err := serve(t.TempDir(), socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

func limit(rate sluice.Rate) *control.Patch { return &control.Patch{Limit: &rate} }

// set has the daemon set a limit and requires it done and verified.
func (d *daemon) set(t testing.TB, vm string, vif int, tx, rx *control.Patch) sluice.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := d.Set(ctx, control.Request{VM: vm, VIF: vif, Tx: tx, Rx: rx, By: "test"})
	if err != nil || c.Result != sluice.Done || !c.Verified {
		t.Fatalf("setting %s vif %d: %+v, %v", vm, vif, c, err)
	}
	return c
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// creditOf is the kernel's credit of each queue of a device.
func creditOf(t testing.TB, device string) []string {
	t.Helper()
	return strings.Fields(must(t, "sed -n 's/^Credit.*credit: \\([0-9]*\\), usec: \\([0-9]*\\)/\\1,\\2/p' /sys/kernel/debug/xen-netback/"+device+"/io_ring_q*"))
}

// A child is this program run as a daemon that makes one change, and dies
// where SLUICE_FAULT says.
type childJob struct {
	Dir string
	VM  string
	To  sluice.Rate // both directions' limit
}

func runChild(job string) int {
	var j childJob
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		panic(err)
	}
	point := os.Getenv("SLUICE_FAULT")
	d, err := serve(j.Dir, "", func(at string) {
		if at == point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := d.Set(context.Background(), control.Request{VM: j.VM, Tx: limit(j.To), Rx: limit(j.To), By: "child"}); err != nil {
		fmt.Println(err)
		return 1
	}
	d.stop()
	return 0
}

// child runs a job to its end, which is a kill if there is a fault point.
func child(t testing.TB, j childJob, fault string) {
	t.Helper()
	b, _ := json.Marshal(j)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(b), "SLUICE_FAULT="+fault)
	out, err := cmd.CombinedOutput()
	killed := cmd.ProcessState != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if killed != (fault != "") || !killed && err != nil {
		t.Fatalf("the daemon, to be killed at %q: %v\n%s", fault, err, out)
	}
}
