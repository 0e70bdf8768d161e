package guest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

// reading is the totals of all interfaces at one time.
type reading struct {
	at   time.Duration // since boot, suspended time included; does not step
	wall time.Time
	nics []nic
}

// nic is one interface in a reading. Index and MAC are its identity: names
// are given again.
type nic struct {
	index  int
	name   string
	mac    string
	tx, rx sluice.Counters
}

// Reader reads the kernel's counters of a VM's interfaces: those with an
// Ethernet address, of which a host knows which vif they are.
type Reader struct {
	proc, sys string
	text      []byte // space for /proc/net/dev
}

// NewReader returns a Reader of this machine's /proc and /sys.
func NewReader() *Reader { return &Reader{proc: "/proc", sys: "/sys"} }

// Check reads once and says whether this machine can be read at all.
func (r *Reader) Check() error {
	_, err := r.read()
	return err
}

func (r *Reader) read() (reading, error) {
	path := r.proc + "/net/dev"
	if r.text == nil {
		r.text = make([]byte, 4<<10)
	}
	var n int
	var err error
	for {
		if n, err = readFile(path, r.text); err != nil {
			return reading{}, unreadable(path, err)
		}
		if n < len(r.text) || n >= maxNetDev {
			break
		}
		r.text = make([]byte, 4*n)
	}
	now := reading{wall: time.Now()}
	if now.at, err = sinceBoot(); err != nil {
		return reading{}, unreadable("the clock", err)
	}
	text := r.text[:min(n, maxNetDev)]
	if n >= maxNetDev { // the rest is not looked at
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	lines, err := parseNetDev(text)
	if err != nil {
		return reading{}, unreadable(path, err)
	}
	now.nics = r.identify(lines)
	return now, nil
}

func unreadable(what string, err error) error {
	return &sluice.Error{Code: sluice.Unsupported, Message: "cannot read " + what, Try: "run it on Linux with /proc and /sys mounted", Err: err}
}

// identify finds whose the counters are. An interface on top of another (a
// bridge, a VLAN, a bond) has the other's address: only the lowest, which has
// a device behind it, is a vif. Of the rest, devices come first.
func (r *Reader) identify(lines []counters) []nic {
	var devices, others []nic
	lowest := map[string]bool{}
	for _, c := range lines[:min(len(lines), 4*maxNICs)] {
		if c.name == "lo" {
			continue
		}
		index, err := strconv.Atoi(r.attribute(c.name, "ifindex"))
		if err != nil {
			continue // it has just gone
		}
		mac := r.attribute(c.name, "bonding_slave/perm_hwaddr") // a bond gives its ports one address
		if mac == "" {
			mac = r.attribute(c.name, "address")
		}
		if !validMAC(mac) {
			continue
		}
		n := nic{index, c.name, mac, c.tx, c.rx}
		if _, err := os.Lstat(r.sys + "/class/net/" + c.name + "/device"); err == nil {
			devices = append(devices, n)
			lowest[mac] = true
		} else {
			others = append(others, n)
		}
	}
	for _, n := range others {
		if !lowest[n.mac] {
			devices = append(devices, n)
		}
	}
	return devices[:min(len(devices), maxNICs)]
}

// attribute reads one small file of an interface in sysfs; "" if it has none.
func (r *Reader) attribute(name, attribute string) string {
	var b [64]byte
	n, err := readFile(r.sys+"/class/net/"+name+"/"+attribute, b[:])
	if err != nil {
		return ""
	}
	return strings.ToLower(string(bytes.TrimSpace(b[:n])))
}

// readFile reads as much of a file as b holds. It does without os.File, which
// would have the runtime poll a file of /proc.
func readFile(path string, b []byte) (n int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for n < len(b) {
		part, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if part == 0 {
			break
		}
		n += part
	}
	return n, nil
}

// sinceBoot is the time since the VM started. Unlike the wall clock it does
// not step, and unlike CLOCK_MONOTONIC it goes on while the VM is suspended.
func sinceBoot() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
