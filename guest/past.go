package guest

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"sluice"
)

// Past calls visit with the samples of the database at path from a time on,
// oldest first. The collector that writes it may be running or not. It is
// NotFound if there is no database.
func Past(ctx context.Context, path string, from time.Time, visit func(sluice.Sample) error) error {
	err := past(ctx, path, from, visit)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &sluice.Error{Code: sluice.NotFound, Message: "there is no database at " + path, Try: "name it with --database, or start sluice-guest"}
	case errors.Is(err, fs.ErrPermission):
		return &sluice.Error{Code: sluice.Refused, Message: "cannot read the database at " + path, Try: "ask as root, or as the collector's user", Err: err}
	}
	return &sluice.Error{Code: sluice.Unavailable, Message: "cannot read the database at " + path, Err: err}
}

func past(ctx context.Context, path string, from time.Time, visit func(sluice.Sample) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	file, err := os.Open(path) // this process has no locks on it to lose
	if err != nil {
		return err
	}
	file.Close()
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(500)", "query_only(1)"}}
	if size(path+"-wal") == 0 { // then nobody writes, and reading needs no right to make files beside it
		query.Set("immutable", "1")
	}
	db, err := openSQLite(path, query)
	if err != nil {
		return err
	}
	defer db.Close()
	after, err := before(ctx, db, from)
	if err != nil {
		return err
	}
	for {
		got, err := since(ctx, db, "", after, MaxLimit)
		if err != nil {
			return err
		}
		for _, s := range got.Samples {
			after = s.ID
			if s.At.Before(from) {
				continue
			}
			if err := visit(s); err != nil {
				return err
			}
		}
		if !got.More {
			return nil
		}
	}
}

// before returns the ID behind which the samples from a time on begin.
func before(ctx context.Context, db *sql.DB, from time.Time) (id uint64, err error) {
	err = db.QueryRowContext(ctx, "SELECT coalesce(min(id) - 1, (SELECT max(id) FROM sample), 0) FROM sample WHERE at_ms >= ?", from.UnixMilli()).Scan(&id)
	return id, err
}
