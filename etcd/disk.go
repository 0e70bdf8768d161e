package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"

	"sluice"
)

// etcd does not survive a write that fails, so what it writes next is always
// on the disk already, as zeros:
//
//	its log       a file of logSize that it fills, and the next one beside it
//	its database  dbAhead beyond what it uses
//	a reserve     of reserveSize, given up when a start finds the disk full
//
// Whoever fills the disk takes nothing of that. Changes are refused while less
// than spaceToWrite is free, and then etcd writes no more than the end of
// those that are under way.
const (
	logSize      = 4 << 20
	dbAhead      = 8 << 20
	reserveSize  = 8 << 20
	spaceToWrite = 16 << 20 // the log's next file, the database's growth and etcd's small files
	leastInodes  = 32

	reserveFile = "reserve"
	renewWait   = 100 * time.Millisecond // for etcd to make its log's next file
)

// enoughSpace refuses when less than need bytes are free where dir is.
func enoughSpace(dir string, need uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	var lacks string
	switch {
	case free < need:
		lacks = fmt.Sprintf("%d kB free, %d kB needed", free/1000, need/1000)
	case fs.Files > 0 && fs.Ffree < leastInodes:
		lacks = fmt.Sprintf("%d files can be made there, %d are needed", fs.Ffree, leastInodes)
	default:
		return nil
	}
	return &sluice.Error{
		Code:      sluice.Unavailable,
		Message:   fmt.Sprintf("the disk %s that holds the store in %s is full: %s", diskOf(dir), dir, lacks),
		Unchanged: "nothing was changed, and what is set stays in force",
		Try:       "free some space there and ask again; the daemon needs no restart",
	}
}

// diskOf names the file system of dir, as "/var (/dev/vda1)".
func diskOf(dir string) string {
	var at unix.Stat_t
	if unix.Stat(dir, &at) != nil {
		return "?"
	}
	device := fmt.Sprintf("%d:%d", unix.Major(at.Dev), unix.Minor(at.Dev))
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	best := ""
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		tail := strings.SplitN(line, " - ", 2)
		if len(f) < 5 || len(tail) != 2 || f[2] != device {
			continue
		}
		if source := strings.Fields(tail[1]); len(source) > 1 {
			best = fmt.Sprintf("%s (%s)", f[4], source[1])
			if strings.HasPrefix(dir, f[4]) {
				break
			}
		}
	}
	if best == "" {
		return device
	}
	return best
}

// room refuses what would be written, unless what etcd writes next is there.
func (s *Store) room() error {
	if err := enoughSpace(s.dir, spaceToWrite); err != nil {
		return err
	}
	for until := time.Now().Add(renewWait); !s.logReady(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			return s.renewing()
		}
	}
	return nil
}

// renewing is told while the store is started again after the disk was full.
func (s *Store) renewing() error {
	return &sluice.Error{Code: sluice.Unavailable, Message: fmt.Sprintf("the store in %s is being opened again, after its disk was full", s.dir),
		Unchanged: "nothing was changed, and what is set stays in force", Try: "again in a few seconds"}
}

// logReady says whether the log's next file is there. etcd makes it as soon as
// it has begun the one before, and when that fails never tries again.
func (s *Store) logReady() bool {
	for _, name := range []string{"0.tmp", "1.tmp"} {
		if info, err := os.Stat(filepath.Join(s.dir, "member", "wal", name)); err == nil && info.Size() >= wal.SegmentSizeBytes {
			return true
		}
	}
	return false
}

// watchDisk keeps allocated what etcd writes next. It is false when the member
// has to be started again to go on writing, and can be.
func (s *Store) watchDisk(m *member) bool {
	full := enoughSpace(s.dir, spaceToWrite)
	if (full != nil) != s.full {
		if s.full = full != nil; s.full {
			s.log.Warn("changes are refused; watching and shaping go on", "error", full)
		} else {
			s.log.Info("the disk of the store has room: changes are accepted")
		}
	}
	if err := purge(s.dir); err != nil {
		s.log.Debug("old files of the store's log could not be deleted", "error", err)
	}
	if full != nil {
		return true
	}
	if err := s.allocate(m.server.Server.Backend().Size()); err != nil {
		s.log.Debug("space could not be set aside", "error", err)
	}
	var starving *sluice.Error
	return !errors.As(s.room(), &starving)
}

// allocate sets aside what the database, of which so many bytes are used,
// grows into, and the reserve.
func (s *Store) allocate(used int64) error {
	err := allocated(filepath.Join(s.dir, "member", "snap", "db"), (used+2*dbAhead-1)/dbAhead*dbAhead, 0)
	if enoughSpace(s.dir, spaceToWrite+reserveSize) == nil {
		err = errors.Join(err, allocated(filepath.Join(s.dir, reserveFile), reserveSize, os.O_CREATE))
	}
	return err
}

// allocated makes a file at least size bytes long, all of them on the disk.
func allocated(path string, size int64, flag int) error {
	f, err := os.OpenFile(path, os.O_RDWR|flag, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil {
		return err
	}
	if size = max(size, now.Size); now.Size == size && now.Blocks*512 >= size {
		return nil
	}
	return unix.Fallocate(int(f.Fd()), 0, 0, size)
}

// makeRoom gives up the reserve where a start needs it, and leaves etcd no
// more to make than it must: it begins its log's next file as 0.tmp. A store
// that is not there yet is not begun without room for it.
func (s *Store) makeRoom() error {
	files := filepath.Join(s.dir, "member", "wal")
	if !exists(files) {
		return enoughSpace(s.dir, spaceToWrite)
	}
	if !exists(filepath.Join(files, "0.tmp")) {
		_ = os.Rename(filepath.Join(files, "1.tmp"), filepath.Join(files, "0.tmp"))
	}
	if enoughSpace(s.dir, spaceToWrite) != nil {
		_ = os.Remove(filepath.Join(s.dir, reserveFile))
	}
	return nil
}
