package lxd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sluice"
)

// Limits of what the daemon may answer.
const (
	mostAnswer = 64 << 20 // bytes, of all instances
	mostNICs   = 64       // of one instance
)

// instance is the part of an instance that matters here (rest-api.yaml of LXD
// and of Incus, which are the same in this).
type instance struct {
	Name    string                       `json:"name"`
	Project string                       `json:"project"`
	Status  int                          `json:"status_code"`
	Config  map[string]string            `json:"expanded_config"`
	Devices map[string]map[string]string `json:"expanded_devices"`
}

const stopped = 102 // shared/api/status_code.go

// parse reads the answer to /1.0/instances?recursion=1.
func parse(answer io.Reader) ([]sluice.VIF, error) {
	var in struct {
		Status    int        `json:"status_code"`
		Error     string     `json:"error"`
		Instances []instance `json:"metadata"`
	}
	limited := &io.LimitedReader{R: answer, N: mostAnswer}
	err := json.NewDecoder(limited).Decode(&in)
	switch {
	case limited.N == 0:
		return nil, fmt.Errorf("it answers with more than %d bytes", mostAnswer)
	case err != nil:
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	case in.Error != "":
		return nil, fmt.Errorf("it says %.200q", in.Error)
	}
	var all []sluice.VIF
	for _, i := range in.Instances {
		if i.Status != stopped {
			all = append(all, i.vifs()...)
		}
	}
	return all, nil
}

// vifs are an instance's interfaces with a device on the host, in the order of
// their names.
func (i instance) vifs() (all []sluice.VIF) {
	vm := i.Name
	if i.Project != "" && i.Project != "default" {
		vm = i.Project + "/" + i.Name // names are a project's own
	}
	var nics []string
	for name, d := range i.Devices {
		if d["type"] == "nic" {
			nics = append(nics, name)
		}
	}
	if i.Name == "" || len(nics) > mostNICs {
		return nil
	}
	slices.SortFunc(nics, func(a, b string) int { // eth2 before eth10
		return cmp.Or(cmp.Compare(strings.TrimRight(a, "0123456789"), strings.TrimRight(b, "0123456789")), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	for index, name := range nics {
		device := cmp.Or(i.Config["volatile."+name+".host_name"], i.Devices[name]["host_name"])
		if device == "" || len(device) > 15 || strings.ContainsAny(device, "/ \x00") {
			continue // none on the host: physical, SR-IOV, macvlan
		}
		all = append(all, sluice.VIF{VM: sluice.Printable(vm), UUID: sluice.UUID(i.Config["volatile.uuid"]), Index: index, Device: device,
			MAC: sluice.MAC(cmp.Or(i.Config["volatile."+name+".hwaddr"], i.Devices[name]["hwaddr"])), Profile: i.Config["user.sluice.profile"]})
	}
	return all
}
