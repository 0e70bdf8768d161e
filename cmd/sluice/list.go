package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice"
)

func listCommand(c *client) *cobra.Command {
	all, watch := false, false
	cmd := &cobra.Command{Use: "list", Short: "VMs and vifs, their usage and allocation", Args: cobra.NoArgs,
		Example: "  sluice list\n  sluice list --watch\n  sluice list --all -o wide",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := c.daemon().VIFs
			if all {
				ask = c.daemon().AllVIFs
			}
			if watch {
				return c.watchVIFs(cmd.Context(), cmd.OutOrStdout(), ask)
			}
			vifs, err := ask(cmd.Context())
			if err != nil {
				return err
			}
			return c.printVIFs(cmd.OutOrStdout(), vifs)
		}}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also what is kept for vifs that are absent")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "again at every data set, until Ctrl-C; as JSON one list a line")
	return cmd
}

// watchVIFs lists at every data set until ctx ends.
func (c *client) watchVIFs(ctx context.Context, w io.Writer, ask func(context.Context) ([]sluice.VIFStatus, error)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	begin := ""
	if terminalWidth(w) > 0 && c.output != "json" {
		begin = "\x1b[H\x1b[2J" // home, and all of the screen empty: ECMA-48, CUP and ED
	}
	err := c.daemon().Watch(ctx, func(sluice.DataSet) {
		vifs, err := ask(ctx)
		switch {
		case err != nil:
		case c.output == "json":
			err = json.NewEncoder(w).Encode(vifs)
		default:
			if _, err = io.WriteString(w, begin); err == nil {
				err = c.printVIFs(w, vifs)
			}
			if begin == "" {
				begin = "---\n" // YAML's own mark between documents, and a line to see where one ends
			}
		}
		if err != nil && ctx.Err() == nil {
			stop(err)
		}
	}, nil)
	if cause := context.Cause(ctx); cause != nil && cause != context.Canceled {
		return cause
	}
	return err
}

func showCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "show VM", Short: "one VM's vifs", Args: cobra.ExactArgs(1), Example: "  sluice show web\n  sluice show web -o yaml",
		ValidArgsFunction: c.complete(vms),
		RunE: func(cmd *cobra.Command, args []string) error {
			vifs, err := c.daemon().VM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.printVIFs(cmd.OutOrStdout(), vifs); err != nil || c.output != "text" && c.output != "wide" {
				return err
			}
			p, err := c.daemon().Profiles(cmd.Context())
			if err != nil {
				return nil // a daemon that knows of no profiles
			}
			for _, v := range vifs {
				printOrigin(cmd.OutOrStdout(), p, v)
			}
			return nil
		}}
}

func (c *client) printVIFs(w io.Writer, vifs []sluice.VIFStatus) error {
	width := c.width(w)
	return c.print(w, vifs, func(w io.Writer) {
		t, wide := vifTable(vifs, c.output == "wide"), 0
		for _, v := range vifs {
			wide = max(wide, len(remarks(v)))
		}
		if width == 0 || t.width()+2+wide <= width {
			t.add("", 0)
			for i, v := range vifs {
				t.rows[i] = append(t.rows[i], remarks(v))
			}
			t.write(w)
			return
		}
		// What needs a look is told whole, below.
		t.fit(width).write(w)
		for _, v := range vifs {
			if r := remarks(v); r != "" {
				for i, line := range fold(fmt.Sprintf("%s: %s", v, r), width) {
					fmt.Fprintln(w, strings.Repeat("  ", min(i, 1))+line)
				}
			}
		}
	})
}

// vifTable is a row for each vif. Columns that say the same of all are left out,
// unless all are wanted.
func vifTable(vifs []sluice.VIFStatus, all bool) (t table) {
	guaranteed, first, grouped := all, all, all
	for _, v := range vifs {
		guaranteed = guaranteed || v.Tx.Guarantee > 0 || v.Rx.Guarantee > 0 || v.Tx.Weight != sluice.DefaultWeight || v.Rx.Weight != sluice.DefaultWeight
		first = first || v.Tx.Priority > 0 || v.Rx.Priority > 0
		grouped = grouped || v.Group != ""
	}
	t.add("VM", 0)
	t.add("VIF", 0)
	t.add("DEVICE", 4)
	t.add("SOURCE", 6)
	t.add("STATE", 5)
	for _, d := range []string{"TX", "RX"} {
		t.add(d, 0)
		if all {
			t.add("WANTED", 0)
		}
		t.add("LIMIT", 0)
		if guaranteed {
			t.add("GUARANTEE", 1)
			t.add("WEIGHT", 2)
		}
		if first {
			t.add("PRIORITY", 3)
		}
		if all {
			t.add("DROPPED", 0)
		}
	}
	if grouped {
		t.add("GROUP", 2)
	}
	if all {
		t.add("MAC", 0)
		t.add("UUID", 0)
		t.add("KEY", 0)
	}
	for _, v := range vifs {
		device, source, state := v.Device, string(v.Source), v.State.String()
		if v.Absent {
			device, source, state = "-", "-", "absent"
		}
		row := []string{v.VM, strconv.Itoa(v.Index), device, source, state}
		for _, d := range []sluice.DirectionStatus{v.Tx, v.Rx} {
			usage, wanted, dropped := short(d.Usage), short(d.Demand), fmt.Sprint(d.Drops)
			if v.Absent {
				usage, wanted, dropped = "-", "-", "-"
			}
			row = append(row, usage)
			if all {
				row = append(row, wanted)
			}
			row = append(row, d.Limit.String())
			if guaranteed {
				row = append(row, d.Guarantee.String(), strconv.Itoa(d.Weight))
			}
			if first {
				row = append(row, strconv.Itoa(d.Priority))
			}
			if all {
				row = append(row, dropped)
			}
		}
		if grouped {
			row = append(row, v.Group)
		}
		if all {
			row = append(row, cmp.Or(v.MAC, "-"), cmp.Or(v.UUID, "-"), v.Key())
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// remarks are what needs a look, the worst first.
func remarks(v sluice.VIFStatus) string {
	var all []string
	if v.NotEnforced != "" {
		all = append(all, "not enforced: "+v.NotEnforced)
	}
	if v.Problem != "" {
		all = append(all, v.Problem)
	}
	return strings.Join(all, "; ")
}

// fold breaks text between words into lines of at most width, less two where
// it goes on.
func fold(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width-2 {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// short is a measured rate in three digits or so.
func short(r sluice.Rate) string {
	bits, unit := float64(r), "bit"
	for _, u := range []string{"kbit", "mbit", "gbit", "tbit"} {
		if bits < 1000 {
			break
		}
		bits, unit = bits/1000, u
	}
	return fmt.Sprintf("%.3g%s", bits, unit)
}
