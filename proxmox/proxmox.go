// Package proxmox says whose the network devices of Proxmox VE's guests are,
// by its configuration files: VMs (tap100i0) and containers (veth100i0). It
// reads files and changes nothing.
package proxmox

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice"
)

// Dir is where Proxmox VE has the configuration of this host's guests.
const Dir = "/etc/pve"

const (
	mostFile = 256 << 10 // bytes of a configuration
	mostNICs = 32        // net0 to net31 (pve-docs, qm.conf and pct.conf)
)

// kinds are where each kind of guest is configured, and what its devices are
// called (PVE/QemuServer.pm, PVE/LXC.pm).
var kinds = []struct{ folder, device, name, mac string }{
	{"qemu-server", "tap", "name", ""}, // the MAC stands behind the model: virtio=BC:24:11:00:00:01
	{"lxc", "veth", "hostname", "hwaddr"},
}

// Namer looks at the files when it is asked. It is safe for concurrent use.
type Namer struct {
	dir string

	mu    sync.Mutex
	files map[string]file // as they were read last, by path
}

type file struct {
	changed time.Time
	size    int64
	vifs    []sluice.VIF
}

// New makes a Namer of the configuration in dir. A host without has no guests.
func New(dir string) *Namer { return &Namer{dir: dir, files: make(map[string]file)} }

// VIFs are the interfaces of all guests that are configured, whether they run
// or not: the devices of those that do not run are not there.
func (n *Namer) VIFs() (all []sluice.VIF) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := make(map[string]file)
	for i, kind := range kinds {
		paths, _ := filepath.Glob(filepath.Join(n.dir, kind.folder, "*.conf"))
		for _, path := range paths {
			id, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".conf"), 10, 32)
			if err != nil {
				continue
			}
			info, err := os.Stat(path)
			if err != nil {
				continue
			}
			f := n.files[path]
			if !f.changed.Equal(info.ModTime()) || f.size != info.Size() {
				text, err := readSome(path)
				if err != nil {
					continue
				}
				f = file{info.ModTime(), info.Size(), parse(text, i, strconv.FormatUint(id, 10))}
			}
			now[path] = f
			all = append(all, f.vifs...)
		}
	}
	n.files = now
	return all
}

// Watch never sends: a guest's device comes after its configuration, and
// whoever lists the devices then asks.
func (n *Namer) Watch(context.Context) <-chan struct{} { return nil }

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mostFile))
}

// parse reads the configuration of one guest, up to its first snapshot.
func parse(text []byte, kind int, id string) (vifs []sluice.VIF) {
	k := kinds[kind]
	vm, uuid, profile := id, "", ""
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, mostFile)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "[") {
			break // a snapshot: what was
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		index, isNIC := strings.CutPrefix(key, "net")
		i, err := strconv.ParseUint(index, 10, 8)
		switch {
		case key == k.name && value != "":
			vm = sluice.Printable(value)
		case key == "smbios1":
			uuid = sluice.UUID(option(value, "uuid"))
		case key == "tags":
			profile = tagged(value)
		case isNIC && err == nil && i < mostNICs:
			mac := option(value, k.mac)
			if k.mac == "" {
				_, mac, _ = strings.Cut(strings.Split(value, ",")[0], "=")
			}
			vifs = append(vifs, sluice.VIF{Index: int(i), MAC: sluice.MAC(mac), Device: k.device + id + "i" + strconv.FormatUint(i, 10)})
		}
	}
	for i := range vifs {
		vifs[i].VM, vifs[i].UUID, vifs[i].Profile = vm, uuid, profile
	}
	return vifs
}

// option is the value of name in a list as Proxmox VE writes them: a=1,b=2.
func option(list, name string) string {
	for _, part := range strings.Split(list, ",") {
		if key, value, ok := strings.Cut(part, "="); ok && key == name {
			return value
		}
	}
	return ""
}

// tagged is the profile that a guest's tags ask for: sluice-gold asks for gold.
func tagged(tags string) string {
	for _, tag := range strings.FieldsFunc(tags, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		if profile, ok := strings.CutPrefix(tag, "sluice-"); ok {
			return profile
		}
	}
	return ""
}
