package htb

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"sluice/linux/tc"
)

// tcx are the eBPF programs that are attached to a device itself (Linux 6.6
// and later), in words. They run before any clsact, tc does not show them, and
// a verdict of theirs ends the pipeline. The kernel looks the device up in the
// namespace of the calling thread, which is the daemon's. An older kernel has none.
func tcx(ifindex int, hook tc.Handle) (found []string) {
	at := ebpf.AttachTCXIngress
	if hook == tc.Egress {
		at = ebpf.AttachTCXEgress
	}
	there, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: at})
	if err != nil {
		return nil
	}
	for _, p := range there.Programs {
		who := fmt.Sprintf("a tcx program (id %d", p.ID)
		if program, err := ebpf.NewProgramFromID(p.ID); err == nil {
			if about, err := program.Info(); err == nil && about.Name != "" {
				who += ", " + about.Name
			}
			program.Close()
		}
		found = append(found, who+") that may pass frames")
	}
	return found
}
