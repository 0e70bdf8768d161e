package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"sluice"
	"sluice/control"
	"sluice/http"
	"sluice/linux/htb"
)

// shaper limits both directions of a fresh site's vif.
type shaper struct {
	name  string
	limit func(context.Context, *bench, *site, sluice.Rate) error
}

// The candidates.
var (
	bySluice = shaper{"Sluice", func(ctx context.Context, b *bench, s *site, r sluice.Rate) error {
		if err := s.serve(ctx, b); err != nil {
			return err
		}
		if r == sluice.Unlimited { // nothing would be shaped if nothing ever was
			if _, err := s.client.Set(ctx, limit(vif, 1e9)); err != nil {
				return err
			}
		}
		_, err := s.client.Set(ctx, limit(vif, r))
		return err
	}}

	// A vif without a limit whose frames pass the tree, for the link is shared.
	inTheTree = shaper{"Sluice, the link shared", func(ctx context.Context, b *bench, s *site, _ sluice.Rate) error {
		if err := s.settings(htb.Ethernet); err != nil {
			return err
		}
		if err := s.serve(ctx, b); err != nil {
			return err
		}
		own := sluice.Gbit
		_, err := s.client.Set(ctx, http.ChangeRequest{VM: vif, Tx: &control.Patch{Guarantee: &own}, Rx: &control.Patch{Guarantee: &own}})
		return err
	}}

	// As one finds it in every guide; the VM's tx is the uplink's egress.
	byDefaultHTB = shaper{"HTB as iproute2 sets it", func(ctx context.Context, _ *bench, s *site, r sluice.Rate) error {
		for _, dev := range []string{vif, uplink} {
			if err := addHTB(ctx, s, dev, r); err != nil {
				return err
			}
		}
		return nil
	}}

	byCNI = shaper{"CNI bandwidth plugin", func(ctx context.Context, _ *bench, s *site, r sluice.Rate) error {
		return limitByCNI(ctx, s.host, s.vm, vif, r)
	}}

	byNobody = shaper{"no shaping", func(context.Context, *bench, *site, sluice.Rate) error { return nil }}
)

// limitByCNI has the plugin limit a VM's device on the host. A burst of 10 ms,
// and 16 KB at least; Kubernetes' own, 2 Gbit and more, would not limit at all
// in the time of a measurement.
func limitByCNI(ctx context.Context, host, vm *space, dev string, r sluice.Rate) error {
	bits := r.BytesPerSecond() * 8
	burst := max(bits/100, 16<<10*8)
	type entry struct {
		Name    string `json:"name"`
		Sandbox string `json:"sandbox,omitempty"`
	}
	ns := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(vm.ns))
	config := map[string]any{"cniVersion": "1.0.0", "name": "bench", "type": "bandwidth",
		"ingressRate": bits, "ingressBurst": burst, "egressRate": bits, "egressBurst": burst,
		"prevResult": map[string]any{"cniVersion": "1.0.0", "interfaces": []entry{{Name: dev}, {"eth0", ns}}}}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, cniDir+"/bandwidth")
	cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + dev, "CNI_IFNAME=eth0", "CNI_NETNS=" + ns, "CNI_PATH=" + cniDir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = strings.NewReader(string(text))
	_, err = host.output(cmd)
	return err
}

// cniDir is where Debian's containernetworking-plugins are.
const cniDir = "/usr/lib/cni"

// htbClass is the class that addHTB makes.
const htbClass = "1:1"

// addHTB shapes a device's egress with what iproute2 takes for granted.
func addHTB(ctx context.Context, s *site, dev string, r sluice.Rate) error {
	if err := s.host.run(ctx, "tc qdisc add dev "+dev+" root handle 1: htb default 1"); err != nil {
		return err
	}
	return s.host.run(ctx, fmt.Sprintf("tc class add dev %s parent 1: classid %s htb rate %dbit ceil %dbit", dev, htbClass, r, r))
}

// shaped makes a site that is limited. Who asked closes it.
func (b *bench) shaped(ctx context.Context, by shaper, r sluice.Rate) (*site, error) {
	s, err := newSite()
	if err != nil {
		return nil, err
	}
	if err := by.limit(ctx, b, s, r); err != nil {
		s.close()
		return nil, fmt.Errorf("%s at %s: %w", by.name, r, err)
	}
	return s, nil
}
