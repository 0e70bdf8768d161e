package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice"
	"sluice/lab"
)

// experiment is the command line of the experiment, built for a test.
type experiment struct {
	*testing.T
	binary string
}

func newExperiment(t *testing.T) *experiment {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the experiment needs root")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "sluice/cmd/sluice", "sluice/cmd/sluice-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // the guests have other libraries
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	e := &experiment{T: t, binary: filepath.Join(dir, "sluice")}
	t.Cleanup(func() { e.run("lab", "down"); e.clean() })
	return e
}

// run runs the command line, which must succeed.
func (e *experiment) run(args ...string) []byte {
	e.Helper()
	cmd := exec.Command(e.binary, args...)
	cmd.Env = append(os.Environ(), "SLUICE_SOCKET=/run/sluice-lab/sluice.sock")
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		e.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, wrong.String())
	}
	return out
}

// up starts the experiment and waits until it says a text.
func (e *experiment) up(until string, args ...string) (*exec.Cmd, *output) {
	e.Helper()
	said := &output{}
	cmd := exec.Command(e.binary, append([]string{"lab", "up"}, args...)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		e.Fatal(err)
	}
	for deadline := time.Now().Add(6 * time.Minute); !strings.Contains(said.String(), until); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) || cmd.Process.Signal(syscall.Signal(0)) != nil {
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
			e.Fatalf("the experiment did not come up:\n%s", said)
		}
	}
	return cmd, said
}

// clean fails the test if anything of the experiment is left.
func (e *experiment) clean() {
	e.Helper()
	if _, err := os.Stat("/run/sluice-lab"); !errors.Is(err, os.ErrNotExist) {
		e.Errorf("/run/sluice-lab is left: %v", err)
	}
	for _, ns := range []string{"sluice-lab", "sluice-lab-clients"} {
		if _, err := os.Stat("/run/netns/" + ns); !errors.Is(err, os.ErrNotExist) {
			e.Errorf("the namespace %s is left: %v", ns, err)
		}
	}
	programs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range programs {
		if b, _ := os.ReadFile(p); bytes.Contains(b, []byte("/run/sluice-lab/")) {
			e.Errorf("a process is left: %s", bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
		}
	}
}

// Three guests are watched from inside and outside while real clients load
// them; three changes do to each service what they should, and no connection
// breaks.
func TestExperiment(t *testing.T) {
	e := newExperiment(t)
	maker, said := e.up("end    Ctrl-C", "--load")
	t.Log(said)

	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		var all []sluice.VIFStatus
		if err := json.Unmarshal(e.run("list", "-o", "json"), &all); err != nil {
			t.Fatal(err)
		}
		heard := 0
		for _, v := range all {
			if v.Source == "guest" && v.Problem == "" && v.Tx.Usage > 0 {
				heard++
			}
		}
		if heard == 3 && len(all) == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not all of the three collectors are heard: %+v", all)
		}
	}

	// The guests' processors are emulated, and now and then one stands still:
	// a rate that is wrong is wrong twice.
	if wrong := conduct(t, e); len(wrong) > 0 {
		t.Logf("once more: %q", wrong)
		for _, w := range conduct(t, e) {
			t.Error(w)
		}
	}

	// What was set for the experiment is taken back.
	for _, v := range listed(t, e) {
		if v.Tx.Limit != sluice.Unlimited || v.Rx.Limit != sluice.Unlimited {
			t.Errorf("%s is left with the limits %s and %s", v.VM, v.Tx.Limit, v.Rx.Limit)
		}
	}
	if err := maker.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := maker.Wait(); err != nil {
		t.Errorf("the experiment ended with %v:\n%s", err, said)
	}
	e.clean()
}

// conduct repeats the patent's experiment, and returns which rates are not
// what they should be.
func conduct(t *testing.T, e *experiment) (wrong []string) {
	t.Helper()
	var found lab.Experiment
	if err := json.Unmarshal(e.run("lab", "run", "-o", "json", "--seconds", "6"), &found); err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	_ = found.Print(&table)
	t.Logf("\n%s", &table)
	if found.Broken != 0 || found.Open != 15 {
		t.Errorf("%d connections broke, %d of 15 are open", found.Broken, found.Open)
	}
	if len(found.Phases) != 4 {
		t.Fatalf("%d phases", len(found.Phases))
	}
	for i, bound := range []struct{ ftp, web float64 }{{100, 100}, {20, 100}, {20, 30}, {45, 30}} {
		p := found.Phases[i]
		if i > 0 && (p.Change == nil || p.Change.Result != sluice.Done || !p.Change.Verified) {
			t.Errorf("%s: the change is %+v", p.What, p.Change)
		}
		r := p.Report
		// Payload is 95 % of the wire. The floor is generous.
		if r.FTP.Rate > bound.ftp*0.97e6 || r.Web.Rate > bound.web*0.97e6 || r.FTP.Rate < bound.ftp*0.3e6 || r.Web.Rate == 0 || r.Stream.Frames == 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %+v", p.What, r))
		}
	}
	return wrong
}

func listed(t *testing.T, e *experiment) (all []sluice.VIFStatus) {
	t.Helper()
	if err := json.Unmarshal(e.run("list", "-o", "json"), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// An experiment whose maker was killed is taken away all the same.
func TestExperimentKilled(t *testing.T) {
	e := newExperiment(t)
	maker, _ := e.up("daemon: answers")
	if err := maker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = maker.Wait()
	if _, err := os.Stat("/run/netns/sluice-lab"); err != nil {
		t.Fatalf("there is nothing to take away: %v", err)
	}
	e.run("lab", "down")
	e.clean()
}
