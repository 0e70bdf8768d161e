package sluice

import (
	"fmt"
	"strconv"
)

// VIF is one virtual network interface of a VM, as the inventory knows it.
type VIF struct {
	VM     string `json:"vm"`     // the VM's name
	UUID   string `json:"uuid"`   // the VM's UUID, where the hypervisor has one
	Index  int    `json:"vif"`    // 0 is the VM's first interface
	MAC    string `json:"mac"`    // the guest's own MAC, lower case, where an authority names it
	Device string `json:"device"` // the host's network device: tap0, vif1.0; reused, so never an identity
}

// Key is the vif's identity for settings and journal. It belongs to the VM,
// not to the device: it stays when the VM restarts and gets another tap or
// domid. It has one slash, between the VM and the interface; a group's has none.
func (v VIF) Key() string {
	if v.IsGroup() {
		return v.VM
	}
	vm, nic := v.UUID, v.MAC
	if vm == "" {
		vm = v.VM
	}
	if nic == "" {
		nic = strconv.Itoa(v.Index)
	}
	return vm + "/" + nic
}

// String names the vif as people do: "web vif 0".
func (v VIF) String() string {
	if v.IsGroup() {
		name, _ := GroupOf(v.VM)
		return "group " + name
	}
	return fmt.Sprintf("%s vif %d", v.VM, v.Index)
}

// State is the state of a vif's back-end: two of Xenbus's, by its numbers
// (xen/include/public/io/xenbus.h).
type State int

const (
	Connected     State = 4
	Reconfiguring State = 7
)

// String is Xenbus's name for the state.
func (s State) String() string {
	switch s {
	case Connected:
		return "Connected"
	case Reconfiguring:
		return "Reconfiguring"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// MarshalText writes the name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name or the number.
func (s *State) UnmarshalText(b []byte) error {
	switch string(b) {
	case "Connected", "4":
		*s = Connected
	case "Reconfiguring", "7":
		*s = Reconfiguring
	default:
		return &Error{Code: Invalid, Message: fmt.Sprintf("%q is not a state", b), Try: "Connected or Reconfiguring"}
	}
	return nil
}
