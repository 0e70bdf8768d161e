package sluice_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]sluice.Rate{
		"100mbit":                       100_000_000,
		"100Mbit":                       100_000_000,
		"1.5gbit":                       1_500_000_000,
		"8kbit":                         8_000,
		"1tbit":                         1_000_000_000_000,
		"100tbit":                       sluice.MaxRate,
		"10Mb/s":                        10_000_000,
		"10mb/s":                        10_000_000,
		"250KB/s":                       2_000_000,
		"1GB/s":                         8_000_000_000,
		"9600":                          9_600,
		"9600bit":                       9_600,
		"0":                             0,
		"0.5kbit":                       500,
		"1.9":                           1, // a fraction of a bit is rounded down
		"0.00019KB/s":                   1,
		"0.0000000000000000000001gbit":  0,
		"1.0000000000000000000001gbit":  1_000_000_000,
		"34.36gbit":                     34_360_000_000,
		"unlimited":                     sluice.Unlimited,
		"Unlimited":                     sluice.Unlimited,
		"000000000000000000000001mbit":  1_000_000,
		"0.999999999999999999999999bit": 0,
	} {
		if got, err := sluice.ParseRate(s); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", s, uint64(got), err, uint64(want))
		}
	}
}

func TestParseRateRefuses(t *testing.T) {
	for s, says := range map[string]string{
		"":                               "does not begin with a number",
		"fast":                           "does not begin with a number",
		"-1mbit":                         "does not begin with a number",
		"+1mbit":                         "does not begin with a number",
		" 1mbit":                         "does not begin with a number",
		"1mbit ":                         "unknown unit",
		"1 mbit":                         "unknown unit",
		"1e99":                           "unknown unit",
		"0x10":                           "unknown unit",
		"1pbit":                          "unknown unit",
		"1Mib/s":                         "unknown unit",
		"1.5.0mbit":                      "is not a number",
		".5mbit":                         "is not a number",
		"5.mbit":                         "is not a number",
		"100.1tbit":                      "above 100tbit",
		"99.99999999999999tbit999":       "unknown unit",
		"13TB/s":                         "above 100tbit",
		"18446744073709551615":           "above 100tbit",
		"99999999999999999999":           "above 100tbit",
		"18446744073710mbit":             "above 100tbit", // wraps in 64 bits
		"10mbps":                         "10mbit, or 10MB/s",
		"10Mbps":                         "10mbit, or 10MB/s",
		"10kbps":                         "10kbit, or 10KB/s",
		"10bps":                          "10bit, or 10B/s",
		"10\xffbit":                      "unknown unit",
		"NaN":                            "does not begin with a number",
		strings.Repeat("9", 1<<20):       "above 100tbit",
		"1" + strings.Repeat("k", 1<<20): "unknown unit",
	} {
		_, err := sluice.ParseRate(s)
		if sluice.CodeOf(err) != sluice.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseRate(%.40q) says %.200v; want %q", s, err, says)
			continue
		}
		if n := len(err.Error()); n > 1000 {
			t.Errorf("ParseRate(%.40q) answers with %d bytes", s, n)
		}
	}
}

// anyRate draws rates of all magnitudes, and Unlimited.
func anyRate() *rapid.Generator[sluice.Rate] {
	return rapid.Custom(func(t *rapid.T) sluice.Rate {
		unit := rapid.SampledFrom([]sluice.Rate{sluice.Bit, sluice.Kbit, sluice.Mbit, sluice.Gbit, sluice.Unlimited}).Draw(t, "unit")
		if unit == sluice.Unlimited {
			return unit
		}
		return min(sluice.MaxRate, unit*sluice.Rate(rapid.Uint64Range(0, 100_000).Draw(t, "n"))+sluice.Rate(rapid.Uint64Range(0, 1000).Draw(t, "rest")))
	})
}

// Whatever is printed is read back as the same rate: as text and as JSON.
func TestRateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRate().Draw(t, "rate")
		if got, err := sluice.ParseRate(r.String()); err != nil || got != r {
			t.Fatalf("%d prints as %s, which is read as %d, %v", uint64(r), r, uint64(got), err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back sluice.Rate
		if err := json.Unmarshal(b, &back); err != nil || back != r {
			// encoding/json calls no method for a null into a plain field.
			if r != sluice.Unlimited || string(b) != "null" {
				t.Fatalf("%s is %s in JSON, which is read as %s, %v", r, b, back, err)
			}
		}
	})
}

func TestRateJSON(t *testing.T) {
	for in, want := range map[string]sluice.Rate{
		`1000`: 1000, `0`: 0, `null`: sluice.Unlimited, `"10mbit"`: 10_000_000, `"unlimited"`: sluice.Unlimited,
	} {
		got := struct{ R sluice.Rate }{7}
		if err := json.Unmarshal([]byte(`{"R":`+in+`}`), &got); err != nil || got.R != want {
			t.Errorf("%s is read as %s, %v; want %s", in, got.R, err, want)
		}
	}
	for _, in := range []string{`-1`, `1.5`, `1e3`, `1e99`, `true`, `{}`, `[]`, `"mbit"`, `""`, `"10mbps"`, `100000000000001`, `18446744073709551615`, `99999999999999999999`} {
		var got sluice.Rate
		if err := json.Unmarshal([]byte(in), &got); sluice.CodeOf(err) != sluice.Invalid {
			t.Errorf("%s is read as %s, %v; want an error of code invalid", in, got, err)
		}
	}
}

func TestBytesPerSecond(t *testing.T) {
	for r, want := range map[sluice.Rate]uint64{8000: 1000, 7: 0, 40 * sluice.Gbit: 5_000_000_000, sluice.Unlimited: 1<<64 - 1} {
		if got := r.BytesPerSecond(); got != want {
			t.Errorf("%s is %d B/s; want %d", r, got, want)
		}
	}
}

// FuzzParseRate holds the parser against exact arithmetic.
func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"100mbit", "1.5gbit", "10Mb/s", "250KB/s", "9600", "unlimited", "1e99", "10mbps", "", "-1", "0.00019KB/s", "100tbit", ".", "1.", "12.5TB/s"} {
		f.Add(s)
	}
	perUnit := map[string]int64{"": 1, "bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12,
		"b/s": 1, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9, "tb/s": 1e12}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := sluice.ParseRate(s)
		if err != nil {
			if sluice.CodeOf(err) != sluice.Invalid {
				t.Fatalf("ParseRate(%q) fails with code %s", s, sluice.CodeOf(err))
			}
			return
		}
		if back, err := sluice.ParseRate(got.String()); err != nil || back != got {
			t.Fatalf("%q prints as %s, which is read as %s, %v", s, got, back, err)
		}
		if got == sluice.Unlimited {
			return
		}
		unit := strings.TrimLeft(s, "0123456789.")
		one, known := perUnit[strings.ToLower(unit)]
		want, ok := new(big.Rat).SetString(strings.TrimSuffix(s, unit))
		if !known || !ok {
			t.Fatalf("ParseRate(%q) = %s", s, got)
		}
		if strings.HasSuffix(unit, "B/s") {
			one *= 8
		}
		want.Mul(want, new(big.Rat).SetInt64(one))
		if floor := new(big.Int).Quo(want.Num(), want.Denom()); floor.Cmp(new(big.Int).SetUint64(uint64(got))) != 0 || got > sluice.MaxRate {
			t.Fatalf("ParseRate(%q) = %d; want %s", s, uint64(got), floor)
		}
	})
}
