package etcd

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice"
)

// A backup is gzip of lines of JSON: a head, a line for each record of the
// store as it was at one moment, and a foot that says how many they are.
const (
	backupFormat = 1
	// mostLine is more than any record has, in bytes; a change is about 1 KiB.
	mostLine = 1 << 20
	// backupPage is how many records are read, or written, at a time.
	backupPage = 100
)

type backupHead struct {
	Format int               `json:"sluice_backup"`
	At     time.Time         `json:"at"`
	With   map[string]string `json:"with,omitempty"` // what the caller keeps beside the store, by name
}

type backupLine struct {
	Key   string          `json:"key,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	Raw   []byte          `json:"raw,omitempty"`     // instead of a value that is no JSON: a damaged record
	Count *int            `json:"records,omitempty"` // the foot's
}

// Backup writes all that the store holds, as it is at one moment, while others
// go on writing; with is kept beside it, for whoever restores.
func (s *Store) Backup(ctx context.Context, w io.Writer, with map[string]string) error {
	zipped := gzip.NewWriter(w)
	enc := json.NewEncoder(zipped)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(backupHead{backupFormat, time.Now().UTC(), with}); err != nil {
		return unwritten(err)
	}
	count, revision, from := 0, int64(0), allPrefix
	for {
		page, err := s.page(ctx, from, revision)
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return &sluice.Error{Code: sluice.Unavailable, Message: "the store was changed too fast for a backup", Unchanged: "nothing was changed", Try: "again"}
		case err != nil:
			return err
		}
		revision = page.Header.Revision
		for _, kv := range page.Kvs {
			line := backupLine{Key: string(kv.Key), Value: kv.Value}
			if !json.Valid(kv.Value) {
				line.Value, line.Raw = nil, kv.Value
			}
			if err := enc.Encode(line); err != nil {
				return unwritten(err)
			}
			count++
			from = string(kv.Key) + "\x00"
		}
		if !page.More {
			break
		}
	}
	if err := errors.Join(enc.Encode(backupLine{Count: &count}), zipped.Close()); err != nil {
		return unwritten(err)
	}
	return nil
}

// page is the records from a key on, as they were at the revision; now if that is 0.
func (s *Store) page(ctx context.Context, from string, revision int64) (*clientv3.GetResponse, error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := m.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(allPrefix)), clientv3.WithLimit(backupPage), clientv3.WithRev(revision))
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return nil, s.unanswered(m, err)
	}
	return r, err
}

func unwritten(err error) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "the backup cannot be written", Unchanged: "nothing was changed", Err: err}
}

// Backed is what a backup held.
type Backed struct {
	At      time.Time // when it was made
	VIFs    int
	Groups  int
	Changes int
	Note    uint64 // the journal's record of the restore
	With    map[string]string
}

// Unpack makes a store of a backup beside the one in dir, which it does not
// touch: it is taken by [Adopt]. The new store's journal has a note of that, by
// whom. What is no backup, or not whole, is Invalid.
func Unpack(ctx context.Context, dir string, r io.Reader, by string, log *slog.Logger) (b Backed, err error) {
	building := dir + ".unpacking"
	if err := os.RemoveAll(building); err != nil {
		return b, unpacked(err)
	}
	defer os.RemoveAll(building)
	s, err := Open(ctx, building, log)
	if err != nil {
		return b, err
	}
	b, err = s.fill(ctx, r)
	if err == nil {
		note := sluice.Change{VM: sluice.GroupVIF(sluice.HostGroup).VM, VIF: -1, Key: sluice.GroupVIF(sluice.HostGroup).Key(), By: by, At: time.Now().UTC(),
			From: sluice.UnshapedBoth, To: sluice.UnshapedBoth, Result: sluice.Done, Note: "restored from the backup of " + b.At.Format(time.RFC3339)}
		s.lastID.Store(max(b.Note, s.lastID.Load()))
		err = s.Note(ctx, &note)
		b.Note = note.ID
	}
	if err = errors.Join(err, s.Close()); err != nil {
		var told *sluice.Error
		if errors.As(err, &told) {
			return b, told
		}
		return b, unpacked(err)
	}
	if err := os.RemoveAll(restored(dir)); err != nil {
		return b, unpacked(err)
	}
	if err := os.Rename(building, restored(dir)); err != nil {
		return b, unpacked(err)
	}
	return b, syncDir(filepath.Dir(dir))
}

// fill writes a backup's records into an empty store.
func (s *Store) fill(ctx context.Context, r io.Reader) (Backed, error) {
	var puts []clientv3.Op
	flush := func() error {
		if len(puts) == 0 {
			return nil
		}
		m, ctx, done, err := s.ask(ctx)
		if err != nil {
			return err
		}
		defer done()
		if _, err := m.client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return s.unanswered(m, err)
		}
		puts = puts[:0]
		return nil
	}
	b, err := readBackup(r, func(key, value string) error {
		if puts = append(puts, clientv3.OpPut(key, value)); len(puts) == backupPage {
			return flush()
		}
		return nil
	})
	if err != nil {
		return b, err
	}
	return b, flush()
}

// readBackup reads a backup to its end and puts each record. Note is the
// highest ID in its journal.
func readBackup(r io.Reader, put func(key, value string) error) (b Backed, err error) {
	wrong := func(message string, err error) error {
		return &sluice.Error{Code: sluice.Invalid, Message: "the backup cannot be used: " + message, Unchanged: "nothing was changed", Err: err}
	}
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return b, wrong("it is not what sluice backup writes", err)
	}
	lines := bufio.NewScanner(io.LimitReader(zipped, sizeLimit))
	lines.Buffer(nil, mostLine)
	var head backupHead
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &head) != nil || head.Format != backupFormat {
		return b, wrong("it is not what sluice backup writes, or what another version does", lines.Err())
	}
	b.At, b.With = head.At, head.With
	for count := 0; lines.Scan(); count++ {
		var line backupLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return b, wrong(fmt.Sprintf("record %d is damaged", count+1), err)
		}
		if line.Count != nil {
			if *line.Count != count {
				return b, wrong(fmt.Sprintf("it has %d records of %d", count, *line.Count), nil)
			}
			if lines.Scan() || lines.Err() != nil {
				return b, wrong("something follows its end", lines.Err())
			}
			return b, nil
		}
		value := string(line.Value)
		if line.Value == nil {
			value = string(line.Raw)
		}
		if err := b.count(line.Key, value, line.Value != nil); err != nil {
			return b, wrong(fmt.Sprintf("record %d", count+1), err)
		}
		if err := put(line.Key, value); err != nil {
			return b, err
		}
	}
	return b, wrong("it ends early", lines.Err())
}

// count counts a record, and refuses one that the store would not have
// written. One that was damaged already is kept as it was.
func (b *Backed) count(key, value string, sound bool) error {
	name, of := "", ""
	for _, of = range []string{vifPrefix, changePrefix, knownPrefix, capacityKey} {
		var ok bool
		if name, ok = strings.CutPrefix(key, of); ok {
			break
		}
		of = ""
	}
	if of == "" || name == "" && of != capacityKey || name != "" && of == capacityKey {
		return fmt.Errorf("the store has no %.80q", key)
	}
	if !sound {
		return nil
	}
	switch of {
	case vifPrefix:
		if _, err := decodeNode(name, []byte(value), 1); err != nil {
			return err
		}
		if _, group := sluice.GroupOf(name); group {
			b.Groups++
		} else {
			b.VIFs++
		}
	case changePrefix:
		c, err := decodeChange(key, []byte(value))
		if err != nil {
			return err
		}
		b.Changes++
		b.Note = max(b.Note, c.ID)
	case knownPrefix:
		_, err := decodeKnown([]byte(key), []byte(value))
		return err
	}
	return nil
}

func unpacked(err error) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "the backup cannot be unpacked", Unchanged: "nothing was changed",
		Try: "room on the disk of the state directory", Err: err}
}

func restored(dir string) string { return dir + ".restored" }

// Before is where [Adopt] puts the store that was in dir.
func Before(dir string) string { return dir + ".before-restore" }

// Adopt puts what [Unpack] made in the place of the store in dir, which it
// keeps at [Before]; done says whether there was any. It can be called again
// after a crash at any moment. No daemon may have the store open.
func Adopt(dir string) (done bool, err error) {
	if _, err := os.Lstat(restored(dir)); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	failed := func(err error) error {
		return &sluice.Error{Code: sluice.Unavailable, Message: "what was restored cannot be put in the place of the store in " + dir, Unchanged: "the store is as it was",
			Try: "move " + restored(dir) + " away to go on with the store as it was", Err: err}
	}
	if exists(dir) { // else it was put away, and then all ended
		home, err := claim(dir)
		if err != nil {
			return false, err
		}
		defer home.Close()
		if err := errors.Join(os.RemoveAll(Before(dir)), os.Rename(dir, Before(dir))); err != nil {
			return false, failed(err)
		}
	}
	if err := errors.Join(os.Rename(restored(dir), dir), syncDir(filepath.Dir(dir))); err != nil {
		return false, failed(err)
	}
	return true, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
