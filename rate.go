package sluice

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Rate is a bandwidth in bits per second. Multiples are SI: 1 kbit is 1000 bits.
type Rate uint64

const (
	Bit  Rate = 1
	Kbit      = 1000 * Bit
	Mbit      = 1000 * Kbit
	Gbit      = 1000 * Mbit
	Tbit      = 1000 * Gbit

	// Unlimited is the limit of a vif that has none. In JSON it is null.
	Unlimited Rate = math.MaxUint64

	// MinLimit is the lowest limit accepted. Below one kilobyte a second a
	// full Ethernet frame takes longer than TCP's first retransmission, so the
	// VM would be as good as unplugged.
	MinLimit = 8 * Kbit

	// MaxRate is the highest rate that can be written: well above any link
	// there is, and far enough from 2^64 that sums of a host's rates do not wrap.
	MaxRate = 100 * Tbit
)

// units maps the lower-cased spellings of tc(8) to bits.
var units = []struct {
	name string
	rate Rate
}{{"tbit", Tbit}, {"gbit", Gbit}, {"mbit", Mbit}, {"kbit", Kbit}, {"bit", Bit}}

// ParseRate reads a rate as tc(8) and xl.cfg(5) spell it: "100mbit",
// "1.5gbit", "10Mb/s", "250KB/s", a bare number of bits per second, or
// "unlimited". In Xen's spellings a small b is bits and a capital B bytes.
//
// "mbps" and its kin are refused, because tc(8) means bytes by it and most
// people mean bits. It returns an [Error] with code [Invalid] for anything
// that is not exactly one rate of at most [MaxRate]; a fraction of a bit is
// rounded down.
func ParseRate(s string) (Rate, error) {
	if strings.EqualFold(s, "unlimited") {
		return Unlimited, nil
	}
	digits := 0
	for digits < len(s) && (s[digits] >= '0' && s[digits] <= '9' || s[digits] == '.') {
		digits++
	}
	number, unit := s[:digits], s[digits:]
	if number == "" {
		return 0, badRate(s, "it does not begin with a number")
	}
	one, err := parseUnit(s, number, unit)
	if err != nil {
		return 0, err
	}
	whole, fraction, hasPoint := strings.Cut(number, ".")
	if whole == "" || hasPoint && fraction == "" || strings.Contains(fraction, ".") {
		return 0, badRate(s, brief(number)+" is not a number")
	}
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil {
		return 0, tooLarge(s)
	}
	hi, lo := bits.Mul64(n, uint64(one))
	if hi != 0 || Rate(lo) > MaxRate {
		return 0, tooLarge(s)
	}
	// No unit has more than 15 decimal places to a bit, so 19 digits, which
	// fit 64 bits, round down exactly.
	part, scale := uint64(0), uint64(1)
	for i := 0; i < min(len(fraction), 19); i++ {
		part, scale = 10*part+uint64(fraction[i]-'0'), 10*scale
	}
	hi, sub := bits.Mul64(part, uint64(one))
	sub, _ = bits.Div64(hi, sub, scale)
	rate := Rate(lo + sub)
	if rate > MaxRate {
		return 0, tooLarge(s)
	}
	return rate, nil
}

// parseUnit returns how many bit/s one of the unit is.
func parseUnit(s, number, unit string) (Rate, error) {
	lower := strings.ToLower(unit)
	if unit == "" {
		return Bit, nil
	}
	for _, u := range units {
		if lower == u.name {
			return u.rate, nil
		}
	}
	if prefix, ok := strings.CutSuffix(lower, "bps"); ok && len(prefix) <= 1 && len(number) < 20 {
		return 0, &Error{
			Code: Invalid,
			Message: fmt.Sprintf("rate %q is ambiguous: tc reads %s as bytes per second (%s%sB/s), most people mean bits (%s%sbit)",
				s, unit, number, strings.ToUpper(prefix), number, prefix),
			Try: fmt.Sprintf("%s%sbit, or %s%sB/s", number, prefix, number, strings.ToUpper(prefix)),
		}
	}
	// Xen: [KMGT]b/s for bits, [KMGT]B/s for bytes.
	if body, ok := strings.CutSuffix(lower, "b/s"); ok && len(body) <= 1 {
		for _, u := range units {
			if u.name == body+"bit" {
				if unit[len(unit)-3] == 'B' {
					return 8 * u.rate, nil
				}
				return u.rate, nil
			}
		}
	}
	return 0, badRate(s, "unknown unit "+brief(unit))
}

func badRate(s, why string) error {
	return &Error{
		Code:    Invalid,
		Message: fmt.Sprintf("%s is not a rate: %s", brief(s), why),
		Try:     "a rate such as 100mbit, 1.5gbit, 10Mb/s, 250KB/s or unlimited",
	}
}

// brief quotes what somebody wrote, within reason.
func brief(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strconv.Quote(s)
}

func tooLarge(s string) error {
	return badRate(s, fmt.Sprintf("it is above %s", MaxRate))
}

// String spells the rate so that [ParseRate] reads back the same one:
// "1.5gbit", "8kbit", "unlimited".
func (r Rate) String() string {
	if r == Unlimited {
		return "unlimited"
	}
	for _, u := range units {
		if r < u.rate {
			continue
		}
		s := strconv.FormatUint(uint64(r/u.rate), 10)
		if rest := r % u.rate; rest != 0 {
			width := len(strconv.FormatUint(uint64(u.rate), 10)) - 1
			s += "." + strings.TrimRight(fmt.Sprintf("%0*d", width, uint64(rest)), "0")
		}
		return s + u.name
	}
	return "0bit"
}

// BytesPerSecond is the rate in the kernel's unit, rounded down. [Unlimited]
// stays the largest value.
func (r Rate) BytesPerSecond() uint64 {
	if r == Unlimited {
		return math.MaxUint64
	}
	return uint64(r) / 8
}

// MarshalJSON writes bit/s as an integer, and [Unlimited] as null.
func (r Rate) MarshalJSON() ([]byte, error) {
	if r == Unlimited {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(r), 10), nil
}

// UnmarshalJSON reads an integer of bit/s, null for [Unlimited], or a string
// as [ParseRate] does.
func (r *Rate) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	switch {
	case bytes.Equal(b, []byte("null")):
		*r = Unlimited
		return nil
	case len(b) >= 2 && b[0] == '"':
		return r.UnmarshalText(b[1 : len(b)-1])
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return badRate(string(b), "JSON carries an integer of bit/s, null or a string")
	}
	if Rate(n) > MaxRate {
		return tooLarge(string(b))
	}
	*r = Rate(n)
	return nil
}

// UnmarshalText reads a rate as [ParseRate] does; it serves settings files and flags.
func (r *Rate) UnmarshalText(b []byte) error {
	parsed, err := ParseRate(string(b))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
