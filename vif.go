package sluice

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// VIF is one virtual network interface of a VM, as the inventory knows it.
type VIF struct {
	ID     string `json:"key"`    // given once by package control, see [VIF.Key]; "" until then
	VM     string `json:"vm"`     // the VM's name; printable, see [Printable]
	UUID   string `json:"uuid"`   // the VM's UUID, lower case, where the hypervisor has one
	Index  int    `json:"vif"`    // 0 is the VM's first interface
	MAC    string `json:"mac"`    // the guest's own MAC, lower case, where an authority names it
	Device string `json:"device"` // the host's network device: tap0, vif1.0; reused, so never an identity; "" if the vif is absent

	// Profile is the name of the profile that the VM's own description on the
	// host asks for; "" if it asks for none.
	Profile string `json:"-"`

	// What tells a device from another that has its name later: its own MAC,
	// lower case, and the kernel's index of it (ifindex). "" and 0 where unknown.
	DeviceMAC   string `json:"-"`
	DeviceIndex int    `json:"-"`
}

// Key is the vif's identity for settings and journal: the ID that it was
// given. It belongs to the VM, not to the device: it stays when the VM restarts
// and gets another tap or domid, and when its UUID or MAC is learnt later.
// Without an ID it is what a new vif is given. It has one slash, between the
// VM and the interface; a group's has none.
func (v VIF) Key() string {
	if v.IsGroup() {
		return v.VM
	}
	if v.ID != "" {
		return v.ID
	}
	vm, nic := v.UUID, v.MAC
	if vm == "" {
		vm = strings.ReplaceAll(v.VM, "/", "%2F")
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

// UUID is text if that is a UUID, in lower case, else "": 32 hexadecimal
// digits with four dashes.
func UUID(text string) string {
	if len(text) != 36 {
		return ""
	}
	for i, r := range text {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return ""
		}
	}
	return strings.ToLower(text)
}

// MAC is text if that is an Ethernet address, in lower case with colons, else "".
func MAC(text string) string {
	if mac, err := net.ParseMAC(text); err == nil && len(mac) == 6 {
		return mac.String()
	}
	return ""
}

// Nameless says whether nobody named the VM: the vif is called as its device,
// and is the same only as long as that is the same device.
func (v VIF) Nameless() bool { return v.UUID == "" && v.MAC == "" && v.VM == Printable(v.Device) }

// Printable is s with whatever does not print spelt out: control characters,
// what turns the direction of writing, and bytes that are no UTF-8. Names come
// from guests and devices, and go to terminals, pages and logs.
func Printable(s string) string {
	plain := func(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }
	if !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case plain(r):
			b.WriteString(s[:n])
		case n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
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
