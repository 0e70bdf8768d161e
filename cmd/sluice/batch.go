package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/google/shlex"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice"
	"sluice/http"
)

// setAll has the daemon make all changes of a file as one.
func (c *client) setAll(cmd *cobra.Command, from string, dry bool) error {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "from" && f.Name != "dry-run" && cmd.LocalNonPersistentFlags().Lookup(f.Name) != nil {
			from, dry = "", false
		}
	})
	if from == "" {
		return &sluice.Error{Code: sluice.Invalid, Message: "--from goes with --dry-run only", Unchanged: "nothing was changed", Try: "the other flags in the file's lines"}
	}
	in, err := input(cmd, from, "the changes")
	if err != nil {
		return err
	}
	defer in.Close()
	all, err := readBatch(in, from)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].DryRun = dry
		if err := c.onlyVIF(cmd.Context(), &all[i]); err != nil {
			return err
		}
	}
	c.warn(cmd, all)
	changes, err := c.daemon().SetAll(cmd.Context(), all)
	if err != nil {
		return err
	}
	return c.print(cmd.OutOrStdout(), changes, func(w io.Writer) {
		printMany(w, changes, dry)
		if dry {
			fmt.Fprintln(w, "nothing was changed")
			printEffect(w, changes[len(changes)-1])
		}
	})
}

// printMany says of each change what became of it, or with dry what would.
func printMany(w io.Writer, changes []sluice.Change, dry bool) {
	for _, change := range changes {
		name := sluice.VIF{VM: change.VM, Index: change.VIF}
		if dry {
			fmt.Fprintf(w, "%s would change from %s to %s\n", name, change.From, change.To)
			continue
		}
		fmt.Fprintf(w, "%s: %s, was %s; %s (change %d)\n", name, change.To, change.From, became(change), change.ID)
		if change.Until != nil {
			fmt.Fprintln(w, "  "+reverts(change))
		}
	}
}

// readBatch reads changes, one a line, as set's arguments, quoted as a shell
// takes them. A # that begins a word begins a comment. Errors name the line.
func readBatch(in io.Reader, name string) (all []http.ChangeRequest, err error) {
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		words, err := shlex.Split(lines.Text())
		if err == nil && len(words) == 0 {
			continue
		}
		var r http.ChangeRequest
		if err == nil {
			r, err = readChange(words)
		}
		if err != nil {
			e := &sluice.Error{Code: sluice.Invalid, Message: err.Error(), Unchanged: "nothing was changed"}
			var told *sluice.Error
			if errors.As(err, &told) {
				*e = *told
			}
			e.Message = fmt.Sprintf("%s, line %d: %s", name, n, e.Message)
			return nil, e
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: name + " cannot be read", Unchanged: "nothing was changed", Err: err}
	}
	if len(all) == 0 {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: name + " has no changes", Unchanged: "nothing was changed", Try: "a line such as: web 0 100mbit --guarantee 20mbit"}
	}
	return all, nil
}

// readChange reads one as the command line does.
func readChange(words []string) (r http.ChangeRequest, err error) {
	var w wish
	one := &cobra.Command{Use: "set VM [VIF] [RATE]", Args: setArgs, SilenceErrors: true, SilenceUsage: true}
	one.RunE = func(cmd *cobra.Command, args []string) (err error) {
		r, err = w.request(cmd, args)
		return err
	}
	w.valueFlags(one)
	w.leaseFlags(one)
	w.vifFlags(one)
	one.SetFlagErrorFunc(wrongFlag)
	explain(one)
	one.SetArgs(spellOut(append([]string{"set"}, words...))[1:])
	one.SetOut(io.Discard)
	one.SetErr(io.Discard)
	if err := one.Execute(); err != nil {
		return r, err
	}
	if r.VM == "" { // it asked for help
		return r, errors.New("it changes nothing")
	}
	return r, nil
}
