package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/http"
)

func forgetCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "forget VM [VIF]", Short: "drop what is kept for a VM that will not come back", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: c.complete(absentVMs, indexes),
		Long: "Drop what is kept for a VM that will not come back, and free what it was guaranteed: of one of its vifs,\n" +
			"or of all that are absent. sluice list --all shows them.",
		Example: "  sluice forget web\n  sluice forget web 1",
		RunE: func(cmd *cobra.Command, args []string) error {
			r := http.ForgetRequest{VM: args[0]}
			if len(args) > 1 {
				vif, err := vifIndex(args[1])
				if err != nil {
					return err
				}
				r.VIF = &vif
			}
			records, err := c.daemon().Forget(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), records, func(w io.Writer) {
				for _, x := range records {
					fmt.Fprintf(w, "%s is forgotten; it had %s (record %d)\n", sluice.VIF{VM: x.VM, Index: x.VIF}, x.From, x.ID)
				}
			})
		}}
}

// vifIndex reads the index of a VM's vif.
func vifIndex(s string) (int, error) {
	vif, err := strconv.Atoi(s)
	if err != nil || vif < 0 {
		return 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not a vif's index", s), Unchanged: "nothing was changed", Try: "0 for the VM's first interface"}
	}
	return vif, nil
}
