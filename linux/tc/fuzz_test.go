package tc

import (
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
)

// decoders are all that read the kernel's bytes.
var decoders = map[string]func([]byte) error{
	"class": func(b []byte) error {
		return decode(b, func(m message, a *netlink.AttributeDecoder) error { _, _, err := decodeClass(m, a); return err })
	},
	"qdisc": func(b []byte) error {
		return decode(b, func(m message, a *netlink.AttributeDecoder) error { _, err := decodeQdisc(m, a); return err })
	},
	"filter": func(b []byte) error {
		return decode(b, func(m message, a *netlink.AttributeDecoder) error { _, err := decodeFilter(m, a); return err })
	},
	"link":     func(b []byte) error { _, err := decodeLink(b); return err },
	"counters": func(b []byte) error { return decodeDeviceStats(b, map[int]DeviceStats{}) },
}

// TestTruncated cuts every recorded message at every byte: a decoder fails or
// reads what is whole, and never panics. Where the last attribute is cut it fails.
func TestTruncated(t *testing.T) {
	for command, decoder := range map[string]string{
		"tc -s class show dev sluice-tx\n": "class", "tc -s qdisc show dev sluice-tx\n": "qdisc",
		"tc filter show dev vif0": "filter", "ip link show": "link"} {
		for _, body := range recorded(t, command) {
			for cut := range body {
				if err := decoders[decoder](body[:cut]); err == nil && cut == len(body)-1 && decoder != "filter" {
					t.Errorf("%s: without its last byte it is read", command)
				} else if err == nil && cut < sizeofIfInfo {
					t.Errorf("%s: %d bytes are read", command, cut)
				}
			}
		}
	}
}

// TestHostile: lengths that lie are errors.
func TestHostile(t *testing.T) {
	head := make([]byte, sizeofMessage)
	for name, attrs := range map[string]string{
		"an attribute longer than the message":        "\xff\x00\x01\x00htb\x00",
		"an attribute shorter than its head":          "\x02\x00\x01\x00htb\x00",
		"parameters of HTB that are too short":        "\x08\x00\x01\x00htb\x00\x0c\x00\x02\x00\x08\x00\x01\x00\x00\x00\x00\x00",
		"a rate of 64 bits that has but 32":           "\x08\x00\x01\x00htb\x00\x0c\x00\x02\x00\x08\x00\x06\x00\x00\x00\x00\x00",
		"options with an attribute longer than these": "\x08\x00\x01\x00htb\x00\x0c\x00\x02\x00\xf8\x00\x01\x00\x00\x00\x00\x00",
	} {
		if err := decoders["class"](append(head, attrs...)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if err := decoders["link"](append(make([]byte, sizeofIfInfo), "\x06\x00\x0a\x00\x01\x00\x00\x00"...)); err == nil {
		t.Error("a master of two bytes is read")
	}
	// Statistics are told apart by their lengths; what is short counts nothing.
	if err := decoders["class"](append(head, "\x08\x00\x01\x00htb\x00\x0c\x00\x07\x00\x08\x00\x04\x00\x00\x00\x00\x00"...)); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	for block := range strings.SplitSeq(recording, "\n$ ") {
		command, _, _ := strings.Cut(block, "\n")
		if !strings.HasPrefix(command, "#") {
			for _, b := range recorded(f, command+"\n") {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decode := range decoders {
			_ = decode(b) // or it panics
		}
	})
}
