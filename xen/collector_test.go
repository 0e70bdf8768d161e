package xen

import (
	"testing"

	"sluice"
)

const sample = `{"id":7,"at":"2026-11-23T20:00:00Z","span_ns":1000000000,"nics":[{"name":"eth0","mac":"00:16:3E:07:01:00","tx":{"bytes":1250000,"packets":900,"dropped":0},"rx":{"bytes":64000,"packets":800,"dropped":0}}]}`

func TestParseSample(t *testing.T) {
	s, err := parseSample([]byte(sample))
	if err != nil || s.ID != 7 || s.NICs[0].MAC != "00:16:3e:07:01:00" || s.NICs[0].Tx.Bytes != 1250000 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "{}", "[]", `{"span_ns":-1}`, `{"span_ns":1,"nics":[{"mac":"x"}]}`, sample + string(make([]byte, maxUsage))} {
		if _, err := parseSample([]byte(bad)); sluice.CodeOf(err) != sluice.Invalid {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

func FuzzSample(f *testing.F) {
	f.Add([]byte(sample))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSample(b); err == nil && (s.Span <= 0 || len(b) > maxUsage) {
			t.Errorf("%q passed", b)
		}
	})
}
