package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sluice"
)

func topCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "top", Short: "what every vif uses, live, the busiest first; as JSON one data set a line", Args: cobra.NoArgs, Example: "  sluice top\n  sluice top -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if c.output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				return c.daemon().Watch(ctx, func(d sluice.DataSet) { _ = enc.Encode(d) }, nil)
			}
			if _, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err != nil {
				return &sluice.Error{Code: sluice.Invalid, Message: "top needs a terminal", Try: "sluice top -o json, or sluice list"}
			}
			if _, err := c.daemon().VIFs(ctx); err != nil {
				return err // said once, and not in a screen that comes and goes
			}
			ctx, stop := context.WithCancel(ctx)
			defer stop()
			p := tea.NewProgram(top{past: make(map[string]*trail)}, tea.WithContext(ctx))
			go c.follow(ctx, p.Send)
			_, err := p.Run()
			if cmd.Context().Err() != nil {
				return nil // Ctrl-C, or told to end
			}
			return err
		}}
}

// follow sends each data set, and each error, until ctx ends.
func (c *client) follow(ctx context.Context, send func(tea.Msg)) {
	for ctx.Err() == nil {
		if err := c.daemon().Watch(ctx, func(d sluice.DataSet) { send(d) }, nil); err != nil {
			send(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// trailLength is how many data sets a vif's small charts show.
const trailLength = 24

type trail struct{ tx, rx []sluice.Rate }

// top is the screen of sluice top.
type top struct {
	now    sluice.DataSet
	past   map[string]*trail // by the vif's key
	err    error             // why now is old
	byName bool
	first  int // line shown first
	width  int
	height int
}

func (t top) Init() tea.Cmd { return nil }

func (t top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
	case sluice.DataSet:
		t.now, t.err = msg, nil
		t.remember()
	case error:
		t.err = msg
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return t, tea.Quit
		case "n":
			t.byName = true
		case "u":
			t.byName = false
		case "down", "j":
			t.first++
		case "up", "k":
			t.first--
		case "pgdown", "space":
			t.first += t.room()
		case "pgup":
			t.first -= t.room()
		case "home":
			t.first = 0
		}
	}
	t.first = max(0, min(t.first, len(t.now.VIFs)-t.room()))
	return t, nil
}

func (t top) remember() {
	seen := make(map[string]bool, len(t.now.VIFs))
	for _, v := range t.now.VIFs {
		key := v.Key()
		seen[key] = true
		if t.past[key] == nil {
			t.past[key] = new(trail)
		}
		p := t.past[key]
		p.tx, p.rx = push(p.tx, v.Tx.Usage), push(p.rx, v.Rx.Usage)
	}
	for key := range t.past {
		if !seen[key] {
			delete(t.past, key)
		}
	}
}

func push(past []sluice.Rate, r sluice.Rate) []sluice.Rate {
	past = append(past, r)
	return past[max(0, len(past)-trailLength):]
}

// room is how many vifs fit under the head and above the foot.
func (t top) room() int { return max(1, t.height-6) }

var (
	dim    = lipgloss.NewStyle().Faint(true)
	bold   = lipgloss.NewStyle().Bold(true)
	teal   = lipgloss.NewStyle().Foreground(lipgloss.Color("6"))
	blue   = lipgloss.NewStyle().Foreground(lipgloss.Color("4"))
	orange = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	red    = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
)

func (t top) View() tea.View {
	var b strings.Builder
	var tx, rx sluice.Rate
	for _, v := range t.now.VIFs {
		tx, rx = tx+v.Tx.Usage, rx+v.Rx.Usage
	}
	fmt.Fprintf(&b, "%s  %s\n", bold.Render("all VMs send   "), teal.Render(gauge(tx, t.now.Capacity.Tx)))
	fmt.Fprintf(&b, "%s  %s\n\n", bold.Render("all VMs receive"), blue.Render(gauge(rx, t.now.Capacity.Rx)))
	name := 4
	for _, v := range t.now.VIFs {
		name = max(name, min(lipgloss.Width(v.VM), 24))
	}
	b.WriteString(dim.Render(fmt.Sprintf("%-*s %3s  %9s %10s  %-*s  %9s %10s", name, "VM", "VIF", "TX", "LIMIT", trailLength, "", "RX", "LIMIT")) + "\n")
	vifs := slices.Clone(t.now.VIFs)
	slices.SortStableFunc(vifs, func(a, b sluice.VIFStatus) int {
		if !t.byName {
			if c := cmp.Compare(b.Tx.Usage+b.Rx.Usage, a.Tx.Usage+a.Rx.Usage); c != 0 {
				return c
			}
		}
		return cmp.Or(strings.Compare(a.VM, b.VM), cmp.Compare(a.Index, b.Index))
	})
	last := min(t.first+t.room(), len(vifs))
	for _, v := range vifs[t.first:last] {
		p := t.past[v.Key()]
		note := orange.Render(remarks(v))
		switch {
		case v.NotEnforced != "":
			note = red.Render(remarks(v))
		case v.State != sluice.Connected:
			note = orange.Render(v.State.String())
		}
		fmt.Fprintf(&b, "%-*.*s %3d  %9s %s  %s  %9s %s  %s  %s\n", name, name, v.VM, v.Index,
			short(v.Tx.Usage), limited(v.Tx), teal.Render(sparkline(p.tx)), short(v.Rx.Usage), limited(v.Rx), blue.Render(sparkline(p.rx)), note)
	}
	foot := dim.Render(fmt.Sprintf("%s   %d vifs   u by usage   n by name   arrows scroll   q quit", t.now.At.Local().Format("15:04:05"), len(vifs)))
	if t.err != nil {
		foot = red.Render("this is old: " + t.err.Error())
	}
	b.WriteString("\n" + foot)
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(max(t.width, 1)).Render(lines[i])
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// limited is a direction's limit, marked where usage has reached it.
func limited(d sluice.DirectionStatus) string {
	text := fmt.Sprintf("%10s", d.Limit)
	switch {
	case d.Limit == sluice.Unlimited:
		return dim.Render(text)
	case d.Usage >= d.Limit/100*95:
		return orange.Render(text)
	}
	return text
}

// gauge is how much of the capacity is used.
func gauge(used, capacity sluice.Rate) string {
	const width = 40
	if capacity == sluice.Unlimited || capacity == 0 {
		return short(used)
	}
	full := int(min(used, capacity) * width / capacity)
	return fmt.Sprintf("%s%s %s of %s", strings.Repeat("█", full), strings.Repeat("░", width-full), short(used), capacity)
}

// sparkline draws the past, newest at the right, against its own most.
func sparkline(past []sluice.Rate) string {
	most := max(slices.Max(append([]sluice.Rate{0}, past...)), 1)
	line := []rune(strings.Repeat(" ", trailLength-len(past)))
	for _, r := range past {
		line = append(line, []rune("▁▂▃▄▅▆▇█")[min(r*8/most, 7)])
	}
	return string(line)
}
