package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sluice"
)

// explain has every command say, of arguments that do not fit, how it is used.
func explain(cmd *cobra.Command) {
	if fits := cmd.Args; fits != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if fits(cmd, args) == nil {
				return nil
			}
			return &sluice.Error{Code: sluice.Invalid, Message: usage(cmd, args), Unchanged: "nothing was changed",
				Try: strings.TrimSpace(strings.Split(strings.TrimSpace(cmd.Example), "\n")[0])}
		}
	}
	for _, sub := range cmd.Commands() {
		explain(sub)
	}
}

// usage is how a command is written, and what it was given.
func usage(cmd *cobra.Command, args []string) string {
	given := "no arguments"
	if len(args) > 0 {
		given = fmt.Sprintf("%.80q", strings.Join(args, " "))
	}
	return fmt.Sprintf("usage: %s, and it was given %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"), given)
}
