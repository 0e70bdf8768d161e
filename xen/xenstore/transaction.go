package xenstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Transaction calls do with a View in which its requests are one: others see
// all of them or none, and it sees nobody else's. When another writer came
// between ([ErrConflict]) it begins again and calls do again, until ctx ends;
// so do must not keep anything from an earlier call. An error of do undoes
// everything and is returned as it is. [ErrLost] means that xenstored went
// away; at the very end the transaction may yet have been carried out.
func (c *Client) Transaction(ctx context.Context, do func(View) error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := c.try(ctx, do)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("xenstore: transaction: %w", ctx.Err())
		}
	}
}

func (c *Client) try(ctx context.Context, do func(View) error) error {
	now, err := c.current(ctx)
	if err != nil {
		return fmt.Errorf("xenstore: transaction: %w", err)
	}
	answer, err := now.request(ctx, opTransactionStart, 0, arguments(""))
	if err != nil {
		return fmt.Errorf("xenstore: transaction: %w", err)
	}
	id, err := strconv.ParseUint(first(answer), 10, 32)
	if err != nil || id == 0 {
		now.breakUp()
		return fmt.Errorf("xenstore: transaction: %q is not a transaction's number", first(answer))
	}
	end := func(ctx context.Context, commit string) error {
		_, err := now.request(ctx, opTransactionEnd, uint32(id), arguments(commit))
		return err
	}
	if err := do(View{client: c, tx: uint32(id), conn: now}); err != nil {
		// Also when ctx has ended: an open transaction costs xenstored.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = end(ctx, "F")
		return err
	}
	if err := end(ctx, "T"); err != nil {
		return fmt.Errorf("xenstore: transaction: %w", err)
	}
	return nil
}
