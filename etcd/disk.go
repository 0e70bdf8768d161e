package etcd

import (
	"fmt"

	"golang.org/x/sys/unix"

	"sluice"
)

const (
	// spaceToStart is for a store that exists. A new one makes two log
	// segments of 64 MB at once, and says itself if they do not fit.
	spaceToStart = 4 << 20
	// spaceToWrite is what must stay free so that a change begun can be
	// finished: etcd does not survive a full disk, so the last megabytes are
	// never asked for.
	spaceToWrite = 4 << 20
)

// enoughSpace refuses when less than need bytes are free where dir is.
func enoughSpace(dir string, need uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need {
		return &sluice.Error{
			Code:    sluice.Unavailable,
			Message: fmt.Sprintf("the disk that holds the store in %s is full: %d kB free, %d kB needed", dir, free/1000, need/1000),
			Try:     "free some space and ask again",
		}
	}
	return nil
}
