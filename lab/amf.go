package lab

import (
	"encoding/binary"
	"math"
)

// amfObject is an object of AMF 0, with its properties in order.
type amfObject [][2]string

// appendAMF appends a string, a float64, an amfObject or nil ("Action Message
// Format – AMF 0", section 2).
func appendAMF(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		b = binary.BigEndian.AppendUint16(append(b, 2), uint16(len(v)))
		return append(b, v...)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 0), math.Float64bits(v))
	case amfObject:
		b = append(b, 3)
		for _, p := range v {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(p[0]))), p[0]...)
			b = appendAMF(b, p[1])
		}
		return append(b, 0, 0, 9)
	}
	return append(b, 5)
}

// amfString is the string that b begins with, and what follows it; "" if b
// does not begin with one.
func amfString(b []byte) (string, []byte) {
	if len(b) < 3 || b[0] != 2 {
		return "", b
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < 3+n {
		return "", b
	}
	return string(b[3 : 3+n]), b[3+n:]
}

// amfNumber is the number that b begins with.
func amfNumber(b []byte) (float64, bool) {
	if len(b) < 9 || b[0] != 0 {
		return 0, false
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b[1:])), true
}

// lastNumber is the number that b ends with: a createStream's answer is its
// id, null, and the stream.
func lastNumber(b []byte) (float64, bool) {
	if len(b) < 9 {
		return 0, false
	}
	return amfNumber(b[len(b)-9:])
}
