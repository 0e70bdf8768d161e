// Package qemu says whose the network devices of QEMU's guests are, by the
// command lines of the processes: plain QEMU, and Proxmox VE, which starts its
// VMs so. It reads /proc and changes nothing. What processes say of themselves
// is untrusted: it is bounded, and a process names only a tap that it holds open.
package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"sluice"
)

const (
	mostCommand = 256 << 10 // bytes of a command line; the kernel allows 2 MiB
	mostNICs    = 64
	channelName = "sluice.0" // of the collector's virtio-serial port
)

// Namer looks at the processes when it is asked. It is safe for concurrent use.
type Namer struct {
	proc string // "/proc"

	mu   sync.Mutex
	last []machine
}

// New makes a Namer of this host's processes.
func New() *Namer { return &Namer{proc: "/proc"} }

// VIFs are the interfaces of the guests that run now: it looks at all processes.
func (n *Namer) VIFs() (all []sluice.VIF) {
	now := n.machines()
	n.mu.Lock()
	n.last = now
	n.mu.Unlock()
	for _, m := range now {
		all = append(all, m.vifs...)
	}
	return all
}

// Collectors are the paths of the channels' sockets, by the VM's UUID, as VIFs
// saw them last; a VM without a UUID has none.
func (n *Namer) Collectors() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[string]string)
	for _, m := range n.last {
		if m.collector != "" && m.uuid != "" {
			all[m.uuid] = m.collector
		}
	}
	return all
}

// Watch never sends: a guest's device comes after its process, and whoever
// lists the devices then asks.
func (n *Namer) Watch(context.Context) <-chan struct{} { return nil }

func (n *Namer) machines() (all []machine) {
	entries, err := os.ReadDir(n.proc)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 32); err != nil {
			continue
		}
		text, err := readSome(filepath.Join(n.proc, e.Name(), "cmdline"))
		if err != nil || len(text) == 0 {
			continue
		}
		args := strings.Split(string(bytes.TrimSuffix(text, []byte{0})), "\x00")
		if !isQEMU(args[0]) {
			continue
		}
		if m, ok := parse(args, taps(filepath.Join(n.proc, e.Name()))); ok {
			all = append(all, m)
		}
	}
	return all
}

// taps are the devices that a process holds open, by its descriptors
// (drivers/net/tun.c, tun_chr_show_fdinfo).
func taps(process string) map[string]string {
	fds, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return nil
	}
	held := make(map[string]string)
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join(process, "fd", fd.Name()))
		if err != nil || !strings.HasSuffix(to, "/net/tun") {
			continue
		}
		text, err := readSome(filepath.Join(process, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(text), "\n") {
			if device, ok := strings.CutPrefix(line, "iff:"); ok {
				held[fd.Name()] = strings.TrimSpace(device)
			}
		}
	}
	return held
}

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 4096)
	for n := 0; ; {
		more, err := f.Read(b[n:])
		if n += more; err != nil || more == 0 {
			return b[:n], nil
		}
		if n == mostCommand {
			return nil, os.ErrInvalid
		}
		if n == len(b) {
			b = append(b, make([]byte, min(len(b), mostCommand-len(b)))...)
		}
	}
}

// machine is one guest.
type machine struct {
	name, uuid string
	vifs       []sluice.VIF
	collector  string
}

func isQEMU(program string) bool {
	program = filepath.Base(program)
	return strings.HasPrefix(program, "qemu-system-") || program == "kvm" || program == "qemu-kvm"
}

// parse reads a command line of QEMU's (qemu(1)), whose process holds those
// devices, by descriptor; ok is false if it names none of them.
func parse(args []string, held map[string]string) (m machine, ok bool) {
	type nic struct{ device, mac string }
	nics, order := map[string]*nic{}, []string{} // by netdev
	sockets := map[string]string{}               // of character devices
	channel := ""
	for i := 1; i+1 < len(args); i++ {
		option, value := strings.TrimPrefix(args[i], "-"), args[i+1] // two dashes are one
		option = strings.TrimPrefix(option, "-")
		if !strings.HasPrefix(args[i], "-") {
			continue
		}
		first, o := options(value)
		switch option {
		case "name":
			m.name = pick(o["guest"], first)
		case "uuid":
			m.uuid = value
		case "smbios":
			if pick(o["type"], first) == "1" && m.uuid == "" {
				m.uuid = o["uuid"]
			}
		case "netdev", "nic", "net":
			device := o["ifname"]
			if fd, _, _ := strings.Cut(pick(o["fd"], o["fds"]), ":"); fd != "" {
				device = held[fd]
			}
			holds := false
			for _, name := range held {
				holds = holds || name == device
			}
			if pick(o["type"], first) != "tap" || device == "" || !holds || len(nics) == mostNICs {
				continue
			}
			id := o["id"]
			if id == "" {
				id = "#" + strconv.Itoa(i)
			}
			if nics[id] == nil {
				nics[id], order = &nic{}, append(order, id)
			}
			nics[id].device, nics[id].mac = device, pick(nics[id].mac, pick(o["mac"], o["macaddr"]))
		case "device":
			if n := nics[o["netdev"]]; n != nil {
				n.mac = o["mac"]
			}
			if first == "virtserialport" && o["name"] == channelName {
				channel = o["chardev"]
			}
		case "chardev":
			if pick(first, o["backend"]) == "socket" {
				sockets[o["id"]] = o["path"]
			}
		default:
			continue
		}
		i++
	}
	m.uuid = strings.ToLower(m.uuid)
	if m.name == "" || len(order) == 0 {
		return m, false
	}
	m.name = sluice.Printable(m.name)
	if path := sockets[channel]; channel != "" && strings.HasPrefix(path, "/") {
		m.collector = path
	}
	for i, id := range order {
		n := nics[id]
		if len(n.device) > 15 || strings.ContainsAny(n.device, "/ ") {
			continue // no name that the kernel gives a device
		}
		m.vifs = append(m.vifs, sluice.VIF{VM: m.name, UUID: m.uuid, Index: i, MAC: sluice.MAC(n.mac), Device: n.device})
	}
	return m, len(m.vifs) > 0
}

// options splits a value such as "tap,id=n,ifname=tap0" into its first word,
// which has no name, and its options. Two commas are one that belongs to a value.
// libvirt writes JSON.
func options(value string) (first string, o map[string]string) {
	const comma = "\x00" // no argument has one
	o = make(map[string]string)
	if strings.HasPrefix(value, "{") {
		var fields map[string]any
		if json.Unmarshal([]byte(value), &fields) != nil {
			return "", o
		}
		for name, v := range fields {
			if text, ok := v.(string); ok {
				o[name] = text
			}
		}
		return o["driver"], o
	}
	for i, part := range strings.Split(strings.ReplaceAll(value, ",,", comma), ",") {
		part = strings.ReplaceAll(part, comma, ",")
		name, text, named := strings.Cut(part, "=")
		switch {
		case named:
			o[name] = text
		case i == 0:
			first = part
		}
	}
	return first, o
}

func pick(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
