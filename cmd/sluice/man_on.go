//go:build man

package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// more adds a command that writes the manual's pages, a file for each command.
var more = func(root *cobra.Command) {
	root.AddCommand(&cobra.Command{Use: "man DIR", Hidden: true, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		root.DisableAutoGenTag = true
		root.InitDefaultCompletionCmd()
		for _, c := range root.Commands() {
			if strings.HasPrefix(c.Use, "lab") {
				c.Hidden = true // for a checkout of the source
			}
		}
		return doc.GenManTree(root, &doc.GenManHeader{Title: "SLUICE", Section: "1", Source: "sluice", Manual: "Sluice"}, args[0])
	}})
}
