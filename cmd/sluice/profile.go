package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/http"
)

func profileCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "profile", Short: "settings that new vifs have, before anybody sets them", Args: cobra.NoArgs,
		Long: "Profiles are settings under a name. A vif has one, by the first of these that says so: sluice set VM VIF --profile NAME;\n" +
			"what the VM's own description on the host asks for; a pattern of VM names; the default. What is set for a vif itself\n" +
			"wins over its profile, field by field; sluice show VM says where each value comes from.",
		Example: "  sluice profile set small 100mbit --guarantee 10mbit\n  sluice profile default small\n  sluice profile match 'db-*' gold\n  sluice set web 0 --profile gold\n  sluice profile",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.daemon().Profiles(cmd.Context())
			if err != nil {
				return err
			}
			vifs, err := c.daemon().AllVIFs(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), p, func(w io.Writer) { printProfiles(w, p, vifs) })
		}}
	dry := false
	plain := func(use, short, example string, args cobra.PositionalArgs, complete cobra.CompletionFunc, request func(args []string) http.ProfileRequest) *cobra.Command {
		one := &cobra.Command{Use: use, Short: short, Example: "  " + example, Args: args, ValidArgsFunction: complete,
			RunE: func(cmd *cobra.Command, args []string) error {
				r := request(args)
				r.DryRun = dry
				return c.setProfiles(cmd, r)
			}}
		one.Flags().BoolVar(&dry, "dry-run", false, "change nothing, but say what would change")
		return one
	}
	cmd.AddCommand(profileSetCommand(c),
		plain("delete NAME", "take a profile away", "sluice profile delete small", cobra.ExactArgs(1), c.complete(profiles),
			func(args []string) http.ProfileRequest { return http.ProfileRequest{Name: args[0], Delete: true} }),
		plain("default NAME", "what has no other profile has this one; none for none", "sluice profile default small", cobra.ExactArgs(1), c.complete(profilesAndNone),
			func(args []string) http.ProfileRequest { return http.ProfileRequest{Default: profileNamed(args[0])} }),
		plain("match PATTERN NAME", "VMs whose name is as the pattern says have this profile; none takes the pattern away", "sluice profile match 'db-*' gold", cobra.ExactArgs(2), nil,
			func(args []string) http.ProfileRequest {
				return http.ProfileRequest{Match: &sluice.Match{Pattern: args[0], Profile: *profileNamed(args[1])}}
			}))
	return cmd
}

// profileNamed is a profile's name as the daemon has it: none is "".
func profileNamed(name string) *string {
	if name == "none" {
		name = ""
	}
	return &name
}

func profileSetCommand(c *client) *cobra.Command {
	var w wish
	cmd := &cobra.Command{Use: "set NAME [RATE]", Short: "make a profile, or change it and all vifs that have it, live", Args: cobra.RangeArgs(1, 2),
		Long: "Make a profile, or change it and all vifs that have it, live: all of them, or none. RATE is the limit, as in sluice set.\n" +
			"What is not said stays as it is; what was never said is not set by the profile.",
		Example:           "  sluice profile set small 100mbit --guarantee 10mbit\n  sluice profile set gold --tx 1gbit --weight 400 --dry-run",
		ValidArgsFunction: c.complete(profiles),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := w.values(cmd, args[1:])
			if err != nil {
				return err
			}
			p := http.ProfileRequest{Name: args[0], Tx: r.Tx, Rx: r.Rx, DryRun: w.dry}
			if cmd.Flags().Changed("group") {
				p.Group = &w.group
			}
			return c.setProfiles(cmd, p)
		}}
	f := cmd.Flags()
	w.shareFlags(cmd)
	f.BoolVar(&w.dry, "dry-run", false, "change nothing, but say what would change")
	f.StringVar(&w.group, "group", "", "its vifs share in this group; host for none")
	f.IntVar(&w.priority, "priority", 0, "1: its vifs are served before bulk, within the guarantee")
	c.completeFlag(cmd, "group", groupsAndHost)
	return cmd
}

// setProfiles has the daemon change the profiles, and says which vifs changed.
func (c *client) setProfiles(cmd *cobra.Command, r http.ProfileRequest) error {
	answer, err := c.daemon().SetProfiles(cmd.Context(), r)
	if err != nil {
		return err
	}
	return c.print(cmd.OutOrStdout(), answer, func(w io.Writer) {
		printMany(w, answer.Changes, r.DryRun)
		said := "of those that are known now nobody changes by it; who comes later has it from the first frame on"
		if len(answer.Changes) > 0 {
			said = fmt.Sprintf("%d changes", len(answer.Changes))
		}
		switch {
		case r.DryRun:
			said += "; nothing was changed"
		case r.Delete:
			said = fmt.Sprintf("profile %s is deleted; %s", r.Name, said)
		case r.Name != "":
			x, _ := answer.Profiles.Find(r.Name)
			said = fmt.Sprintf("profile %s is %s; %s", r.Name, x.Allocations, said)
		}
		fmt.Fprintln(w, said)
	})
}

func printProfiles(w io.Writer, p sluice.Profiles, vifs []sluice.VIFStatus) {
	have := make(map[string]int)
	for _, v := range vifs {
		have[v.Profile]++
	}
	fmt.Fprintln(w, "PROFILE\tTX LIMIT\tGUARANTEE\tWEIGHT\tRX LIMIT\tGUARANTEE\tWEIGHT\tGROUP\tFOR\tVIFS")
	for _, x := range p.All {
		var to []string
		if x.Name == p.Default {
			to = append(to, "all others")
		}
		for _, m := range p.Match {
			if m.Profile == x.Name {
				to = append(to, m.Pattern)
			}
		}
		said := func(f sluice.Fields, value any) string {
			if !x.Own.Has(f) {
				return "-"
			}
			return fmt.Sprint(value)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", x.Name,
			said(sluice.TxLimit, x.Tx.Limit), said(sluice.TxGuarantee, x.Tx.Guarantee), said(sluice.TxWeight, x.Tx.Weight),
			said(sluice.RxLimit, x.Rx.Limit), said(sluice.RxGuarantee, x.Rx.Guarantee), said(sluice.RxWeight, x.Rx.Weight),
			said(sluice.InGroup, x.Group), cmp.Or(strings.Join(to, ", "), "-"), have[x.Name])
	}
}

// printOrigin says where a vif's values come from.
func printOrigin(w io.Writer, p sluice.Profiles, v sluice.VIFStatus) {
	its, ok := p.Find(v.Profile)
	if v.Own == 0 && !ok {
		return
	}
	words := func(f sluice.Fields) string {
		return strings.ReplaceAll(strings.Join((f&^sluice.ByProfile).Names(), ", "), ".", " ")
	}
	var parts []string
	if own := words(v.Own); own != "" {
		parts = append(parts, "set for it itself: "+own)
	}
	if ok {
		now := allocations(v.Tx, v.Rx, v.Group)
		now.Profile, now.Own = v.Profile, v.Own
		name, why := p.For(v.VIF, now)
		if name != v.Profile {
			why = "its VM's description asks for it"
		}
		if by := words(its.Own &^ v.Own); by != "" {
			parts = append(parts, fmt.Sprintf("by profile %s (%s): %s", v.Profile, why, by))
		} else {
			parts = append(parts, fmt.Sprintf("profile %s (%s) adds nothing", v.Profile, why))
		}
	}
	fmt.Fprintf(w, "%s: %s; the rest is as if nobody ever set it\n", v, strings.Join(parts, "; "))
}
