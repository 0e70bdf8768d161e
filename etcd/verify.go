package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// mostUnborn is the size of a database without a change in it, in bytes.
const mostUnborn = 64 << 10

// unborn says whether a database that cannot be read is of a store whose very
// first start was cut short, as by a full disk: it has no log, which is made
// after it, and is small. It is removed then, so that the store is made anew.
func unborn(dir string) bool {
	path := filepath.Join(dir, "member", "snap", "db")
	info, err := os.Stat(path)
	if err != nil || info.Size() > mostUnborn || exists(filepath.Join(dir, "member", "wal")) {
		return false
	}
	return os.Remove(path) == nil
}

// logThere refuses a database whose log is gone. etcd would wait for itself
// for ever, and the newest changes are in the log alone.
func logThere(dir string) error {
	files := filepath.Join(dir, "member", "wal")
	found, err := filepath.Glob(filepath.Join(files, "*.wal"))
	info, statErr := os.Stat(filepath.Join(dir, "member", "snap", "db"))
	if err != nil || len(found) > 0 || statErr != nil || info.Size() <= mostUnborn && !exists(files) {
		return err
	}
	return fmt.Errorf("its log is missing: %s has no .wal file", files)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// verify reads etcd's database from end to end before etcd does. A damaged
// page is a panic in the database's library; here it becomes an error, where
// etcd would meet it on a goroutine of its own and take the daemon with it.
func verify(dir string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its database is damaged: %v", p)
		}
	}()
	db, err := bbolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new store
	}
	if err != nil {
		return fmt.Errorf("its database is damaged: %w", err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}
