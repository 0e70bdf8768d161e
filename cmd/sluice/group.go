package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/http"
)

func groupCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "group", Short: "vifs that share a guarantee, a limit and a weight: a tenant, or a VM of several",
		Long: "Groups, and what their members use together. A group is made by setting it; a vif is put into it by\n" +
			"sluice set VM VIF --group NAME, and taken out by --group host.",
		Example: "  sluice group set gold 500mbit --guarantee 200mbit\n  sluice set web 0 --group gold\n  sluice group\n  sluice group delete gold",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			groups, err := c.daemon().Groups(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), groups, func(w io.Writer) { printGroups(w, groups) })
		}}
	cmd.AddCommand(groupSetCommand(c), &cobra.Command{Use: "delete NAME", Short: "take a group away that has no members any more", Args: cobra.ExactArgs(1), Example: "  sluice group delete gold", ValidArgsFunction: c.complete(groups),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := c.daemon().Set(cmd.Context(), http.ChangeRequest{VM: sluice.GroupVIF(args[0]).VM, Delete: true})
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), change, func(w io.Writer) {
				fmt.Fprintf(w, "group %s is deleted; sluice undo %d restores it\n", args[0], change.ID)
			})
		}})
	return cmd
}

func groupSetCommand(c *client) *cobra.Command {
	var w wish
	cmd := &cobra.Command{Use: "set NAME [RATE]", Short: "make a group, or change what its members may use together, live",
		Long: "Make a group, or change what its members may use together, live. RATE is the limit, as in sluice set.\n" +
			"What its members are guaranteed comes out of the group's guarantee; its weight is shared among those of them that send.",
		Example: "  sluice group set gold 500mbit --guarantee 200mbit\n  sluice group set gold --weight 400 --for 2h\n  sluice group set batch --group gold",
		Args:    cobra.RangeArgs(1, 2), ValidArgsFunction: c.complete(groups),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sluice.CheckGroup(args[0]); err != nil {
				return err
			}
			r, err := w.values(cmd, args[1:])
			if err != nil {
				return err
			}
			r.VM = sluice.GroupVIF(args[0]).VM
			if said := cmd.Flags().Changed; said("group") || !said("weight") && !said("guarantee") && len(args) == 1 && !said("tx") && !said("rx") {
				r.Group = &w.group // nothing else said: it is made, with the defaults
			}
			change, err := c.setOne(cmd, r)
			if err != nil {
				return err
			}
			return c.printChange(cmd.OutOrStdout(), change, w.dry)
		}}
	w.flags(cmd)
	cmd.Flags().StringVar(&w.group, "group", "", "the group that it is in; host for none")
	c.completeFlag(cmd, "group", groupsAndHost)
	return cmd
}

func printGroups(w io.Writer, groups []sluice.GroupStatus) {
	fmt.Fprintln(w, "GROUP\tIN\tTX\tLIMIT\tGUARANTEE\tWEIGHT\tRX\tLIMIT\tGUARANTEE\tWEIGHT\tMEMBERS")
	for _, g := range groups {
		fmt.Fprintf(w, "%s\t%s\t", g.Name, g.Parent)
		for _, d := range []sluice.DirectionStatus{g.Tx, g.Rx} {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t", short(d.Usage), d.Limit, d.Guarantee, d.Weight)
		}
		fmt.Fprintln(w, cmp.Or(strings.Join(g.Members, ", "), "none"))
	}
}
