package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/http"
)

// client is how commands reach the daemon and answer the person.
type client struct {
	socket string
	output string
}

func (c *client) daemon() *http.Client { return http.NewClient(c.socket) }

// print writes v as JSON where that was asked for, else by text.
func (c *client) print(w io.Writer, v any, text func(w io.Writer)) error {
	if c.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	text(t)
	return t.Flush()
}

func listCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "VMs and vifs, their usage and allocation", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			vifs, err := c.daemon().VIFs(cmd.Context())
			if err != nil {
				return err
			}
			return c.printVIFs(cmd.OutOrStdout(), vifs)
		}}
}

func showCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "show VM", Short: "one VM's vifs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			vifs, err := c.daemon().VM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printVIFs(cmd.OutOrStdout(), vifs)
		}}
}

func (c *client) printVIFs(w io.Writer, vifs []sluice.VIFStatus) error {
	return c.print(w, vifs, func(w io.Writer) {
		promised, first, grouped := false, false, false // columns that most hosts have no use for
		for _, v := range vifs {
			promised = promised || v.Tx.Guarantee > 0 || v.Rx.Guarantee > 0 || v.Tx.Weight != sluice.DefaultWeight || v.Rx.Weight != sluice.DefaultWeight
			first = first || v.Tx.Priority > 0 || v.Rx.Priority > 0
			grouped = grouped || v.Group != ""
		}
		each := "LIMIT\t"
		if promised {
			each += "GUARANTEE\tWEIGHT\t"
		}
		if first {
			each += "PRIORITY\t"
		}
		head := "TX\t" + each + "RX\t" + each
		if grouped {
			head += "GROUP\t"
		}
		fmt.Fprintln(w, "VM\tVIF\tDEVICE\tSOURCE\tSTATE\t"+head)
		for _, v := range vifs {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t", v.VM, v.Index, v.Device, v.Source, v.State)
			for _, d := range []sluice.DirectionStatus{v.Tx, v.Rx} {
				fmt.Fprintf(w, "%s\t%s\t", short(d.Usage), d.Limit)
				if promised {
					fmt.Fprintf(w, "%s\t%d\t", d.Guarantee, d.Weight)
				}
				if first {
					fmt.Fprintf(w, "%d\t", d.Priority)
				}
			}
			if grouped {
				fmt.Fprintf(w, "%s\t", v.Group)
			}
			fmt.Fprintln(w, remarks(v))
		}
	})
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

func doctorCommand(c *client) *cobra.Command {
	var cleanup bool
	cmd := &cobra.Command{Use: "doctor", Short: "what this host can and cannot do, and what to do about it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cleanup {
				return clean(cmd.Context())
			}
			found := findings(cmd.Context(), c)
			err := c.print(cmd.OutOrStdout(), found, func(w io.Writer) {
				for _, f := range found {
					mark := "ok"
					if !f.OK {
						mark = "missing"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.Name, f.Detail)
					if f.Try != "" {
						fmt.Fprintf(w, "\t\ttry: %s\n", f.Try)
					}
				}
			})
			for _, f := range found {
				if !f.OK && err == nil {
					err = &sluice.Error{Code: sluice.Unsupported, Message: "this needs a look: " + f.Name, Try: f.Try}
				}
			}
			return err
		}}
	cmd.Flags().BoolVar(&cleanup, "cleanup", false, "take everything of Sluice's out of the kernel; stop the daemon first")
	return cmd
}
