package tc

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Verdicts of an action, or of a classifier that has none (TC_ACT_*).
const (
	Continue = -1 // go on with the next filter
	Pass     = 0
	Drop     = 2
	Pipe     = 3 // go on with the next action
	Stolen   = 4
)

// Filter is one on a hook or a qdisc, as the kernel tells it.
type Filter struct {
	Pref   uint16 // its priority: those of a smaller one run first
	Chain  uint32 // 0 is the one that packets enter
	Handle uint32
	Kind   string
	BPF    BPF // where Kind is BPFKind
	// Actions are the actions of a match, in the order in which they run.
	Actions []Action
}

// BPFKind is the classifier that runs an eBPF program.
const BPFKind = "bpf"

// BPF is what a filter of kind bpf says of itself.
type BPF struct {
	Name         string
	ProgramID    uint32
	DirectAction bool // the program's answer is a verdict, not a class
}

// Action is one of a filter's.
type Action struct {
	Kind    string
	Verdict int32 // what becomes of the packet after it
	Mirred  int   // the device that a mirred sends to; 0 if none, or it has gone
}

// The attributes of filters and actions (include/uapi/linux/pkt_cls.h,
// tc_act/tc_mirred.h).
const (
	bpfAct      = 1  // TCA_BPF_ACT
	bpfFD       = 6  // TCA_BPF_FD
	bpfName     = 7  // TCA_BPF_NAME
	bpfFlags    = 8  // TCA_BPF_FLAGS
	bpfID       = 11 // TCA_BPF_ID
	bpfDirect   = 1  // TCA_BPF_FLAG_ACT_DIRECT
	actKind     = 1  // TCA_ACT_KIND
	actOptions  = 2  // TCA_ACT_OPTIONS
	mirredParms = 2  // TCA_MIRRED_PARMS

	sizeofGen    = 20 // struct tc_gen, with which most actions' parameters begin
	sizeofMirred = 28 // struct tc_mirred
	redirect     = 1  // TCA_EGRESS_REDIR
	tcaChain     = 11 // TCA_CHAIN
)

// actsOf is where each classifier keeps its actions, TCA_*_ACT.
var actsOf = map[string]uint16{"bpf": bpfAct, "u32": 7, "matchall": 2, "flower": 3, "basic": 3, "fw": 4, "cgroup": 1, "flow": 9, "route": 6}

// BPFFilter is a filter to make.
type BPFFilter struct {
	Parent     Handle
	Pref       uint16
	Name       string // told by the kernel ever after
	Program    int    // its descriptor
	RedirectTo int    // a device for which matches leave; 0: the program's answer is a class
}

const filterHandle = 1

// filterInfo is a filter's preference and protocol (all), as tcm_info has them.
func filterInfo(pref uint16) uint32 {
	return uint32(pref)<<16 | uint32(unix.ETH_P_ALL&0xff)<<8 | unix.ETH_P_ALL>>8
}

// PutFilter makes a filter, or replaces the one of the same parent and
// preference in one step.
func (c *Conn) PutFilter(ifindex int, f BPFFilter) error {
	data, err := object(message{Ifindex: ifindex, Handle: filterHandle, Parent: uint32(f.Parent), Info: filterInfo(f.Pref)}, func(enc *netlink.AttributeEncoder) {
		enc.String(unix.TCA_KIND, BPFKind)
		enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
			o.Uint32(bpfFD, uint32(f.Program))
			o.String(bpfName, f.Name)
			if f.RedirectTo != 0 {
				encodeMirred(o, f.RedirectTo)
			}
			return nil
		})
	})
	return c.write("setting filter "+f.Name, unix.RTM_NEWTFILTER, netlink.Create, data, err)
}

func encodeMirred(o *netlink.AttributeEncoder, ifindex int) {
	o.Nested(bpfAct, func(acts *netlink.AttributeEncoder) error {
		acts.Nested(1, func(act *netlink.AttributeEncoder) error {
			act.String(actKind, "mirred")
			act.Nested(actOptions, func(m *netlink.AttributeEncoder) error {
				b := make([]byte, sizeofMirred)
				binary.NativeEndian.PutUint32(b[8:], Stolen)
				binary.NativeEndian.PutUint32(b[20:], redirect)
				binary.NativeEndian.PutUint32(b[24:], uint32(ifindex))
				m.Bytes(mirredParms, b)
				return nil
			})
			return nil
		})
		return nil
	})
}

