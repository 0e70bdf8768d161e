package guest

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

var errLocked = errors.New("another sluice-guest keeps its samples there")

// lock is held on a file beside the database, as closing any descriptor of
// the database itself would drop SQLite's locks. It ends with the process.
// The file also remembers that the database is ours, which a database whose
// first page is gone cannot say itself.
type lock struct {
	file   *os.File
	marked bool
}

// takeLock makes the folder where need be and takes the lock.
func takeLock(path string) (*lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, err
	}
	return &lock{file, size(path) > 0}, nil
}

func (l *lock) mark() {
	if !l.marked {
		_, err := l.file.WriteString("The database beside this file is sluice-guest's.\n")
		l.marked = err == nil
	}
}

// ours tells whether a database's first page names us (sqlite.org/fileformat2.html).
func ours(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var id [4]byte
	_, err = file.ReadAt(id[:], 68)
	return err == nil && binary.BigEndian.Uint32(id[:]) == applicationID
}

// moveAside keeps a corrupt database and its log under other names, in place
// of the one moved there before, if any.
func moveAside(path string) error {
	for _, part := range []string{"", "-wal"} {
		aside := path + ".corrupt" + part
		if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(path+part, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(path + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
