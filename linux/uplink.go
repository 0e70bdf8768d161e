package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sluice"
)

// UplinkCapacity is the speed of the bridge's one physical port, as its driver
// tells it (ethtool's "Speed"). It is [sluice.Unlimited] both ways, with the
// reason, where there is no such port, more than one, or no known speed: taps
// and veths claim speeds that mean nothing, so only what has hardware behind
// it, or is a bond of such, counts.
func UplinkCapacity(bridge string) (c sluice.Capacity, why string) {
	return uplinkCapacity("/sys/class/net", bridge)
}

func uplinkCapacity(sys, bridge string) (c sluice.Capacity, why string) {
	c = sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited}
	ports, err := os.ReadDir(filepath.Join(sys, bridge, "brif"))
	if err != nil {
		return c, fmt.Sprintf("%s is no bridge", bridge)
	}
	var uplinks []string
	for _, p := range ports {
		for _, sign := range []string{"device", "bonding"} {
			if _, err := os.Stat(filepath.Join(sys, p.Name(), sign)); err == nil {
				uplinks = append(uplinks, p.Name())
				break
			}
		}
	}
	if len(uplinks) != 1 {
		return c, fmt.Sprintf("%s has %d physical ports", bridge, len(uplinks))
	}
	text, err := os.ReadFile(filepath.Join(sys, uplinks[0], "speed")) // Mbit/s; EINVAL while it is down
	mbit, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || bad != nil || mbit == 0 || mbit == 1<<32-1 || sluice.Rate(mbit) > sluice.MaxRate/sluice.Mbit {
		return c, fmt.Sprintf("%s does not say how fast it is", uplinks[0])
	}
	rate := sluice.Rate(mbit) * sluice.Mbit
	return sluice.Capacity{Tx: rate, Rx: rate}, fmt.Sprintf("%s says so", uplinks[0])
}
