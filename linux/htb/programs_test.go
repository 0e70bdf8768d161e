package htb

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A host that lets no programs be loaded is told so.
func TestLoadForbidden(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with what it gave up
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			failed <- err
			return
		}
		_, err := load(nil)
		failed <- err
	}()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "loading the programs") {
		t.Errorf("without capabilities: %v", err)
	}
}
