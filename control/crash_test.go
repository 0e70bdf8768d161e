package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/control"
	"sluice/etcd"
	"sluice/linux/htb"
	"sluice/linux/netnstest"
	"sluice/linux/tc"
)

// The tests in this file end a process with SIGKILL, again and again, and
// look whether kernel (the real one), store and journal agree after the next
// start. The process is this test binary, run as [victim].

const (
	crashDir   = "SLUICE_TEST_CRASH_DIR"   // the victim's store; makes the test binary one
	crashPoint = "SLUICE_TEST_CRASH_POINT" // the fault point where it ends
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := victim(dir, os.Getenv(crashPoint)); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// say is a line the victim prints.
type say struct {
	VIF    string        `json:"vif,omitempty"`
	Node   *control.Node `json:"node,omitempty"`   // what the store says after recovery
	Record sluice.Result `json:"record,omitempty"` // of the node's last change
	Ready  bool          `json:"ready,omitempty"`  // all that was said
	Acked  uint64        `json:"acked,omitempty"`  // a change that was answered done
	Mbit   sluice.Rate   `json:"mbit,omitempty"`   // to what
}

// victim is a daemon without a door: it recovers, reports, and for each line
// read changes vifs: "load" without end, or "vif0 20" once.
func victim(dir, point string) error {
	log := slog.New(slog.DiscardHandler)
	store, err := etcd.Open(context.Background(), dir, log)
	if err != nil {
		return err
	}
	driver, err := htb.New(log, htb.Ethernet)
	if err != nil {
		return err
	}
	var armed sync.Mutex // held by nobody until a change is asked for
	live := false
	var vifs []sluice.VIF
	for i := range 3 {
		vifs = append(vifs, sluice.VIF{VM: fmt.Sprint("vm", i), Device: fmt.Sprint("vif", i)})
	}
	ctl := control.New(control.Options{Inventory: &inventory{vifs: vifs}, Driver: driver, Store: store, Log: log,
		Fault: func(at string) {
			armed.Lock()
			defer armed.Unlock()
			if live && at == point {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}})
	ctx := context.Background()
	go func() { _ = ctl.Run(ctx) }()

	out := json.NewEncoder(os.Stdout) // one write a line
	for _, v := range vifs {
		var n control.Node
		for {
			if n, err = store.Get(ctx, v.Key()); err != nil {
				return err
			}
			if n.State == sluice.Connected {
				break
			}
			time.Sleep(time.Millisecond)
		}
		s := say{VIF: v.Device, Node: &n}
		if n.Change != 0 {
			c, err := store.Change(ctx, n.Change)
			if err != nil {
				return err
			}
			s.Record = c.Result
		}
		if err := out.Encode(s); err != nil {
			return err
		}
	}
	all, err := store.Changes(ctx, 100)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Result == sluice.Pending {
			return fmt.Errorf("change %d is still pending", c.ID)
		}
	}
	if err := out.Encode(say{Ready: true}); err != nil {
		return err
	}

	var mu sync.Mutex
	set := func(v sluice.VIF, mbit sluice.Rate) {
		c, err := ctl.Set(ctx, limit(v, mbit*sluice.Mbit))
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(say{VIF: v.Device, Acked: c.ID, Mbit: mbit})
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var i int
		var mbit sluice.Rate
		if n, _ := fmt.Sscanf(lines.Text(), "vif%d %d", &i, &mbit); n == 2 {
			armed.Lock()
			live = point != ""
			armed.Unlock()
			set(vifs[i], mbit)
			continue
		}
		for _, v := range vifs {
			for range 2 { // two that are at odds, too
				go func() {
					for {
						set(v, 1+rand.N[sluice.Rate](900))
					}
				}()
			}
		}
	}
	return lines.Err()
}

// life is one life of the victim.
type life struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	nodes map[string]say // what it said after recovery
}

// live starts the victim in the namespace and waits until it has recovered.
func live(t *testing.T, ns *netnstest.NS, dir, point string) *life {
	t.Helper()
	l := &life{t: t, nodes: make(map[string]say)}
	ns.Do(func() {
		l.cmd = exec.Command(os.Args[0])
		l.cmd.Env = append(os.Environ(), crashDir+"="+dir, crashPoint+"="+point)
		l.cmd.Stderr = os.Stderr
		var err error
		if l.in, err = l.cmd.StdinPipe(); err != nil {
			t.Error(err)
			return
		}
		out, err := l.cmd.StdoutPipe()
		if err != nil {
			t.Error(err)
			return
		}
		l.lines = bufio.NewScanner(out)
		if err := l.cmd.Start(); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { _ = l.cmd.Process.Kill(); _ = l.cmd.Wait() })
	giveUp := time.AfterFunc(time.Minute, func() { _ = l.cmd.Process.Kill() })
	defer giveUp.Stop()
	for {
		s, ok := l.next()
		if !ok {
			t.Fatal("the victim did not recover")
		}
		if s.Ready {
			return l
		}
		l.nodes[s.VIF] = s
	}
}

func (l *life) next() (say, bool) {
	if !l.lines.Scan() {
		return say{}, false
	}
	var s say
	if err := json.Unmarshal(l.lines.Bytes(), &s); err != nil {
		l.t.Errorf("%q: %v", l.lines.Text(), err)
	}
	return s, true
}

func (l *life) ask(line string) {
	if _, err := io.WriteString(l.in, line+"\n"); err != nil {
		l.t.Error(err)
	}
}

// end reads until the victim is dead, and returns what was acknowledged last, by vif.
func (l *life) end() map[string]say {
	acked := make(map[string]say)
	for {
		s, ok := l.next()
		if !ok {
			break
		}
		if s.Acked > acked[s.VIF].Acked {
			acked[s.VIF] = s
		}
	}
	if err := l.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		l.t.Errorf("the victim was not killed: %v", err)
	}
	return acked
}

