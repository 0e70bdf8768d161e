package xen

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"sluice"
	"sluice/xen/xenstore"
)

// writeValue has a vif's allocations stand in its back-end's folder. It writes
// only what differs, because every write is told to all who watch, and asks
// for everything at once, because a way to xenstored and back is long.
func writeValue(ctx context.Context, v xenstore.View, backend string, value sluice.Allocations) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, d := range sluice.Directions {
		a := value.Get(d)
		for name, word := range map[string]string{
			"limit": a.Limit.String(), "guarantee": a.Guarantee.String(),
			"weight": strconv.Itoa(a.Weight), "priority": strconv.Itoa(a.Priority),
		} {
			all.Go(func() error {
				path := fmt.Sprintf("%s/sluice/%s/%s", backend, d, name)
				now, err := optional(ctx, v, path)
				if err != nil || now == word {
					return err
				}
				return v.WriteString(ctx, path, word)
			})
		}
	}
	return all.Wait()
}

// readValue reads what writeValue or a person wrote. A node that is not there
// leaves its part as it is in value. An error of code [sluice.Invalid] names
// the node that makes no sense.
func readValue(ctx context.Context, v xenstore.View, backend string, value sluice.Allocations) (sluice.Allocations, error) {
	for d, a := range map[sluice.Direction]*sluice.Allocation{sluice.Tx: &value.Tx, sluice.Rx: &value.Rx} {
		for name, parse := range map[string]func(string) error{
			"limit":     func(s string) error { return a.Limit.UnmarshalText([]byte(s)) },
			"guarantee": func(s string) error { return a.Guarantee.UnmarshalText([]byte(s)) },
			"weight":    func(s string) error { return integer(s, &a.Weight) },
			"priority":  func(s string) error { return integer(s, &a.Priority) },
		} {
			path := fmt.Sprintf("%s/sluice/%s/%s", backend, d, name)
			s, err := v.ReadString(ctx, path)
			if errors.Is(err, xenstore.ErrNotFound) {
				continue
			}
			if err != nil {
				return value, err
			}
			if err := parse(strings.TrimSpace(s)); err != nil {
				return value, &sluice.Error{Code: sluice.Invalid, Message: "xenstore's " + path, Err: err}
			}
		}
	}
	return value, value.Check(sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited})
}

func integer(s string, into *int) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%.40q is not a whole number", s)}
	}
	*into = n
	return nil
}
