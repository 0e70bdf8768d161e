package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/control"
	"sluice/http"
)

// spellOut lets --tx and --rx stand without a rate, for "only this
// direction": flags that take a value sometimes are nothing that flag
// libraries know.
func spellOut(args []string) []string {
	at := slices.Index(args, "set") // of set, and of group set
	if at < 0 {
		return args
	}
	out := slices.Clone(args[:at+1])
	for i := at + 1; i < len(args); i++ {
		if args[i] != "--tx" && args[i] != "--rx" {
			out = append(out, args[i])
			continue
		}
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			out = append(out, args[i]+"="+args[i+1])
			i++
			continue
		}
		out = append(out, args[i]+"=")
	}
	return out
}

// wish is what the flags of set say.
type wish struct {
	tx, rx, guarantee string
	group, profile    string
	reset             bool
	weight, priority  int
	revision          uint64
	dry               bool
	length, confirm   time.Duration
}

func setCommand(c *client) *cobra.Command {
	var w wish
	from := ""
	cmd := &cobra.Command{
		Use:   "set VM [VIF] [RATE]",
		Short: "change what a vif may use, live",
		Long: "Change what a vif may use, live. VIF may be left out where the VM has one. RATE is the limit of both directions, or of those named by --tx and --rx alone;\n" +
			"each may have a rate of its own, and RATE is the other's then. Directions are the VM's: tx is what it sends. Rates: 10mbit, 1.5gbit, 10Mb/s, unlimited.",
		Example: "  sluice set web 100mbit\n  sluice set web 0 100mbit\n  sluice set web 0 100mbit --tx\n  sluice set web 0 --tx 10mbit --rx 1gbit\n  sluice set web 0 unlimited\n" +
			"  sluice set web 0 --guarantee 200mbit --dry-run\n  sluice set web 0 10mbit --for 10m\n  sluice set web 0 10mbit --confirm 60s\n" +
			"  sluice set --from plan.txt --dry-run",
		Args: func(cmd *cobra.Command, args []string) error {
			if from != "" {
				return cobra.NoArgs(cmd, args)
			}
			return setArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if from != "" {
				return c.setAll(cmd, from, w.dry)
			}
			r, err := w.request(cmd, args)
			if err != nil {
				return err
			}
			if err := c.onlyVIF(cmd.Context(), &r); err != nil {
				return err
			}
			change, err := c.setOne(cmd, r)
			if err != nil {
				return err
			}
			return c.printChange(cmd.OutOrStdout(), change, w.dry)
		},
	}
	w.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "a file of changes, or - for what is piped in: in every line what would follow set; all are made, or none")
	w.vifFlags(cmd)
	cmd.ValidArgsFunction = c.complete(vms, indexes)
	c.completeFlag(cmd, "group", groupsAndHost)
	c.completeFlag(cmd, "profile", profilesAndNone)
	return cmd
}

// setOne makes a change, which reverts by itself if it may cut off whoever
// makes it.
func (c *client) setOne(cmd *cobra.Command, r http.ChangeRequest) (sluice.Change, error) {
	c.protect(cmd, &r)
	return c.daemon().Set(cmd.Context(), r)
}

// vifFlags are those that only a vif has.
func (w *wish) vifFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.group, "group", "", "share in this group from now on; host for none")
	f.StringVar(&w.profile, "profile", "", "have this profile from now on, whatever its name and description say; none for no profile")
	f.BoolVar(&w.reset, "reset", false, "drop what was set for the vif itself first: its profile's values hold")
	f.IntVar(&w.priority, "priority", 0, "1: served before bulk, within the guarantee")
}

// flags are those that a vif and a group have both.
func (w *wish) flags(cmd *cobra.Command) {
	w.valueFlags(cmd)
	w.leaseFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&w.dry, "dry-run", false, "change nothing, but say what every vif would get, before and after")
}

// leaseFlags say how long a change holds.
func (w *wish) leaseFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&w.length, "for", 0, "reverts by itself after so long: 10m, 2h")
	f.DurationVar(&w.confirm, "confirm", 0, "reverts after so long unless you say sluice confirm ID")
}

// valueFlags are those of them that say what to set.
func (w *wish) valueFlags(cmd *cobra.Command) {
	w.shareFlags(cmd)
	cmd.Flags().Uint64Var(&w.revision, "revision", 0, "refuse if the settings are not at this revision")
}

// shareFlags are those that a profile has, too.
func (w *wish) shareFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.tx, "tx", "", "what the VM sends: a rate, or nothing for RATE in this direction only")
	f.StringVar(&w.rx, "rx", "", "what the VM receives: likewise")
	f.StringVar(&w.guarantee, "guarantee", "", "what it gets whenever it wants it")
	f.IntVar(&w.weight, "weight", 0, "its share of what is spare, 1 to 10000; 100 unless set")
}

