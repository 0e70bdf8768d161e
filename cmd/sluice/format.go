package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sluice"
	"sluice/files"
)

// stateFormat is of what the state directory holds. It grows when an older
// Sluice would lose or misread something; packages refuse to go back then.
const stateFormat = 1

// checkFormat refuses a state directory that a newer Sluice wrote, and says
// there which format it has from now on.
func checkFormat(dir string, log *slog.Logger) error {
	path := filepath.Join(dir, "format")
	text, err := os.ReadFile(path)
	if err == nil {
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && n > stateFormat {
			return &sluice.Error{Code: sluice.Unavailable, Unchanged: "nothing was changed, and the kernel goes on shaping",
				Message: fmt.Sprintf("what %s keeps is of a newer Sluice: its format is %d, and this one knows %d", dir, n, stateFormat),
				Try:     "the newer sluice, or another --state-dir"}
		}
		if err == nil && n == stateFormat {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the state directory cannot be read", Unchanged: "nothing was changed", Err: err}
	}
	if err := files.Write(path, []byte(strconv.Itoa(stateFormat)+"\n")); err != nil {
		log.Warn("the state directory's format is not noted; an older Sluice would not refuse it", "error", err)
	}
	return nil
}