// DeleteFilter removes a filter that PutFilter made. None there is no error.
func (c *Conn) DeleteFilter(ifindex int, parent Handle, pref uint16) error {
	data, err := object(message{Ifindex: ifindex, Handle: filterHandle, Parent: uint32(parent), Info: filterInfo(pref)},
		func(enc *netlink.AttributeEncoder) { enc.String(unix.TCA_KIND, BPFKind) })
	return present(c.write(fmt.Sprintf("removing the filter of preference %d", pref), unix.RTM_DELTFILTER, 0, data, err))
}

// DeleteFilters removes all filters of a preference, whoever made them, of
// whatever kind and protocol. None there is no error.
func (c *Conn) DeleteFilters(ifindex int, parent Handle, pref uint16) error {
	data, err := object(message{Ifindex: ifindex, Parent: uint32(parent), Info: uint32(pref) << 16}, nil)
	return present(c.write(fmt.Sprintf("removing the filters of preference %d", pref), unix.RTM_DELTFILTER, 0, data, err))
}

// Filters sends every filter of a hook or a qdisc to each, in the order in
// which they run within a chain. No hook there means no filters.
func (c *Conn) Filters(ifindex int, parent Handle, each func(Filter)) error {
	err := c.read("listing filters", unix.RTM_GETTFILTER, netlink.Dump, message{Ifindex: ifindex, Parent: uint32(parent)},
		func(m message, a *netlink.AttributeDecoder) error {
			f, err := decodeFilter(m, a)
			// A preference is announced without a handle first, and u32 tells its
			// hash tables as filters, which have no node.
			if f.Handle != 0 && (f.Kind != "u32" || f.Handle&0xfff != 0) {
				each(f)
			}
			return err
		})
	if Absent(err) || isInvalid(err) {
		return nil
	}
	return err
}

func decodeFilter(m message, a *netlink.AttributeDecoder) (Filter, error) {
	f := Filter{Pref: uint16(m.Info >> 16), Handle: m.Handle}
	for a.Next() {
		switch a.Type() {
		case unix.TCA_KIND:
			f.Kind = a.String()
		case tcaChain:
			f.Chain = a.Uint32()
		case unix.TCA_OPTIONS:
			a.Nested(f.decodeOptions)
		}
	}
	return f, a.Err()
}

func (f *Filter) decodeOptions(o *netlink.AttributeDecoder) error {
	acts, known := actsOf[f.Kind]
	for o.Next() {
		switch typ := o.Type(); {
		case known && typ == acts:
			o.Nested(f.decodeActions)
		case f.Kind != BPFKind:
		case typ == bpfName:
			f.BPF.Name = o.String()
		case typ == bpfID:
			f.BPF.ProgramID = o.Uint32()
		case typ == bpfFlags:
			f.BPF.DirectAction = o.Uint32()&bpfDirect != 0
		}
	}
	return o.Err()
}

func (f *Filter) decodeActions(acts *netlink.AttributeDecoder) error {
	for acts.Next() {
		var one Action
		acts.Nested(func(a *netlink.AttributeDecoder) error {
			for a.Next() {
				switch a.Type() {
				case actKind:
					one.Kind = a.String()
				case actOptions:
					a.Nested(one.decode)
				}
			}
			return a.Err()
		})
		f.Actions = append(f.Actions, one)
	}
	return acts.Err()
}

// decode reads an action's verdict, the third word of struct tc_gen, and
// where a mirred leads. An action that has its parameters elsewhere, as
// police has, is taken to pass what it gets.
func (one *Action) decode(o *netlink.AttributeDecoder) error {
	for o.Next() {
		b := o.Bytes()
		if o.Type() != mirredParms || len(b) < sizeofGen || one.Kind == "police" {
			continue
		}
		one.Verdict = int32(binary.NativeEndian.Uint32(b[8:]))
		if one.Kind == "mirred" && len(b) >= sizeofMirred {
			one.Mirred = int(binary.NativeEndian.Uint32(b[24:]))
		}
	}
	return o.Err()
}
