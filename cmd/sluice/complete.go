package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/http"
)

// completeWithin is how long a person who pressed TAB waits for the daemon.
const completeWithin = time.Second

// words are what may stand at one place of a command line, each perhaps with a
// tab and what it is.
type words func(ctx context.Context, daemon *http.Client, before []string) []string

// complete has a shell offer what stands at each place of a command's arguments.
func (c *client) complete(places ...words) cobra.CompletionFunc {
	return func(cmd *cobra.Command, before []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(before) >= len(places) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, stop := context.WithTimeout(cmd.Context(), completeWithin)
		defer stop()
		return places[len(before)](ctx, c.daemon(), before), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag has a shell offer what a flag takes.
func (c *client) completeFlag(cmd *cobra.Command, flag string, offered words) {
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, stop := context.WithTimeout(cmd.Context(), completeWithin)
		defer stop()
		return offered(ctx, c.daemon(), nil), cobra.ShellCompDirectiveNoFileComp
	}))
}

// vms are the names of all VMs, those that are absent too.
func vms(ctx context.Context, daemon *http.Client, _ []string) []string {
	return vmsThat(ctx, daemon, func(sluice.VIFStatus) bool { return true })
}

// absentVMs are those that something is kept for.
func absentVMs(ctx context.Context, daemon *http.Client, _ []string) []string {
	return vmsThat(ctx, daemon, func(v sluice.VIFStatus) bool { return v.Absent })
}

func vmsThat(ctx context.Context, daemon *http.Client, fit func(sluice.VIFStatus) bool) (names []string) {
	vifs, _ := daemon.AllVIFs(ctx)
	for _, v := range vifs {
		if fit(v) {
			names = append(names, v.VM)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// indexes are the vifs of the VM that stands before.
func indexes(ctx context.Context, daemon *http.Client, before []string) (all []string) {
	vifs, _ := daemon.VM(ctx, before[0])
	for _, v := range vifs {
		all = append(all, fmt.Sprintf("%d\t%s, tx %s, rx %s", v.Index, v.Device, v.Tx.Limit, v.Rx.Limit))
	}
	return all
}

// groups are the names of all.
func groups(ctx context.Context, daemon *http.Client, _ []string) (names []string) {
	all, _ := daemon.Groups(ctx)
	for _, g := range all {
		names = append(names, fmt.Sprintf("%s\ttx %s, rx %s", g.Name, g.Tx.Limit, g.Rx.Limit))
	}
	return names
}

// groupsAndHost are what a vif can be in.
func groupsAndHost(ctx context.Context, daemon *http.Client, before []string) []string {
	return append(groups(ctx, daemon, before), sluice.HostGroup+"\tin no group")
}

// profiles are the names of all profiles.
func profiles(ctx context.Context, daemon *http.Client, _ []string) []string {
	p, err := daemon.Profiles(ctx)
	if err != nil {
		return nil
	}
	names := make([]string, len(p.All))
	for i, x := range p.All {
		names[i] = x.Name + "\t" + x.Allocations.String()
	}
	return names
}

// profilesAndNone are what a vif can have.
func profilesAndNone(ctx context.Context, daemon *http.Client, before []string) []string {
	return append(profiles(ctx, daemon, before), "none\tno profile")
}

// done are the changes that can be undone, the newest first.
func done(ctx context.Context, daemon *http.Client, _ []string) []string {
	return changesThat(ctx, daemon, func(x sluice.Change) bool { return x.Result == sluice.Done && x.Note == "" })
}

// unconfirmed are the changes that wait to be confirmed.
func unconfirmed(ctx context.Context, daemon *http.Client, _ []string) []string {
	return changesThat(ctx, daemon, func(x sluice.Change) bool {
		return x.Result == sluice.Done && x.Confirm && x.ConfirmedBy == "" && x.Until != nil && time.Now().Before(*x.Until)
	})
}

func changesThat(ctx context.Context, daemon *http.Client, fit func(sluice.Change) bool) (all []string) {
	const few = 20
	changes, _ := daemon.Changes(ctx, few)
	for _, x := range changes {
		if fit(x) {
			all = append(all, fmt.Sprintf("%s\t%s to %s", strconv.FormatUint(x.ID, 10), sluice.VIF{VM: x.VM, Index: x.VIF}, x.To))
		}
	}
	return all
}
