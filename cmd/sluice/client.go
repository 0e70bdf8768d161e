package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

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

// input opens a file that was named, or what is piped in for -; what says in an
// error what it would have been.
func input(cmd *cobra.Command, name, what string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: what + " cannot be read", Unchanged: "nothing was changed", Err: err}
	}
	return f, nil
}

// unborn says whether a finding is that no daemon was started yet: that is no fault of the host.
func (c *client) unborn(f sluice.Finding) bool {
	_, err := os.Lstat(c.socket)
	return f.Name == "daemon" && !f.OK && errors.Is(err, fs.ErrNotExist)
}

func doctorCommand(c *client) *cobra.Command {
	var cleanup bool
	cmd := &cobra.Command{Use: "doctor", Short: "what this host can and cannot do, and what to do about it", Args: cobra.NoArgs, Example: "  sluice doctor",
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
					if c.unborn(f) {
						mark = "not yet"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.Name, f.Detail)
					if f.Try != "" {
						fmt.Fprintf(w, "\t\ttry: %s\n", f.Try)
					}
				}
			})
			for _, f := range found {
				if !f.OK && !c.unborn(f) && err == nil {
					err = &sluice.Error{Code: sluice.Unsupported, Message: "this needs a look: " + f.Name, Try: f.Try}
				}
			}
			return err
		}}
	cmd.Flags().BoolVar(&cleanup, "cleanup", false, "take everything of Sluice's out of the kernel; stop the daemon first")
	return cmd
}
