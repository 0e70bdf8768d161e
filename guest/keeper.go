package guest

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"sluice"
)

const (
	maxWaiting = 600 // samples in memory while the disk takes none
	maxTail    = 32  // of those on disk: whoever asks often needs no disk
	together   = 64  // samples written in one transaction
	reopen     = 10 * time.Second
)

// Keeper keeps samples: on disk, and in memory while the disk takes none. It
// answers from both.
type Keeper struct {
	path   string
	limits Limits
	log    *slog.Logger
	lock   *lock // nil while it cannot be had

	mu      sync.Mutex      // guards what follows up to bad; not held while the disk works
	db      *database       // nil while it cannot be opened
	name    string          // db's, or one for memory alone
	next    uint64          // the next sample's ID
	tail    []sluice.Sample // the newest, oldest first; an element never changes
	waiting int             // how many of tail, at its end, are not on disk
	bad     bool            // a reader found db corrupt

	failing bool      // the disk takes nothing; only Keep's goroutine, as what follows
	lost    int       // samples that found no room in memory either
	tried   time.Time // when opening was last tried
}

// Open opens the database at path, or makes one. A corrupt one is moved aside
// and begun anew. A disk that is full or broken is no error: the samples wait
// in memory. An error is what only a person can change: permissions, another
// collector's lock, a file that is not a collector's.
func Open(path string, limits Limits, log *slog.Logger) (*Keeper, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	k := &Keeper{path: path, limits: limits, log: log, name: rand.Text(), next: 1}
	if err = k.open(); err == nil {
		return k, nil
	}
	if passing(err) {
		k.complain(err)
		return k, nil
	}
	k.Close()
	e := &sluice.Error{Code: sluice.NotApplied, Message: "cannot keep samples in " + path, Unchanged: "the file stays as it is", Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Try = sluice.Refused, "give this user the folder, or name another with --database"
	case errors.Is(err, errLocked):
		e.Code, e.Try = sluice.Conflict, "stop the other one, or name another database with --database"
	default: // a folder, something else's file, a newer version's
		e.Try = "name another database with --database"
	}
	return nil, e
}

