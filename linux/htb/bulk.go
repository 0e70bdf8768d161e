package htb

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"sluice"
)

// phase is when a step is made where there are many: all classes and queues,
// then what leads to them, then what redirects. A vif's own steps keep their
// order, and no step needs another vif's but for the groups above it, whose
// classes come first.
func phase(o Op) int {
	switch o.Do {
	case MakeTree:
		return 0
	case MakeClass, ChangeClass, MakeQueue, ChangeQueue:
		return 1
	case Lead:
		return 2
	case Redirect:
		return 3
	}
	return 4
}

// together is how many steps' messages are sent at once.
const together = 64

// applyEach makes steps in their order, and returns the error of each.
func (d *Driver) applyEach(ctx context.Context, dir sluice.Direction, ops []Op, failed map[string]error) []error {
	if len(ops) > many {
		return d.applyMany(ctx, dir, ops, failed)
	}
	errs, bad := make([]error, len(ops)), make(map[string]bool)
	for i, op := range ops {
		switch {
		case op.Name != "" && (failed[op.Name] != nil || bad[op.Name]):
			errs[i] = errSkipped
		case ctx.Err() != nil:
			errs[i] = ctx.Err()
		default:
			errs[i] = d.apply(dir, op)
		}
		bad[op.Name] = errs[i] != nil
	}
	return errs
}

// applyMany makes many steps, those of one phase together, and returns the
// error of each. Whose step has failed gets no further.
func (d *Driver) applyMany(ctx context.Context, dir sluice.Direction, ops []Op, failed map[string]error) []error {
	errs := make([]error, len(ops))
	order := make([]int, len(ops))
	for i := range ops {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return phase(ops[a]) - phase(ops[b]) })
	bad := make(map[string]bool)
	for name := range failed {
		bad[name] = true
	}
	note := func(i int, err error) {
		if ops[i].Do == MakeQueue && errors.Is(err, unix.EEXIST) {
			err = nil // another program's
		}
		if errs[i] = err; err != nil {
			bad[ops[i].Name] = true
		}
	}
	for len(order) > 0 {
		var chunk []int
		kind := phase(ops[order[0]])
		for len(order) > 0 && phase(ops[order[0]]) == kind && len(chunk) < together {
			if i := order[0]; ops[i].Name == "" || !bad[ops[i].Name] {
				chunk = append(chunk, i)
			} else {
				errs[i] = errSkipped
			}
			order = order[1:]
		}
		// Alone: what reads in between, and the first queue, which finds out
		// what the kernel has.
		alone := kind != 1 && kind != 3 || !d.queueKnown[dir] && slices.ContainsFunc(chunk, func(i int) bool { return ops[i].Do == MakeQueue })
		if err := ctx.Err(); err != nil {
			for _, i := range chunk {
				note(i, err)
			}
			continue
		}
		if alone {
			for _, i := range chunk {
				note(i, d.apply(dir, ops[i]))
				d.queueKnown[dir] = d.queueKnown[dir] || ops[i].Do == MakeQueue && errs[i] == nil
			}
			continue
		}
		for k, err := range d.conn.Together(len(chunk), func(k int) error { return d.apply(dir, ops[chunk[k]]) }) {
			note(chunk[k], err)
		}
	}
	return errs
}

// errSkipped is of a step that another's failure has made pointless.
var errSkipped = errors.New("an earlier step has failed")
