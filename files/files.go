// Package files writes files that are there whole or not at all.
package files

import (
	"errors"
	"os"
	"path/filepath"
)

// Write makes a file with that content, or replaces one, for its owner alone
// (mode 0600). It is on disk before it has its name; an error leaves what was there.
func Write(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
