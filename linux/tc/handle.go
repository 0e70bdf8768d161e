package tc

import "fmt"

// Handle names a qdisc or a class: major in the upper half, minor in the
// lower. A qdisc's minor is 0.
type Handle uint32

// Parents that are no classes.
const (
	Root        Handle = 0xffffffff // of a device's egress
	ClsactHooks Handle = 0xfffffff1 // where clsact and ingress stand
	Ingress     Handle = 0xfffffff2 // clsact's hook for what comes in
	Egress      Handle = 0xfffffff3 // and for what goes out
)

// NewHandle makes one of its halves.
func NewHandle(major, minor uint16) Handle { return Handle(major)<<16 | Handle(minor) }

// Major is the upper half.
func (h Handle) Major() uint16 { return uint16(h >> 16) }

// Minor is the lower half.
func (h Handle) Minor() uint16 { return uint16(h) }

// String is tc's spelling, in hexadecimal: "51ce:10", "51ce:".
func (h Handle) String() string {
	if h.Minor() == 0 {
		return fmt.Sprintf("%x:", h.Major())
	}
	return fmt.Sprintf("%x:%x", h.Major(), h.Minor())
}
