package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sluice"
)

// UplinkCapacity is the speed of the uplink, or if that is "" of the one physical
// port that the bridges have, as its driver tells it (ethtool's "Speed"). It is
// [sluice.Unlimited] both ways, with the reason, where there is no such port,
// more than one, or no known speed: taps and veths claim speeds that mean
// nothing, so only what has hardware behind it, or is a bond or a VLAN of such, counts.
func UplinkCapacity(bridges []string, uplink string) (c sluice.Capacity, why string) {
	return uplinkCapacity("/sys/class/net", bridges, uplink)
}

func uplinkCapacity(sys string, bridges []string, uplink string) (c sluice.Capacity, why string) {
	c = sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited}
	if uplink == "" {
		found := make(map[string]bool)
		for _, bridge := range bridges {
			ports, ok := portsOf(sys, bridge)
			if !ok {
				return c, fmt.Sprintf("%s is no bridge", bridge)
			}
			for _, port := range ports {
				if physical(sys, port) {
					uplink, found[port] = port, true
				}
			}
		}
		if len(found) != 1 {
			has := "has"
			if len(bridges) > 1 {
				has = "have"
			}
			return c, fmt.Sprintf("%s %s %d physical ports", strings.Join(bridges, " and "), has, len(found))
		}
	} else if !physical(sys, uplink) {
		return c, fmt.Sprintf("there is no hardware behind %s", uplink)
	}
	text, err := os.ReadFile(filepath.Join(sys, uplink, "speed")) // Mbit/s; EINVAL while it is down
	mbit, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || bad != nil || mbit == 0 || mbit == 1<<32-1 || sluice.Rate(mbit) > sluice.MaxRate/sluice.Mbit {
		return c, fmt.Sprintf("%s does not say how fast it is", uplink)
	}
	rate := sluice.Rate(mbit) * sluice.Mbit
	return sluice.Capacity{Tx: rate, Rx: rate}, fmt.Sprintf("%s says so", uplink)
}

// portsOf are a bridge's ports; of one of Open vSwitch's, those of all that it has.
func portsOf(sys, bridge string) (ports []string, ok bool) {
	own, err := os.ReadDir(filepath.Join(sys, bridge, "brif"))
	if err == nil {
		for _, p := range own {
			ports = append(ports, p.Name())
		}
		return ports, true
	}
	devices, _ := os.ReadDir(sys)
	for _, d := range devices {
		if to, err := os.Readlink(filepath.Join(sys, d.Name(), "master")); err == nil && filepath.Base(to) == "ovs-system" {
			ports = append(ports, d.Name())
		}
	}
	_, err = os.Stat(filepath.Join(sys, bridge)) // its own device has no master
	return ports, err == nil && len(ports) > 0 && !physical(sys, bridge)
}

// physical says whether a device has hardware behind it, or below it as a VLAN
// of a NIC or a bond has.
func physical(sys, device string) bool { return physicalWithin(sys, device, mostStacked) }

// mostStacked is more devices than anybody puts on top of one another: a VLAN
// in a VLAN on a team of bonds.
const mostStacked = 8

func physicalWithin(sys, device string, levels int) bool {
	for _, sign := range []string{"device", "bonding"} {
		if _, err := os.Stat(filepath.Join(sys, device, sign)); err == nil {
			return true
		}
	}
	if levels == 0 {
		return false
	}
	for _, sign := range []string{"bridge", "macvtap"} { // its ports are below it; and it is a VM's
		if _, err := os.Stat(filepath.Join(sys, device, sign)); err == nil {
			return false
		}
	}
	entries, _ := os.ReadDir(filepath.Join(sys, device))
	for _, e := range entries {
		if lower, ok := strings.CutPrefix(e.Name(), "lower_"); ok && physicalWithin(sys, lower, levels-1) {
			return true
		}
	}
	return false
}