// passing tells whether what err says may change without a person at this program.
func passing(err error) bool {
	switch resultCode(err) {
	case sqliteBusy, sqliteIOErr, sqliteFull:
		return true
	}
	for _, known := range []error{errHeld, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func (k *Keeper) complain(err error) {
	if !k.failing {
		k.log.Warn("the disk takes no samples; the newest wait in memory", "database", k.path, "most", maxWaiting, "error", err)
	}
	k.failing = true
}

// open opens the database and gives what waits the IDs of its new start.
func (k *Keeper) open() (err error) {
	k.tried = time.Now()
	if k.lock == nil {
		if k.lock, err = takeLock(k.path + ".lock"); err != nil {
			return err
		}
	}
	var db *database
	if err = whose(k.path); err == nil {
		db, err = openDatabase(k.path, k.limits)
	}
	if isCorrupt(err) {
		if !k.lock.marked && !ours(k.path) {
			return errForeign
		}
		k.log.Error("the database is corrupt; it is moved aside and begun anew", "database", k.path, "aside", k.path+".corrupt", "error", err)
		if err = moveAside(k.path); err == nil {
			db, err = openDatabase(k.path, k.limits)
		}
	}
	if err != nil {
		return err
	}
	k.lock.mark()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.db, k.name, k.next, k.bad = db, db.name, db.first, false
	waiting := slices.Clone(k.tail[len(k.tail)-k.waiting:])
	for i := range waiting {
		waiting[i].ID = k.next
		k.next++
	}
	k.tail = waiting
	return nil
}

// Keep gives the sample its ID and writes it, with those that wait. One
// goroutine calls it.
func (k *Keeper) Keep(s sluice.Sample) {
	s.At = s.At.UTC().Truncate(time.Millisecond) // as the database has it
	k.mu.Lock()
	s.ID = k.next
	k.next++
	k.tail = append(k.tail, s)
	k.waiting++
	bad := k.bad
	k.mu.Unlock()
	if bad {
		k.shut()
	}
	if err := k.writeWaiting(); err != nil {
		k.complain(err)
		k.mu.Lock()
		if k.waiting > maxWaiting {
			k.waiting = maxWaiting
			k.tail = k.tail[len(k.tail)-maxWaiting:]
			k.lost++
		}
		k.mu.Unlock()
		return
	}
	if k.failing {
		k.log.Info("the disk takes samples again", "database", k.path, "lost", k.lost)
		k.failing, k.lost = false, 0
	}
}

func (k *Keeper) writeWaiting() error {
	if k.db == nil {
		if k.failing && time.Since(k.tried) < reopen {
			return errors.New("not tried yet again")
		}
		if err := k.open(); err != nil {
			return err
		}
	}
	for k.waiting > 0 { // only this goroutine changes it
		some := k.tail[len(k.tail)-k.waiting:][:min(k.waiting, together)]
		err := k.db.append(some)
		for try := 0; resultCode(err) == sqliteFull && try < 8; try++ {
			if err = k.db.prune(true); err == nil {
				err = k.db.append(some)
			}
		}
		if isCorrupt(err) {
			k.shut()
			if err = k.open(); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		k.mu.Lock()
		k.waiting -= len(some)
		k.tail = k.tail[max(0, len(k.tail)-k.waiting-maxTail):]
		k.mu.Unlock()
	}
	return nil
}

// shut lets go of the database; the next Keep opens it anew.
func (k *Keeper) shut() {
	k.mu.Lock()
	db := k.db
	k.db, k.bad = nil, false
	k.mu.Unlock()
	if db != nil {
		db.close()
	}
}

// Pull returns at most limit samples with IDs above after, oldest first.
// Someone who knows of later samples than there ever were has them from a
// state this VM was since taken back from: he is told another name, and so
// begins anew.
func (k *Keeper) Pull(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	k.mu.Lock()
	db, tail, got := k.db, k.tail, sluice.Samples{Database: k.name, Samples: []sluice.Sample{}}
	newest := k.next - 1
	k.mu.Unlock()
	if after > newest {
		got.Database += "-back"
		return got, nil
	}
	limit = max(1, min(limit, MaxLimit))
	if db != nil && (len(tail) == 0 || after+1 < tail[0].ID) {
		var err error
		if got, err = db.since(ctx, after, limit); err != nil {
			k.mu.Lock()
			k.bad = k.bad || k.db == db && isCorrupt(err)
			k.mu.Unlock()
			return got, &sluice.Error{Code: sluice.Internal, Message: "cannot read the database", Try: "ask again", Err: err}
		}
	}
	total := 0
	for _, s := range got.Samples {
		after = s.ID
		total += len(s.NICs)
	}
	for _, s := range tail {
		if s.ID <= after || got.More {
			continue
		}
		total += len(s.NICs)
		if len(got.Samples) == limit || total > maxTotal {
			got.More = true
			break
		}
		got.Samples = append(got.Samples, s)
	}
	return got, nil
}

// Latest returns the newest sample; NotFound before there is one.
func (k *Keeper) Latest(ctx context.Context) (sluice.Sample, error) {
	k.mu.Lock()
	after := k.next - 2
	k.mu.Unlock()
	got, err := k.Pull(ctx, after, 1)
	if err == nil && len(got.Samples) == 0 {
		err = &sluice.Error{Code: sluice.NotFound, Message: "there is no sample yet", Try: "ask again in a moment"}
	}
	if err != nil {
		return sluice.Sample{}, err
	}
	return got.Samples[0], nil
}

// Close lets go of the database. What still waits is lost.
func (k *Keeper) Close() {
	k.shut()
	if k.lock != nil {
		k.lock.file.Close()
	}
}
