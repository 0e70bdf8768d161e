package etcd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"golang.org/x/sys/unix"
)

// seize takes all files of etcd in dir from whatever still has them open: a
// member that failed may never close its own, and their locks keep another
// from starting. Their descriptors then lead to /dev/null, and their numbers
// stay taken, so that nothing is written to what somebody else opens.
func seize(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	const fds = "/proc/self/fd"
	open, err := os.ReadDir(fds)
	if err != nil {
		return err
	}
	for _, e := range open {
		to, err := os.Readlink(filepath.Join(fds, e.Name()))
		if err != nil || !strings.HasPrefix(to, filepath.Join(dir, "member")+"/") {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// The database is mapped, which keeps its lock beyond its descriptor.
		_ = unix.Flock(fd, unix.LOCK_UN)
		if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return nil
}

// purge deletes the log's files that etcd needs no more, which it has unlocked.
// It does so itself, but only every half minute: in that time a busy log grows
// by hundreds of megabytes.
func purge(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, name := range files[:max(0, len(files)-logFiles)] {
		locked, err := fileutil.TryLockFile(name, os.O_WRONLY, fileutil.PrivateFileMode)
		if err != nil {
			return nil // etcd has it, and so all after it
		}
		err = os.Remove(name)
		locked.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
