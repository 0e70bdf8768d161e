package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

const (
	filterPref   = 65520 // the last but few, so that everybody else's run first
	filterHandle = 1

	ingressHook = 0xfffffff2
	egressHook  = 0xfffffff3
)

// The attributes of cls_bpf and act_mirred (include/uapi/linux/pkt_cls.h,
// tc_act/tc_mirred.h).
const (
	tcaBPFAct  = 1
	tcaBPFFd   = 6
	tcaBPFName = 7

	tcaActKind      = 1
	tcaActOptions   = 2
	tcaMirredParms  = 2
	sizeofMirred    = 28
	mirredEgress    = 1 // redirect to the device's egress
	actStolen       = 4
	priorityOffset  = 32 // of struct __sk_buff
	matched         = -1 // cls_bpf: go on with the filter's actions
	clsactMadeByUs  = "-clsact"
	filterNameStart = "sluice-"
)

// hook is where a direction passes a device. Directions are the VM's: what it
// sends comes in.
func hook(d sluice.Direction) uint32 {
	if d == sluice.Tx {
		return ingressHook
	}
	return egressHook
}

// filter is what the kernel says of one on a hook.
type filter struct {
	pref  uint32
	kind  string
	name  string // of a cls_bpf
	ours  bool
	class handle
	made  bool // the clsact was made for it
}

func filterName(d sluice.Direction, class handle, made bool) string {
	name := fmt.Sprintf("%s%s-%04x:%04x", filterNameStart, d, uint32(class)>>16, class.minor())
	if made {
		name += clsactMadeByUs
	}
	return name
}

// recognise reads a filter's name, which is all a daemon that starts needs.
func (f *filter) recognise(d sluice.Direction) {
	rest, ok := strings.CutPrefix(f.name, filterNameStart+string(d)+"-")
	if !ok || f.pref != filterPref || f.kind != "bpf" {
		return
	}
	rest, f.made = strings.CutSuffix(rest, clsactMadeByUs)
	maj, min, ok := strings.Cut(rest, ":")
	a, err := strconv.ParseUint(maj, 16, 16)
	b, err2 := strconv.ParseUint(min, 16, 16)
	if ok && err == nil && err2 == nil && a == major {
		f.ours, f.class = true, classHandle(uint16(b))
	}
}

// putFilter redirects a direction of a device to the IFB, into the class. It
// replaces an older one of ours in one step.
func (r *rtnl) putFilter(ifindex int, d sluice.Direction, class handle, ifb int, made bool) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "sluice", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm32(asm.R2, int32(class)),
			asm.StoreMem(asm.R1, priorityOffset, asm.R2, asm.Word),
			asm.Mov.Imm(asm.R0, matched),
			asm.Return(),
		},
	})
	if err != nil {
		return fmt.Errorf("loading the program for class %s: %w", class, err)
	}
	defer program.Close()
	return r.write(fmt.Sprintf("filtering %s into class %s", d, class), unix.RTM_NEWTFILTER, netlink.Create,
		tcmsg{ifindex: ifindex, handle: filterHandle, parent: hook(d), info: filterInfo()}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, "bpf")
			enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
				o.Uint32(tcaBPFFd, uint32(program.FD()))
				o.String(tcaBPFName, filterName(d, class, made))
				o.Nested(tcaBPFAct, func(acts *netlink.AttributeEncoder) error {
					acts.Nested(1, func(act *netlink.AttributeEncoder) error {
						act.String(tcaActKind, "mirred")
						act.Nested(tcaActOptions, func(m *netlink.AttributeEncoder) error {
							b := make([]byte, sizeofMirred)
							binary.NativeEndian.PutUint32(b[8:], actStolen)
							binary.NativeEndian.PutUint32(b[20:], mirredEgress)
							binary.NativeEndian.PutUint32(b[24:], uint32(ifb))
							m.Bytes(tcaMirredParms, b)
							return nil
						})
						return nil
					})
					return nil
				})
				return nil
			})
		})
}

// filterInfo is a filter's preference and protocol (all), as tcm_info has them.
func filterInfo() uint32 {
	return filterPref<<16 | uint32(unix.ETH_P_ALL&0xff)<<8 | unix.ETH_P_ALL>>8
}

func (r *rtnl) deleteFilter(ifindex int, d sluice.Direction) error {
	err := r.write(fmt.Sprintf("removing the %s filter", d), unix.RTM_DELTFILTER, 0,
		tcmsg{ifindex: ifindex, handle: filterHandle, parent: hook(d), info: filterInfo()}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, "bpf")
		})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// filters sends all filters of a hook to each.
func (r *rtnl) filters(ifindex int, d sluice.Direction, each func(filter)) error {
	err := r.read(fmt.Sprintf("listing the %s filters", d), unix.RTM_GETTFILTER, netlink.Dump,
		tcmsg{ifindex: ifindex, parent: hook(d)}, func(m tcmsg, a *netlink.AttributeDecoder) error {
			f := filter{pref: m.info >> 16}
			for a.Next() {
				switch a.Type() {
				case unix.TCA_KIND:
					f.kind = a.String()
				case unix.TCA_OPTIONS:
					if f.kind == "bpf" {
						a.Nested(func(o *netlink.AttributeDecoder) error {
							for o.Next() {
								if o.Type() == tcaBPFName {
									f.name = o.String()
								}
							}
							return o.Err()
						})
					}
				}
			}
			f.recognise(d)
			// A kernel announces a preference by a message without a handle first.
			if m.handle != 0 {
				each(f)
			}
			return a.Err()
		})
	if absent(err) {
		return nil // no clsact
	}
	return err
}