// unsaid is the index of a vif that was left out.
const unsaid = -1

// setArgs takes VM [VIF] [RATE], of which something must be said after VM, if
// only by a flag.
func setArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && cmd.Flags().NFlag() == 0 {
		return errors.New("it changes nothing")
	}
	return cobra.RangeArgs(1, 3)(cmd, args)
}

// onlyVIF says which vif is meant where its index was left out.
func (c *client) onlyVIF(ctx context.Context, r *http.ChangeRequest) error {
	if r.VIF != unsaid {
		return nil
	}
	if _, group := sluice.GroupOf(r.VM); group && !strings.HasPrefix(r.VM, "@@") {
		r.VIF = 0 // it has none
		return nil
	}
	vifs, err := c.daemon().VM(ctx, r.VM)
	if err != nil {
		return err
	}
	here := slices.DeleteFunc(slices.Clone(vifs), func(v sluice.VIFStatus) bool { return v.Absent })
	if len(here) > 0 {
		vifs = here
	}
	if len(vifs) != 1 {
		var all []string
		for _, v := range vifs {
			all = append(all, fmt.Sprintf("%d (%s)", v.Index, cmp.Or(v.Device, "absent")))
		}
		return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s has several vifs: %s", r.VM, strings.Join(all, ", ")), Unchanged: "nothing was changed",
			Try: fmt.Sprintf("say which: sluice set %s %d", r.VM, vifs[0].Index)}
	}
	r.VIF = vifs[0].Index
	return nil
}

// request makes the daemon's words of the command line's.
func (w wish) request(cmd *cobra.Command, args []string) (http.ChangeRequest, error) {
	vif, rest := unsaid, args[1:]
	if len(rest) > 0 && (len(rest) == 2 || strings.Trim(rest[0], "0123456789") == "") {
		var err error
		if vif, err = vifIndex(rest[0]); err != nil {
			return http.ChangeRequest{}, err
		}
		rest = rest[1:]
	}
	r, err := w.values(cmd, rest)
	r.VM, r.VIF = args[0], vif
	if cmd.Flags().Changed("group") {
		r.Group = &w.group
	}
	if r.Reset = w.reset; cmd.Flags().Changed("profile") {
		r.Profile = profileNamed(w.profile)
	}
	return r, err
}

// values are what is asked for, of whatever vif or group; args may have a RATE.
func (w wish) values(cmd *cobra.Command, args []string) (r http.ChangeRequest, err error) {
	r.DryRun = w.dry
	rate := strings.Join(args, "")
	given := cmd.Flags().Changed
	// RATE is for both directions, for those named without a rate, or for the
	// one that is left.
	both := !given("tx") && !given("rx")
	left := rate != "" && (w.tx == "") != (w.rx == "") && given("tx") != given("rx")
	named := func(d string) bool { return both || left || given(d) }
	if rate != "" && w.tx != "" && w.rx != "" {
		return r, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s has no direction left: --tx and --rx have rates of their own", rate), Unchanged: "nothing was changed"}
	}
	patch := func(d, own string) (*control.Patch, error) {
		if !named(d) {
			return nil, nil
		}
		p := &control.Patch{}
		if own == "" {
			own = rate
		}
		if own != "" {
			limit, err := sluice.ParseRate(own)
			if err != nil {
				return nil, err
			}
			p.Limit = &limit
		}
		if w.guarantee != "" {
			g, err := sluice.ParseRate(w.guarantee)
			if err != nil {
				return nil, err
			}
			p.Guarantee = &g
		}
		if given("weight") {
			p.Weight = &w.weight
		}
		if given("priority") {
			p.Priority = &w.priority
		}
		return p, nil
	}
	if r.Tx, err = patch("tx", w.tx); err != nil {
		return r, err
	}
	if r.Rx, err = patch("rx", w.rx); err != nil {
		return r, err
	}
	if given("revision") {
		r.Revision = &w.revision
	}
	if r.ForS, err = wholeSeconds(given("for"), "for", w.length); err != nil {
		return r, err
	}
	if r.ConfirmS, err = wholeSeconds(given("confirm"), "confirm", w.confirm); err != nil {
		return r, err
	}
	return r, nil
}

// wholeSeconds is how long a change is asked for; 0 if it is not.
func wholeSeconds(given bool, flag string, d time.Duration) (int, error) {
	if given && (d < time.Second || d%time.Second != 0) {
		return 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("--%s %s is not a number of seconds", flag, d), Unchanged: "nothing was changed",
			Try: fmt.Sprintf("--%s %s", flag, max(d.Round(time.Second), time.Second))}
	}
	return int(d / time.Second), nil
}
