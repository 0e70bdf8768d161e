//go:build !man

package main

import "github.com/spf13/cobra"

// more adds commands that are only for building packages.
var more func(root *cobra.Command)
