// Command sluice is the host's side of Sluice: the daemon (sluice serve) and
// the command line that asks it. All of its work is done by the packages it
// wires together; see docs/architecture.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice"
	"sluice/http"
)

var version = "unknown" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := command()
	root.SetArgs(spellOut(os.Args[1:]))
	err := root.ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "sluice:", printable(err.Error()))
	var told *sluice.Error
	if !errors.As(err, &told) {
		os.Exit(sluice.Invalid.ExitStatus()) // cobra's: an unknown flag or command
	}
	os.Exit(told.Code.ExitStatus())
}

// command is the whole command line.
func command() *cobra.Command {
	root := &cobra.Command{
		Use: "sluice", Short: "Bandwidth of virtual machines, watched and changed live",
		Version: version, SilenceErrors: true, SilenceUsage: true,
	}
	var c client
	root.PersistentFlags().StringVar(&c.socket, "socket", socketPath(), "the daemon's Unix socket; also by SLUICE_SOCKET")
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "text", strings.Join(outputs, ", "))
	c.completeFlag(root, "output", func(context.Context, *http.Client, []string) []string { return outputs })
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(outputs, c.output) {
			return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("there is no output %q", c.output), Unchanged: "nothing was changed", Try: "-o " + strings.Join(outputs, ", -o ")}
		}
		return nil
	}
	root.SetFlagErrorFunc(wrongFlag)
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"watch", "Watch:", []*cobra.Command{listCommand(&c), showCommand(&c), topCommand(&c), historyCommand(&c)}},
		{"change", "Change:", []*cobra.Command{setCommand(&c), changesCommand(&c), undoCommand(&c), confirmCommand(&c), applyCommand(&c), exportCommand(&c), forgetCommand(&c)}},
		{"groups", "Groups, profiles and the link:", []*cobra.Command{groupCommand(&c), profileCommand(&c), capacityCommand(&c)}},
		{"host", "The host:", []*cobra.Command{serveCommand(&c), doctorCommand(&c), backupCommand(&c), restoreCommand(&c), bundleCommand(&c), guestSetupCommand(), labCommand(&c), versionCommand(&c)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID("host")
	root.SetCompletionCommandGroupID("host")
	explain(root)
	if more != nil {
		more(root)
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return c.summary(cmd.Context(), cmd.OutOrStdout()) }
	return root
}

// wrongFlag says of a flag's value what it should be, and not how it was read.
func wrongFlag(_ *cobra.Command, err error) error {
	told := &sluice.Error{Code: sluice.Invalid, Message: err.Error(), Unchanged: "nothing was changed", Try: "--help, which lists them"}
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		told.Message = fmt.Sprintf("invalid value %.40q for --%s", value.GetValue(), value.GetFlag().Name)
		told.Try = value.GetFlag().Usage
	}
	return told
}

func socketPath() string {
	if s := os.Getenv("SLUICE_SOCKET"); s != "" {
		return s
	}
	return "/run/sluice/sluice.sock"
}
