package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice"
)

// The speed of a link is believed only of what has hardware behind it.
func TestUplinkCapacity(t *testing.T) {
	also := map[string]string{"two bridges": "br1", "two bridges, one port": "br1"}
	for name, c := range map[string]struct {
		files map[string]string
		want  sluice.Rate
		why   string
		named string
	}{
		"one port":              {map[string]string{"br0/brif/eth0/x": "", "br0/brif/tap0/x": "", "eth0/device/x": "", "eth0/speed": "10000\n", "tap0/speed": "10\n"}, 10 * sluice.Gbit, "eth0 says so", ""},
		"a bond":                {map[string]string{"br0/brif/bond0/x": "", "bond0/bonding/x": "", "bond0/speed": "20000\n"}, 20 * sluice.Gbit, "bond0 says so", ""},
		"a VLAN":                {map[string]string{"br0/brif/eth0.5/x": "", "eth0.5/lower_eth0/x": "", "eth0.5/speed": "10000\n", "eth0/device/x": ""}, 10 * sluice.Gbit, "eth0.5 says so", ""},
		"a VLAN on a bond":      {map[string]string{"br0/brif/bond0.5/x": "", "bond0.5/lower_bond0/x": "", "bond0.5/speed": "20000\n", "bond0/bonding/x": ""}, 20 * sluice.Gbit, "bond0.5 says so", ""},
		"VLANs in a circle":     {map[string]string{"br0/brif/a/x": "", "a/lower_b/x": "", "b/lower_a/x": ""}, sluice.Unlimited, "br0 has 0 physical ports", ""},
		"a macvtap":             {map[string]string{"br0/brif/mvt0/x": "", "mvt0/lower_eth0/x": "", "mvt0/macvtap/x": "", "eth0/device/x": ""}, sluice.Unlimited, "br0 has 0 physical ports", ""},
		"down":                  {map[string]string{"br0/brif/eth0/x": "", "eth0/device/x": "", "eth0/speed": "-1\n"}, sluice.Unlimited, "eth0 does not say how fast it is", ""},
		"silent":                {map[string]string{"br0/brif/eth0/x": "", "eth0/device/x": ""}, sluice.Unlimited, "eth0 does not say how fast it is", ""},
		"unknown":               {map[string]string{"br0/brif/eth0/x": "", "eth0/device/x": "", "eth0/speed": "4294967295\n"}, sluice.Unlimited, "eth0 does not say how fast it is", ""},
		"beyond reason":         {map[string]string{"br0/brif/eth0/x": "", "eth0/device/x": "", "eth0/speed": "4294967294\n"}, sluice.Unlimited, "eth0 does not say how fast it is", ""},
		"only taps":             {map[string]string{"br0/brif/tap0/x": "", "tap0/speed": "10\n"}, sluice.Unlimited, "br0 has 0 physical ports", ""},
		"two":                   {map[string]string{"br0/brif/a/x": "", "br0/brif/b/x": "", "a/device/x": "", "b/device/x": ""}, sluice.Unlimited, "br0 has 2 physical ports", ""},
		"two bridges":           {map[string]string{"br0/brif/a/x": "", "br1/brif/b/x": "", "a/device/x": "", "b/device/x": ""}, sluice.Unlimited, "br0 and br1 have 2 physical ports", ""},
		"two bridges, one port": {map[string]string{"br0/brif/a/x": "", "br1/brif/tap/x": "", "a/device/x": "", "a/speed": "1000\n"}, sluice.Gbit, "a says so", ""},
		"no bridge":             {nil, sluice.Unlimited, "br0 is no bridge", ""},
		"of two, the named":     {map[string]string{"br0/brif/a/x": "", "br0/brif/b/x": "", "a/device/x": "", "b/device/x": "", "b/speed": "1000\n"}, sluice.Gbit, "b says so", "b"},
		"named, and routed":     {map[string]string{"eth0/device/x": "", "eth0/speed": "1000\n"}, sluice.Gbit, "eth0 says so", "eth0"},
		"named, and a veth":     {map[string]string{"v/speed": "10000\n"}, sluice.Unlimited, "there is no hardware behind v", "v"},
		"named, not there":      {nil, sluice.Unlimited, "there is no hardware behind v", "v"},
	} {
		sys := t.TempDir()
		for path, text := range c.files {
			path = filepath.Join(sys, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, why := uplinkCapacity(sys, strings.Fields("br0 "+also[name]), c.named)
		if got != (sluice.Capacity{Tx: c.want, Rx: c.want}) || why != c.why {
			t.Errorf("%s: %+v, %q; want %s, %q", name, got, why, c.want, c.why)
		}
	}
}
