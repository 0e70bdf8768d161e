package guest

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sluice"
)

// What kernels print, and what is in it. The files are as `cat /proc/net/dev`
// gave them: on Linux 6.18, there in a namespace with a bridge, and in the
// form of 2.6, which has no space behind a long number.
func TestParseNetDev(t *testing.T) {
	count := func(bytes, packets, dropped uint64) sluice.Counters {
		return sluice.Counters{Bytes: bytes, Packets: packets, Dropped: dropped}
	}
	for file, want := range map[string]map[string]counters{
		"linux-2.6.txt": {
			"lo":        {"lo", count(1634968888, 824516, 0), count(1634968888, 824516, 0)},
			"eth0":      {"eth0", count(2947105321, 58219374, 3), count(4294967295, 63826204, 17)},
			"eth0.4094": {"eth0.4094", count(18446744073709551615, 4, 5), count(1234567890123456789, 1, 2)},
		},
		"linux-6.txt":     nil,
		"bridge-veth.txt": nil,
	} {
		text, err := os.ReadFile(filepath.Join("testdata/netdev", file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseNetDev(text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if lines := strings.Count(string(text), "\n") - 2; len(got) != lines {
			t.Errorf("%s: %d interfaces, want %d", file, len(got), lines)
		}
		for _, c := range got {
			if w, ok := want[c.name]; ok && !reflect.DeepEqual(c, w) {
				t.Errorf("%s: %+v, want %+v", file, c, w)
			}
		}
	}
}

const heading = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"

func TestParseNetDevRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"other heading":  "a\nb\neth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"no colon":       heading + "eth0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"few numbers":    heading + "eth0: 1 2 3\n",
		"many numbers":   heading + "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
		"negative":       heading + "eth0: -1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"beyond 64 bits": heading + "eth0: 18446744073709551616 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
	} {
		if got, err := parseNetDev([]byte(text)); err == nil {
			t.Errorf("%s: %v and no error", name, got)
		}
	}
	got, err := parseNetDev([]byte(heading + "a/b: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n..: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"))
	if err != nil || len(got) != 0 {
		t.Errorf("names that are paths: %v, %v", got, err)
	}
}

func FuzzParseNetDev(f *testing.F) {
	files, _ := filepath.Glob("testdata/netdev/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(heading + "eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseNetDev(text)
		for _, c := range got {
			if err != nil || !validName(c.name) || strings.ContainsAny(c.name, "/\n ") {
				t.Fatalf("%+v, %v", c, err)
			}
		}
	})
}
