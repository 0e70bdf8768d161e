package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice"
)

func historyCommand(c *client) *cobra.Command {
	since := 10 * time.Minute
	cmd := &cobra.Command{Use: "history VM", Short: "what a VM used, over the minutes that the daemon remembers", Args: cobra.ExactArgs(1), Example: "  sluice history web --since 5m", ValidArgsFunction: c.complete(vms),
		Long: "What a VM's vifs used over the last minutes, as the host counted it: a line for each of at most 30\n" +
			"equal spans, with the mean and the most of any data set in it. The daemon remembers ten minutes; the\n" +
			"VM's own collector keeps a day: sluice-guest show, inside the VM.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if since < time.Second || since > 10*time.Minute {
				return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("--since %s is out of range", since),
					Try: "1s to 10m; sluice-guest show, inside the VM, goes back a day"}
			}
			vifs, err := c.daemon().VM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			past, err := c.daemon().Recent(cmd.Context(), int(since/time.Second))
			if err != nil {
				return err
			}
			var its []sluice.RecentVIF
			for _, v := range past.VIFs {
				if slices.ContainsFunc(vifs, func(its sluice.VIFStatus) bool { return its.Key() == v.Key }) {
					its = append(its, v)
				}
			}
			past.VIFs = its
			return c.print(cmd.OutOrStdout(), past, func(w io.Writer) {
				for _, v := range its {
					printHistory(w, past.At, v)
				}
			})
		}}
	cmd.Flags().DurationVar(&since, "since", since, "how far back, 1s to 10m")
	return cmd
}

// spans is how many lines a history has at most.
const spans = 30

func printHistory(w io.Writer, at []int64, v sluice.RecentVIF) {
	fmt.Fprintf(w, "%s vif %d\tTX\tMOST\t\tRX\tMOST\t\n", v.VM, v.VIF)
	per := (len(at) + spans - 1) / spans
	mostTx, mostRx := summary(v.Tx), summary(v.Rx)
	for i := 0; i < len(at); i += per {
		end := min(i+per, len(at))
		tx, rx := summary(v.Tx[i:end]), summary(v.Rx[i:end])
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", time.UnixMilli(at[i]).Format("15:04:05"),
			tx.mean(), tx.top(), tx.bar(mostTx), rx.mean(), rx.top(), rx.bar(mostRx))
	}
}

// measured sums up what was measured of one direction.
type measured struct {
	sum, most float64
	n         int
}

func summary(rates []*float64) (m measured) {
	for _, r := range rates {
		if r != nil {
			m.sum, m.most, m.n = m.sum+*r, max(m.most, *r), m.n+1
		}
	}
	return m
}

func (m measured) mean() string {
	if m.n == 0 {
		return "-"
	}
	return short(sluice.Rate(m.sum / float64(m.n)))
}

func (m measured) top() string {
	if m.n == 0 {
		return "-"
	}
	return short(sluice.Rate(m.most))
}

func (m measured) bar(of measured) string {
	if m.n == 0 || of.most == 0 {
		return ""
	}
	return strings.Repeat("█", int(m.sum/float64(m.n)/of.most*20+0.5))
}
