package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"sluice"
)

func vif(vm string, tx sluice.Rate) sluice.VIFStatus {
	v := sluice.VIFStatus{VIF: sluice.VIF{VM: vm}, State: sluice.Connected}
	v.Tx = sluice.DirectionStatus{Usage: tx, Limit: 10 * sluice.Mbit}
	v.Rx = sluice.DirectionStatus{Limit: sluice.Unlimited}
	return v
}

// shown is the screen's text after the messages, without colours.
func shown(t *testing.T, msgs ...tea.Msg) []string {
	t.Helper()
	var m tea.Model = top{past: make(map[string]*trail)}
	for _, msg := range msgs {
		m, _ = m.Update(msg)
	}
	var plain strings.Builder
	for i, part := range strings.Split(m.View().Content, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		plain.WriteString(part)
	}
	return strings.Split(plain.String(), "\n")
}

func TestTop(t *testing.T) {
	data := sluice.DataSet{At: time.Now(), Capacity: sluice.Capacity{Tx: 20 * sluice.Mbit, Rx: sluice.Unlimited},
		VIFs: []sluice.VIFStatus{vif("calm", 1*sluice.Mbit), vif("busy", 9*sluice.Mbit)}}
	size := tea.WindowSizeMsg{Width: 200, Height: 20}
	screen := shown(t, size, data)
	if want := strings.Repeat("█", 20) + strings.Repeat("░", 20) + " 10mbit of 20mbit"; !strings.Contains(screen[0], want) {
		t.Errorf("half of the link is used, and the gauge is %q", screen[0])
	}
	if !strings.HasPrefix(screen[4], "busy") || !strings.HasPrefix(screen[5], "calm") {
		t.Errorf("not the busiest first:\n%s", strings.Join(screen, "\n"))
	}
	data.VIFs = append(data.VIFs, vif("all", 0))
	if screen := shown(t, size, data, tea.KeyPressMsg{Code: 'n', Text: "n"}); !strings.HasPrefix(screen[4], "all") {
		t.Errorf("not by name:\n%s", strings.Join(screen, "\n"))
	}
	if screen := shown(t, size, data, errors.New("no daemon")); !strings.Contains(screen[len(screen)-1], "this is old: no daemon") {
		t.Errorf("it does not say that it is old: %q", screen[len(screen)-1])
	}
	data.VIFs[2].NotEnforced, data.VIFs[2].Problem, data.VIFs[2].State = "vif0 has an ingress qdisc", "no collector", sluice.Reconfiguring
	if screen := shown(t, size, data); !strings.Contains(screen[6], "not enforced: vif0 has an ingress qdisc; no collector") {
		t.Errorf("it does not say that it is not enforced: %q", screen[6])
	}
	// A terminal of any size, and keys without end, are no harm.
	for _, w := range []int{0, 1, 30} {
		shown(t, tea.WindowSizeMsg{Width: w, Height: w / 5}, data, tea.KeyPressMsg{Code: tea.KeyPgUp}, tea.KeyPressMsg{Code: tea.KeyPgDown}, sluice.DataSet{})
	}
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]sluice.Rate{0, 50, 100}); got != strings.Repeat(" ", trailLength-3)+"▁▅█" {
		t.Errorf("%q", got)
	}
	if got := sparkline(nil); got != strings.Repeat(" ", trailLength) {
		t.Errorf("%q", got)
	}
}
