package htb

import (
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"

	"sluice"
)

// TestOneDriver: while one driver shapes a namespace no other does, nor takes
// anything out of the kernel; once it ends, the next may.
func TestOneDriver(t *testing.T) {
	b := newBench(t)
	b.apply(20*mbit, 20*mbit)
	shown := b.shown()
	b.host.Do(func() {
		d, err := New(slog.New(slog.DiscardHandler), Ethernet)
		if err == nil {
			d.Close()
		}
		if sluice.CodeOf(err) != sluice.Unavailable {
			t.Errorf("a second driver: %v", err)
		}
		if err := CleanUp(t.Context()); sluice.CodeOf(err) != sluice.Unavailable {
			t.Errorf("a clean-up beside the driver: %v", err)
		}
	})
	if now := b.shown(); now != shown {
		t.Errorf("there was\n%s\nand is\n%s", shown, now)
	}
	b.start()
	b.set()
}

// TestOwnerWithoutRights: who has the name and is not root keeps nobody from
// shaping.
func TestOwnerWithoutRights(t *testing.T) {
	b := newBench(t)
	b.htb.Close()
	b.host.Do(func() {
		// The kernel notes who listens, and that is the thread.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
		s, err := own()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
		if err != nil || s < 0 {
			t.Fatal(s, err)
		}
		t.Cleanup(func() { unix.Close(s) })
	})
	b.start()
	b.apply(20*mbit, 20*mbit)
}
