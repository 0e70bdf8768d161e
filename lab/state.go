package lab

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is one that runs for the experiment. Its start tells it from
// another that has its number by now.
type process struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since boot: /proc/PID/stat, field 22
}

// state is what must be known to take the experiment away when whoever made
// it was killed.
type state struct {
	Maker     process   `json:"maker"`
	Processes []process `json:"processes"`
	URL       string    `json:"url"` // of the page, with the token
}

func started(name string, pid int) process { return process{name, pid, startOf(pid)} }

// startOf is when a process started; "" if there is none, or only its remains.
func startOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold anything but this
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

func (p process) runs() bool { return p.PID > 0 && p.Start != "" && startOf(p.PID) == p.Start }

// end asks it to end, and makes it after a while.
func (p process) end(patience time.Duration) {
	if !p.runs() {
		return
	}
	_ = unix.Kill(p.PID, unix.SIGTERM)
	for deadline := time.Now().Add(patience); p.runs(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = unix.Kill(p.PID, unix.SIGKILL)
			deadline = time.Now().Add(time.Minute)
		}
	}
}

func (l *Lab) readState() (s state, err error) {
	b, err := os.ReadFile(l.path("state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

func (l *Lab) writeState(s state) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := l.path("state.json.new")
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, l.path("state.json"))
}
