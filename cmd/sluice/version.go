package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// versions says which program this is, and how it was built.
type versions struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// ours are the versions of this program.
func ours() versions {
	return versions{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
}

func versionCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "the version of this program", Args: cobra.NoArgs, Example: "  sluice version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := ours()
			return c.print(cmd.OutOrStdout(), v, func(w io.Writer) { fmt.Fprintf(w, "sluice version %s (%s, %s)\n", v.Version, v.Go, v.System) })
		}}
}
