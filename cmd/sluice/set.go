package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/control"
	"sluice/http"
)

// spellOut lets --tx and --rx stand without a rate, for "only this
// direction": flags that take a value sometimes are nothing that flag
// libraries know.
func spellOut(args []string) []string {
	at := slices.Index(args, "set")
	if at < 0 {
		return args
	}
	out := slices.Clone(args[:at+1])
	for i := at + 1; i < len(args); i++ {
		if args[i] != "--tx" && args[i] != "--rx" {
			out = append(out, args[i])
			continue
		}
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			out = append(out, args[i]+"="+args[i+1])
			i++
			continue
		}
		out = append(out, args[i]+"=")
	}
	return out
}

// wish is what the flags of set say.
type wish struct {
	tx, rx, guarantee string
	weight, priority  int
	revision          uint64
	dry               bool
}

func setCommand(c *client) *cobra.Command {
	var w wish
	cmd := &cobra.Command{
		Use:   "set VM VIF [RATE]",
		Short: "change what a vif may use, live",
		Long: "Change what a vif may use, live. RATE is the limit of both directions, or of those named by --tx and --rx alone;\n" +
			"each may have a rate of its own. Directions are the VM's: tx is what it sends. Rates: 10mbit, 1.5gbit, 10Mb/s, unlimited.",
		Example: "  sluice set web 0 100mbit\n  sluice set web 0 100mbit --tx\n  sluice set web 0 --tx 10mbit --rx 1gbit\n  sluice set web 0 unlimited",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := w.request(cmd, args)
			if err != nil {
				return err
			}
			change, err := c.daemon().Set(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.printChange(cmd.OutOrStdout(), change, w.dry)
		},
	}
	f := cmd.Flags()
	f.StringVar(&w.tx, "tx", "", "what the VM sends: a rate, or nothing for RATE in this direction only")
	f.StringVar(&w.rx, "rx", "", "what the VM receives: likewise")
	f.StringVar(&w.guarantee, "guarantee", "", "what it gets whenever it wants it")
	f.IntVar(&w.weight, "weight", 0, "its share of what is spare, 1 to 10000; 100 unless set")
	f.IntVar(&w.priority, "priority", 0, "1: served before bulk, within the guarantee")
	f.Uint64Var(&w.revision, "revision", 0, "refuse if the settings are not at this revision")
	f.BoolVar(&w.dry, "dry-run", false, "check only, change nothing")
	return cmd
}

// request makes the daemon's words of the command line's.
func (w wish) request(cmd *cobra.Command, args []string) (http.ChangeRequest, error) {
	r := http.ChangeRequest{VM: args[0], DryRun: w.dry}
	vif, err := strconv.Atoi(args[1])
	if err != nil || vif < 0 {
		return r, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not a vif's index", args[1]), Unchanged: "nothing was changed", Try: "0 for the VM's first interface"}
	}
	r.VIF = vif
	rate := ""
	if len(args) == 3 {
		rate = args[2]
	}
	given := cmd.Flags().Changed
	both := !given("tx") && !given("rx")
	if rate != "" && w.tx != "" && w.rx != "" {
		return r, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s has no direction left: --tx and --rx have rates of their own", rate), Unchanged: "nothing was changed"}
	}
	patch := func(named bool, own string) (*control.Patch, error) {
		if !both && !named {
			return nil, nil
		}
		p := &control.Patch{}
		if own == "" {
			own = rate
		}
		if own != "" {
			limit, err := sluice.ParseRate(own)
			if err != nil {
				return nil, err
			}
			p.Limit = &limit
		}
		if w.guarantee != "" {
			g, err := sluice.ParseRate(w.guarantee)
			if err != nil {
				return nil, err
			}
			p.Guarantee = &g
		}
		if given("weight") {
			p.Weight = &w.weight
		}
		if given("priority") {
			p.Priority = &w.priority
		}
		return p, nil
	}
	if r.Tx, err = patch(given("tx"), w.tx); err != nil {
		return r, err
	}
	if r.Rx, err = patch(given("rx"), w.rx); err != nil {
		return r, err
	}
	if given("revision") {
		r.Revision = &w.revision
	}
	return r, nil
}

func (c *client) printChange(w io.Writer, change sluice.Change, dry bool) error {
	return c.print(w, change, func(w io.Writer) {
		name := sluice.VIF{VM: change.VM, Index: change.VIF}
		if dry {
			fmt.Fprintf(w, "%s would change from %s to %s; nothing was changed\n", name, change.From, change.To)
			return
		}
		fmt.Fprintf(w, "%s: %s, was %s; verified in %s (change %d)\n", name, change.To, change.From,
			time.Duration(change.TookNS).Round(10*time.Microsecond), change.ID)
	})
}

func changesCommand(c *client) *cobra.Command {
	limit := 20
	cmd := &cobra.Command{Use: "changes", Short: "the journal, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := c.daemon().Changes(cmd.Context(), limit)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), changes, func(w io.Writer) {
				fmt.Fprintln(w, "ID\tAT\tVM\tVIF\tFROM\tTO\tRESULT\tTOOK\tBY\t")
				for _, x := range changes {
					fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, x.At.Local().Format(time.DateTime), x.VM, x.VIF,
						x.From, x.To, x.Result, time.Duration(x.TookNS).Round(10*time.Microsecond), x.By, x.Error)
				}
			})
		}}
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "how many")
	return cmd
}

func undoCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "undo ID", Short: "take a change back", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not a change's number", args[0]), Unchanged: "nothing was changed", Try: "sluice changes"}
			}
			change, err := c.daemon().Undo(cmd.Context(), id)
			if err != nil {
				return err
			}
			return c.printChange(cmd.OutOrStdout(), change, false)
		}}
}
