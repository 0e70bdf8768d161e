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
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice"
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
	fmt.Fprintln(os.Stderr, "sluice:", err)
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
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "text", "text or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "text" && c.output != "json" {
			return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("there is no output %q", c.output), Try: "-o text or -o json"}
		}
		return nil
	}
	root.SetFlagErrorFunc(wrongFlag)
	root.AddCommand(serveCommand(&c), listCommand(&c), showCommand(&c), topCommand(&c), historyCommand(&c), setCommand(&c), changesCommand(&c), undoCommand(&c), confirmCommand(&c), groupCommand(&c), capacityCommand(&c), doctorCommand(&c), labCommand(&c))
	return root
}

// wrongFlag says of a flag's value what it should be, and not how it was read.
func wrongFlag(_ *cobra.Command, err error) error {
	told := &sluice.Error{Code: sluice.Invalid, Message: err.Error(), Unchanged: "nothing was changed", Try: "--help, which lists them"}
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		told.Message = fmt.Sprintf("%.40q is no value of --%s", value.GetValue(), value.GetFlag().Name)
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
