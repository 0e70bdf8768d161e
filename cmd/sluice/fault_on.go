//go:build faults

package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fault ends the process, as kill -9 would, at the point that SLUICE_FAULT
// names, and waits a second at the one that SLUICE_PAUSE names.
var fault = func(point string) {
	if point == os.Getenv("SLUICE_PAUSE") {
		time.Sleep(time.Second)
	}
	if point == os.Getenv("SLUICE_FAULT") {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
}
