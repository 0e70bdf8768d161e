package xen

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice"
)

// Credit is netback's limit on what a guest sends: each queue may pass so many
// bytes in each window (xen-netback, tx_credit_exceeded).
type Credit struct {
	Bytes  uint64
	Window time.Duration // whole microseconds
}

// NoLimit is the credit of a vif without a rate node.
var NoLimit = Credit{Bytes: math.MaxUint64}

// ParseCredit reads a rate node as netback does: "bytes,microseconds".
//
// Where netback fails open, on anything malformed, this fails: an error of
// code [sluice.Invalid]. A credit of 0 bytes, which cuts the guest off, is
// malformed here too.
func ParseCredit(s string) (Credit, error) {
	bytes, window, ok := strings.Cut(s, ",")
	b, err := strconv.ParseUint(bytes, 10, 64)
	if ok && err == nil {
		var usec uint64
		if usec, err = strconv.ParseUint(window, 10, 32); err == nil && b > 0 && (usec > 0 || b == math.MaxUint64) {
			return Credit{b, time.Duration(usec) * time.Microsecond}, nil
		}
	}
	return Credit{}, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%.60q is not netback's rate", s), Try: "bytes,microseconds, both above 0"}
}

// String spells the credit as a rate node does.
func (c Credit) String() string { return fmt.Sprintf("%d,%d", c.Bytes, c.Window.Microseconds()) }

// Rate is what the credit stands for, per queue, as who wrote it meant it.
func (c Credit) Rate() sluice.Rate {
	if c.Bytes == math.MaxUint64 || c.Window == 0 {
		return sluice.Unlimited
	}
	r := float64(c.Bytes) * 8 / c.Window.Seconds()
	return sluice.Rate(min(r, float64(sluice.MaxRate)))
}
