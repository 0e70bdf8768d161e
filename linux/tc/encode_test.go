package tc

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// wire is a socket that keeps what is sent, and answers to it.
type wire struct {
	sent   []netlink.Message
	answer func() []netlink.Message // nil acknowledges
}

func (w *wire) Close() error                            { return nil }
func (w *wire) SetDeadline(time.Time) error             { return nil }
func (w *wire) SetReadDeadline(time.Time) error         { return nil }
func (w *wire) SetWriteDeadline(time.Time) error        { return nil }
func (w *wire) SendMessages(ms []netlink.Message) error { w.sent = append(w.sent, ms...); return nil }
func (w *wire) Send(m netlink.Message) error            { w.sent = append(w.sent, m); return nil }

func (w *wire) Receive() (ms []netlink.Message, err error) {
	ms = []netlink.Message{{Header: netlink.Header{Type: netlink.Error}, Data: make([]byte, 4)}}
	if w.answer != nil {
		ms = w.answer()
	}
	last := w.sent[len(w.sent)-1].Header
	for i := range ms {
		ms[i].Header.Sequence, ms[i].Header.PID = last.Sequence, last.PID
	}
	return ms, nil
}

func (w *wire) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		ms, _ := w.Receive()
		for _, m := range ms {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// flatten is a message by the paths of its attributes: "2/6" is in "2".
// Those in nested have attributes inside.
func flatten(t *testing.T, body []byte, head int, nested []string) map[string]string {
	t.Helper()
	flat := map[string]string{"head": fmt.Sprintf("%x", body[:head])}
	var add func(prefix string, b []byte)
	add = func(prefix string, b []byte) {
		attrs, err := netlink.UnmarshalAttributes(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range attrs {
			path := fmt.Sprint(prefix, a.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER))
			if slices.Contains(nested, path) {
				add(path+"/", a.Data)
				continue
			}
			flat[path] = fmt.Sprintf("%x", a.Data)
		}
	}
	add("", body[head:])
	return flat
}

// TestEncode holds what we send against what tc and ip send for the same.
func TestEncode(t *testing.T) {
	const qdisc = "tc qdisc add dev sluice-tx "
	codel := FQCodel{Target: 15_000, Interval: 110_000, Limit: 10_240, Memory: 300_000, Quantum: 1514, Flows: 256, ECN: 1}
	over := Overhead{Bytes: 24, Least: 84}
	options := []string{"2"}
	filter := []string{"2", "2/1", "2/1/1", "2/1/1/2"}
	for _, c := range []struct {
		command string
		send    func(*Conn) error
		head    int
		nested  []string
		// What is in one message alone, and why.
		theirs, ours string
	}{
		// The kind ends with a NUL or not.
		{"ip link add sluice-rx up", func(c *Conn) error { return c.AddIFB("sluice-rx") }, sizeofIfInfo, []string{"18"}, "18/1", "18/1"},
		{qdisc + "root handle 51ce: htb", func(c *Conn) error { return c.AddHTB(2, 0x51ce0000) }, sizeofMessage, options, "", ""},
		// RTAB and CTAB, for kernels before 3.8; the 64-bit rates go unasked.
		{"tc class add dev sluice-tx parent 51ce: ", func(c *Conn) error {
			return c.PutClass(2, 0x51ce0001, 0x51ce0000, HTB{Rate: 1e9, Ceil: 1e9, Burst: 64_000, Cburst: 64_000, Quantum: 60_000})
		}, sizeofMessage, options, "2/3 2/4", "2/6 2/7"},
		{"tc class add dev sluice-tx parent 51ce:1 ", func(c *Conn) error {
			return c.PutClass(2, 0x51ce0010, 0x51ce0001, HTB{Rate: 5e9, Ceil: 10e9, Burst: 320_000, Cburst: 640_000, Quantum: 60_000, Prio: 1, RateOverhead: over, CeilOverhead: over})
		}, sizeofMessage, options, "2/3 2/4", ""},
		{qdisc + "parent 51ce:10 handle 10: bfifo", func(c *Conn) error { return c.AddQueue(2, 0x51ce0010, 0x00100000, FIFO{131_072}) }, sizeofMessage, nil, "", ""},
		{qdisc + "parent 51ce:1 handle 11: fq_codel", func(c *Conn) error { return c.AddQueue(2, 0x51ce0001, 0x00110000, codel) }, sizeofMessage, options, "", ""},
		// The kernel refuses a change of the number of flows.
		{"tc qdisc change dev sluice-tx parent 51ce:1 handle 11: fq_codel", func(c *Conn) error { return c.ChangeQueue(2, 0x51ce0001, 0x00110000, codel) }, sizeofMessage, options, "", ""},
		{"tc qdisc add dev vif0 clsact", func(c *Conn) error { return c.AddClsact(8) }, sizeofMessage, nil, "", ""},
		// The parent says enough.
		{"tc qdisc del dev eth0 clsact", func(c *Conn) error { return c.DeleteClsact(7) }, sizeofMessage, nil, "1", ""},
		// A program of classic BPF there, of eBPF with a name here.
		{"tc filter add dev vif0 ingress pref 65520", func(c *Conn) error {
			return c.PutFilter(8, BPFFilter{Parent: Ingress, Pref: 65520, Name: "sluice-tx", Program: 7, RedirectTo: 2})
		}, sizeofMessage, filter, "2/4 2/5", "2/6 2/7"},
		{"tc filter del dev vif0 ingress pref 65520", func(c *Conn) error { return c.DeleteFilter(8, Ingress, 65520) }, sizeofMessage, nil, "", ""},
	} {
		w := &wire{}
		if err := c.send(&Conn{nl: netlink.NewConn(w, 1)}); err != nil || len(w.sent) != 1 {
			t.Errorf("%s: %v, and %d messages", c.command, err, len(w.sent))
			continue
		}
		theirs := flatten(t, recorded(t, c.command)[0], c.head, c.nested)
		ours := flatten(t, w.sent[0].Data, c.head, c.nested)
		for _, path := range strings.Fields(c.theirs) {
			if _, ok := theirs[path]; !ok {
				t.Errorf("%s: the recording has no %s", c.command, path)
			}
			delete(theirs, path)
		}
		for _, path := range strings.Fields(c.ours) {
			if _, ok := ours[path]; !ok {
				t.Errorf("%s: ours has no %s", c.command, path)
			}
			delete(ours, path)
		}
		if strings.HasPrefix(c.command, "tc class") {
			// cell_log and cell_align of both rates are of the rate tables.
			for _, m := range []map[string]string{theirs, ours} {
				b := []byte(m["2/1"])
				for _, at := range []int{0, 4, 5, 12, 16, 17} {
					copy(b[2*at:], "--")
				}
				m["2/1"] = string(b)
			}
		}
		for _, path := range slices.Sorted(maps.Keys(merged(theirs, ours))) {
			if theirs[path] != ours[path] {
				t.Errorf("%s\nattribute %s is %s\nours is %s", c.command, path, theirs[path], ours[path])
			}
		}
	}
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// TestAbsence: what is not there is no error where it was to be removed, and
// one with the kernel's reason where it was to be made.
func TestAbsence(t *testing.T) {
	c := &Conn{nl: netlink.NewConn(&wire{answer: func() []netlink.Message {
		return []netlink.Message{{Header: netlink.Header{Type: netlink.Error}, Data: []byte{0xfe, 0xff, 0xff, 0xff}}} // -ENOENT
	}}, 1)}
	if err := errors.Join(c.DeleteClass(2, 0x51ce0010), c.DeleteFilter(2, Ingress, 1), c.DeleteClsact(2), c.DeleteLink(2)); err != nil {
		t.Error(err)
	}
	if _, ok, err := c.Class(2, 0x51ce0010); ok || err != nil {
		t.Error(ok, err)
	}
	if err := c.AddHTB(2, 0x51ce0000); !Absent(err) || !strings.HasPrefix(err.Error(), "making the HTB: ") {
		t.Error(err)
	}
}
