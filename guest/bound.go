package guest

import (
	"context"
	"time"
)

const (
	pruneEvery = 16 // appends
	pruneStep  = 64 // samples deleted at once, so that no step takes long
)

// bound makes room before an append: now and then it deletes a few of the
// oldest samples, and it keeps the log within its share.
func (d *database) bound() error {
	if d.turn++; d.turn >= pruneEvery {
		d.turn = 0
		if err := d.prune(false); err != nil {
			return err
		}
	}
	if size(d.path+"-wal") <= d.limits.maxLog() {
		return nil
	}
	if time.Since(d.held) < time.Second {
		return errHeld // asking again would make every sample wait
	}
	var busy, log, done int
	err := d.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done)
	if err == nil && busy != 0 {
		d.held = time.Now()
		return errHeld
	}
	return err
}

// prune deletes at most pruneStep of the oldest samples: those out of age, by
// a clock that may have stepped either way, or any while there is little room.
func (d *database) prune(force bool) error {
	ctx := context.Background()
	var pages, free, most int64
	for pragma, to := range map[string]*int64{"page_count": &pages, "freelist_count": &free, "max_page_count": &most} {
		if err := d.conn.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(to); err != nil {
			return err
		}
	}
	force = force || pages-free > most*9/10
	now := time.Now()
	var last int64
	err := d.conn.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM (SELECT id, at_ms FROM sample ORDER BY id LIMIT ?)
		WHERE ? OR at_ms NOT BETWEEN ? AND ?`, pruneStep, force,
		now.Add(-d.limits.MaxAge).UnixMilli(), now.Add(d.limits.MaxAge).UnixMilli()).Scan(&last)
	if err != nil || last == 0 {
		return err
	}
	return d.transaction(func() error {
		if _, err := d.conn.ExecContext(ctx, "DELETE FROM nic WHERE id < ?", (last+1)<<placeBits); err != nil {
			return err
		}
		_, err := d.conn.ExecContext(ctx, "DELETE FROM sample WHERE id <= ?", last)
		return err
	})
}
