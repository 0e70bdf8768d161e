package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice"
)

func (c *client) printChange(w io.Writer, change sluice.Change, dry bool) error {
	return c.print(w, change, func(w io.Writer) {
		name := sluice.VIF{VM: change.VM, Index: change.VIF}
		if dry {
			fmt.Fprintf(w, "%s would change from %s to %s; nothing was changed\n", name, held(change, change.From), held(change, change.To))
			printEffect(w, change)
			return
		}
		fmt.Fprintf(w, "%s: %s, was %s; %s (change %d)\n", name, held(change, change.To), held(change, change.From), became(change), change.ID)
		if change.Until != nil {
			fmt.Fprintln(w, reverts(change))
		}
	})
}

// became is what is known of a change that is done.
func became(change sluice.Change) string {
	if !change.Verified {
		return "kept: the VM is absent, and has it when it comes"
	}
	return "verified in " + time.Duration(change.TookNS).Round(10*time.Microsecond).String()
}

// held is what a vif or group had before a change, or has after it.
func held(change sluice.Change, a sluice.Allocations) string {
	if (sluice.VIF{VM: change.VM, Index: change.VIF}).IsGroup() && a.Group == "" {
		return "no group"
	}
	return a.String()
}

func changesCommand(c *client) *cobra.Command {
	limit := 20
	cmd := &cobra.Command{Use: "changes", Short: "the journal, newest first", Args: cobra.NoArgs, Example: "  sluice changes -n 5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := c.daemon().Changes(cmd.Context(), limit)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), changes, func(w io.Writer) {
				fmt.Fprintln(w, "ID\tAT\tVM\tVIF\tFROM\tTO\tRESULT\tTOOK\tBY\t")
				for _, x := range changes {
					vif := strconv.Itoa(x.VIF)
					if (sluice.VIF{VM: x.VM, Index: x.VIF}).IsGroup() {
						vif = "group"
					}
					from, to, result, took := held(x, x.From), held(x, x.To), string(x.Result), time.Duration(x.TookNS).Round(10*time.Microsecond).String()
					if x.Note != "" { // nobody changed anything
						from, to, result, took = "-", "-", "note", "-"
					}
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, x.At.Local().Format(time.DateTime), x.VM, vif,
						from, to, result, took, x.By, remark(x))
				}
			})
		}}
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "how many")
	return cmd
}

func undoCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "undo ID", Short: "take a change back", Args: cobra.ExactArgs(1), Example: "  sluice undo 7", ValidArgsFunction: c.complete(done),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := changeID(args[0])
			if err != nil {
				return err
			}
			change, err := c.daemon().Undo(cmd.Context(), id)
			if err != nil {
				return err
			}
			return c.printChange(cmd.OutOrStdout(), change, false)
		}}
}

func confirmCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "confirm ID", Short: "keep a change that would revert by itself", Args: cobra.ExactArgs(1), Example: "  sluice confirm 7", ValidArgsFunction: c.complete(unconfirmed),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := changeID(args[0])
			if err != nil {
				return err
			}
			change, err := c.daemon().Confirm(cmd.Context(), id)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), change, func(w io.Writer) {
				fmt.Fprintf(w, "%s keeps %s (change %d)\n", sluice.VIF{VM: change.VM, Index: change.VIF}, change.To, id)
			})
		}}
}

func changeID(s string) (uint64, error) {
	id, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not a change's number", s), Unchanged: "nothing was changed", Try: "sluice changes"}
	}
	return id, nil
}

// reverts says when a change ends by itself, and how to keep it.
func reverts(x sluice.Change) string {
	at, unless := x.Until.Local().Format(time.DateTime), ""
	if x.Confirm {
		unless = fmt.Sprintf(" unless you say: sluice confirm %d", x.ID)
	}
	return fmt.Sprintf("it reverts to %s at %s%s", held(x, *x.Back), at, unless)
}

// remark is what the journal's listing says beside a change.
func remark(x sluice.Change) string {
	switch {
	case x.Note != "":
		return x.Note
	case x.Error != "":
		return x.Error
	case x.ConfirmedBy != "":
		return "confirmed by " + x.ConfirmedBy
	case x.Until != nil && x.Result == sluice.Done && x.Confirm:
		return "until " + x.Until.Local().Format(time.DateTime) + " unless confirmed"
	case x.Until != nil && x.Result == sluice.Done:
		return "until " + x.Until.Local().Format(time.DateTime)
	case x.Undoes != 0:
		return fmt.Sprintf("takes back %d", x.Undoes)
	}
	return ""
}

// printEffect is what every vif would get, before and after, as two tables.
func printEffect(w io.Writer, change sluice.Change) {
	fmt.Fprintln(w, "\nIf every vif wants all it can get:\nVM\tVIF\tTX\tAFTER\tRX\tAFTER")
	for _, e := range change.Effect {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", e.VM, e.VIF, share(e.Tx.Before), share(e.Tx.After), share(e.Rx.Before), share(e.Rx.After))
	}
	fmt.Fprintln(w, "\nIf each wants what it wants now:\nVM\tVIF\tTX WANTED\tTX\tAFTER\tRX WANTED\tRX\tAFTER")
	for _, e := range change.Effect {
		fmt.Fprintf(w, "%s\t%d", e.VM, e.VIF)
		for _, now := range []*sluice.EffectNow{e.Tx.Now, e.Rx.Now} {
			if now == nil {
				fmt.Fprint(w, "\tnot measured\t\t")
				continue
			}
			wants := share(now.Demand)
			if now.Demand == sluice.Unlimited {
				wants = "more" // it is held back
			}
			fmt.Fprintf(w, "\t%s\t%s\t%s", wants, share(now.Before), share(now.After))
		}
		fmt.Fprintln(w)
	}
}

func share(r sluice.Rate) string {
	if r == sluice.Unlimited {
		return "unlimited"
	}
	return short(r)
}