// enforced is what the kernel lets a device have; "" if nothing leads its
// packets to a class.
func enforced(t *testing.T, ns *netnstest.NS, device string, d sluice.Direction) string {
	t.Helper()
	var c tc.Class
	var ok bool
	var err error
	ns.Do(func() { c, ok, err = htb.Lookup(device, d) })
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return ""
	}
	return sluice.Rate(c.Ceil * 8).String()
}

// agrees checks that kernel, store and journal say the same of a vif.
func (l *life) agrees(ns *netnstest.NS, device string) control.Node {
	l.t.Helper()
	s := l.nodes[device]
	n := *s.Node
	if n.State != sluice.Connected || s.Record == sluice.Pending {
		l.t.Errorf("%s is %s, its change %s", device, n.State, s.Record)
	}
	for _, d := range sluice.Directions {
		want := n.Value.Get(d).Limit.String()
		got := enforced(l.t, ns, device, d)
		// No class, or one of 1 Tbit/s, is no limit.
		if got != want && !(want == "unlimited" && (got == "" || got == "1tbit")) {
			l.t.Errorf("%s %s: the kernel says %q, the store %s", device, d, got, want)
		}
	}
	return n
}

// machine is a namespace with three vifs, whose kernel outlives the victim.
func machine(t *testing.T) *netnstest.NS {
	t.Helper()
	ns, vm := netnstest.New(t), netnstest.New(t)
	for i := range 3 {
		ns.Veth(fmt.Sprint("vif", i), "", vm, fmt.Sprint("eth", i), "")
	}
	return ns
}

// Killed at every step of a change's way, first one and later one: all hold
// the new value at the next start, or all hold the old one; which, the step
// decides.
func TestKillAtEveryStep(t *testing.T) {
	for _, p := range []struct {
		point string
		done  bool // the next start finishes it
	}{
		{"located", false}, {"before-begin", false}, {"after-begin", true}, {"before-apply", true}, {"after-apply", true},
		{"before-finish", true}, {"after-finish", true}, {"before-answer", true},
	} {
		t.Run(p.point, func(t *testing.T) {
			ns, dir := machine(t), t.TempDir()
			for _, step := range []struct{ set, change string }{{"vif0 20", "20mbit"}, {"vif0 30", "30mbit"}} {
				l := live(t, ns, dir, p.point)
				before := l.agrees(ns, "vif0").Value.Tx.Limit.String()
				l.ask(step.set)
				// Once the store says done, who asked may read it there and answer.
				if acked := l.end(); len(acked) > 0 && p.point != "after-finish" {
					t.Errorf("answered before it was killed: %v", acked)
				}
				after := live(t, ns, dir, "")
				n := after.agrees(ns, "vif0")
				want := before
				if p.done {
					want = step.change
				}
				if got := n.Value.Tx.Limit.String(); got != want || n.Value.Rx.Limit.String() != want {
					t.Errorf("from %s to %s became %s; want %s", before, step.change, n.Value, want)
				}
				_ = after.cmd.Process.Kill()
				after.end()
			}
		})
	}
}

// Killed at random times under load: what was answered is so, and the three agree.
func TestKillAtRandom(t *testing.T) {
	kills := 40 // e2e kills the whole daemon 200 times
	if testing.Short() {
		kills = 20
	}
	ns, dir := machine(t), filepath.Join(t.TempDir(), "store")
	acknowledged := make(map[string]say)
	for range kills {
		l := live(t, ns, dir, "")
		for device := range l.nodes {
			n, last := l.agrees(ns, device), acknowledged[device]
			if n.Change < last.Acked || n.Change == last.Acked && last.Acked != 0 && n.Value.Terms() != limited(last.Mbit*sluice.Mbit) {
				t.Errorf("%s: change %d to %dmbit was answered, the store is at change %d, %s", device, last.Acked, last.Mbit, n.Change, n.Value)
			}
		}
		if t.Failed() {
			return
		}
		l.ask("load")
		time.Sleep(rand.N(120 * time.Millisecond))
		_ = l.cmd.Process.Kill()
		for device, s := range l.end() {
			acknowledged[device] = s
		}
	}
	if last := acknowledged["vif0"].Acked; last < uint64(kills) {
		t.Errorf("only %d changes were made under %d kills: that is no load", last, kills)
	}
	t.Logf("%d kills, %d changes", kills, acknowledged["vif0"].Acked)
}
