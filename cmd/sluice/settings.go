package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"sluice"
	"sluice/linux/htb"
)

// defaultReserve is what of the link is never guaranteed, in percent: for what
// is not a VM's. It is vSphere Network I/O Control's.
const defaultReserve = 25

// settings are the file /etc/sluice/sluice.toml; see docs/operating.md.
type settings struct {
	Bridge   bridges  `toml:"bridge"`
	Uplink   string   `toml:"uplink"`
	Capacity capacity `toml:"capacity"`
	Reserve  int      `toml:"reserve"`
	Overhead int      `toml:"overhead"` // bytes that a frame takes on the link beyond its length
	Listen   string   `toml:"listen"`
	StateDir string   `toml:"state_dir"`
	Interval duration `toml:"interval"`
	TLSCert  string   `toml:"tls_cert"`
	TLSKey   string   `toml:"tls_key"`
	// Sockets; "" for where each usually is, "none" to leave it alone.
	Libvirt string `toml:"libvirt"`
	LXD     string `toml:"lxd"`
	Incus   string `toml:"incus"`
	VMs     []vm   `toml:"vm"`
}

type vm struct {
	Name      string `toml:"name"`
	UUID      string `toml:"uuid"`
	Collector string `toml:"collector"`
	VIFs      []struct {
		Index  int    `toml:"index"`
		MAC    string `toml:"mac"`
		Device string `toml:"device"`
	} `toml:"vif"`
}

type duration time.Duration

// UnmarshalText reads "1s".
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

// capacity is one rate for both directions, or a table of two.
// bridges are one, or several.
type bridges []string

// UnmarshalTOML implements [toml.Unmarshaler].
func (b *bridges) UnmarshalTOML(v any) error {
	all, ok := v.([]any)
	if !ok {
		all = []any{v}
	}
	*b = nil
	for _, one := range all {
		name, ok := one.(string)
		if !ok {
			return fmt.Errorf("bridge: %v is not a name such as \"br0\", nor a list of such", v)
		}
		if name != "" {
			*b = append(*b, name)
		}
	}
	return nil
}

type capacity sluice.Capacity

// UnmarshalTOML implements [toml.Unmarshaler].
func (c *capacity) UnmarshalTOML(v any) error {
	read := func(v any) (sluice.Rate, error) {
		s, ok := v.(string)
		if !ok {
			return 0, fmt.Errorf("capacity: %v is not a rate such as \"10gbit\"", v)
		}
		return sluice.ParseRate(s)
	}
	table, ok := v.(map[string]any)
	if !ok {
		r, err := read(v)
		*c = capacity{Tx: r, Rx: r}
		return err
	}
	for key, v := range table {
		r, err := read(v)
		if err != nil {
			return err
		}
		switch key {
		case "tx":
			c.Tx = r
		case "rx":
			c.Rx = r
		default:
			return fmt.Errorf("capacity has no %q, only tx and rx", key)
		}
	}
	return nil
}

// mostOverhead is more than any medium or tunnel adds to a frame, in bytes.
const mostOverhead = 256

// readSettings reads a file whole, or refuses it whole. A file that is not
// there is an error only where it was asked for.
func readSettings(path string, asked bool) (settings, error) {
	s := settings{Capacity: capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited}, Reserve: defaultReserve, Overhead: htb.Ethernet, Listen: "127.0.0.1:8511",
		StateDir: defaultStateDir, Interval: duration(time.Second)}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !asked {
		return s, nil
	}
	if err != nil {
		return s, &sluice.Error{Code: sluice.Invalid, Message: "the settings file cannot be read", Unchanged: "nothing was started", Err: err}
	}
	meta, err := toml.Decode(string(text), &s)
	wrong := func(err error) error {
		return &sluice.Error{Code: sluice.Invalid, Message: "the settings file " + path + " is wrong", Unchanged: "nothing was started",
			Try: "mend it; docs/operating.md shows one", Err: err}
	}
	if err != nil {
		return s, wrong(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return s, wrong(fmt.Errorf("there is no setting %q", unknown[0].String()))
	}
	if s.Reserve < 0 || s.Reserve > 99 {
		return s, wrong(fmt.Errorf("reserve is %d: percent of the link, 0 to 99", s.Reserve))
	}
	if s.Overhead < 0 || s.Overhead > mostOverhead {
		return s, wrong(fmt.Errorf("overhead is %d: bytes a frame, 0 to %d", s.Overhead, mostOverhead))
	}
	devices := map[string]string{}
	for _, v := range s.VMs {
		if v.Name == "" {
			return s, wrong(errors.New("a [[vm]] has no name"))
		}
		if v.Name != sluice.Printable(v.Name) || len(v.Name) > mostName {
			return s, wrong(fmt.Errorf("the name %.80q of a [[vm]] does not print, or has more than %d bytes", v.Name, mostName))
		}
		for _, nic := range v.VIFs {
			if nic.Device == "" || nic.Index < 0 {
				return s, wrong(fmt.Errorf("a vif of vm %q needs a device and an index of 0 or more", v.Name))
			}
			if hw, err := net.ParseMAC(nic.MAC); nic.MAC != "" && (err != nil || len(hw) != 6) {
				return s, wrong(fmt.Errorf("%.40q of vif %d of vm %q is no MAC such as 52:54:00:12:34:56", nic.MAC, nic.Index, v.Name))
			}
			if other, taken := devices[nic.Device]; taken {
				return s, wrong(fmt.Errorf("device %q is of both %q and %q", nic.Device, other, v.Name))
			}
			devices[nic.Device] = v.Name
		}
	}
	return s, nil
}

// mostName is far more than any hypervisor lets a VM be called, in bytes.
const mostName = 8192

// static are the vifs that the file names.
func (s settings) static() []sluice.VIF {
	var all []sluice.VIF
	for _, v := range s.VMs {
		for _, nic := range v.VIFs {
			all = append(all, sluice.VIF{VM: v.Name, UUID: strings.ToLower(v.UUID), Index: nic.Index, MAC: strings.ToLower(nic.MAC), Device: nic.Device})
		}
	}
	return all
}
