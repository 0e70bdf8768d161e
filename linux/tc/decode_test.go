package tc

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
)

func decodeAll[T any](t *testing.T, command string, one func(message, *netlink.AttributeDecoder) (T, error)) (all []T) {
	t.Helper()
	for _, body := range recorded(t, command) {
		err := decode(body, func(m message, a *netlink.AttributeDecoder) error {
			v, err := one(m, a)
			all = append(all, v)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	return all
}

func class(m message, a *netlink.AttributeDecoder) (Class, error) {
	c, ok, err := decodeClass(m, a)
	if !ok {
		return c, fmt.Errorf("no HTB class: %v", err)
	}
	return c, err
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// TestDecodeClasses reads what the kernel told tc: rates that do not fit in
// 32 bits, and a class that has sent more than it may.
func TestDecodeClasses(t *testing.T) {
	over := Overhead{Bytes: 24, Least: 84}
	got := decodeAll(t, "tc -s class show dev sluice-tx\n", class)
	same(t, "without traffic", got, []Class{
		{Handle: 0x51ce0010, Parent: 0x51ce0001, Rate: 5e9, Ceil: 10e9, Buffer: 1000, Cbuffer: 1000, Quantum: 60_000, Prio: 1,
			RateOverhead: over, CeilOverhead: over, Queue: 0x00100000, Stats: Stats{Tokens: 1000}},
		{Handle: 0x51ce0001, Parent: Root, Rate: 1e9, Ceil: 1e9, Buffer: 1000, Cbuffer: 1000, Quantum: 60_000, Stats: Stats{Tokens: 1000}},
	})
	if !got[0].Is(HTB{Rate: 5e9, Ceil: 10e9, Burst: 320_000, Cburst: 640_000, Quantum: 60_000, Prio: 1, RateOverhead: over, CeilOverhead: over}) {
		t.Error("it is not what it was told")
	}
	got = decodeAll(t, "tc -s class show dev sluice-tx #", class)
	// tc -s: 2 packets sent, 2 dropped, 2 wait, "tokens: -20062261".
	same(t, "under traffic", got[0], Class{Handle: 0x51ce0010, Parent: 0x51ce0001, Rate: 1000, Ceil: 2000, Buffer: 25_000_000, Cbuffer: 12_500_000,
		Quantum: 1514, Prio: 1, Queue: 0x00100000, Stats: Stats{Bytes: 2884, Packets: 2, Dropped: 2, Backlog: 2884, Queued: 2, Tokens: -20_062_261}})
}

// TestDecodeQdiscs reads qdiscs that the kernel told, and an fq_codel as tc
// asked for it.
func TestDecodeQdiscs(t *testing.T) {
	got := decodeAll(t, "tc -s qdisc show dev sluice-tx\n", decodeQdisc)
	same(t, "the HTB", got[0], Qdisc{Ifindex: 2, Handle: 0x51ce0000, Parent: Root, Kind: "htb"})
	same(t, "the queue", got[1], Qdisc{Ifindex: 2, Handle: 0x00100000, Parent: 0x51ce0010, Kind: FIFOKind, FIFO: FIFO{131_072}})
	same(t, "the clsact", got[3], Qdisc{Ifindex: 8, Handle: clsactHandle, Parent: ClsactHooks, Kind: "clsact"})
	got = decodeAll(t, "tc -s qdisc show dev sluice-tx #", decodeQdisc)
	same(t, "a queue under traffic", got[2], Qdisc{Ifindex: 2, Handle: 0x00100000, Parent: 0x51ce0010, Kind: FIFOKind, FIFO: FIFO{3000},
		Stats: Stats{Bytes: 2884, Packets: 2, Dropped: 2, Backlog: 2884, Queued: 2}})
	got = decodeAll(t, "tc qdisc add dev sluice-tx parent 51ce:1 handle 11: fq_codel", decodeQdisc)
	same(t, "an fq_codel", got[0].FQCodel, FQCodel{Target: 15_000, Interval: 110_000, Limit: 10_240, Memory: 300_000, Quantum: 1514, Flows: 256, ECN: 1})
}

func filters(t *testing.T, bodies [][]byte) (all []Filter) {
	t.Helper()
	c := &Conn{nl: netlink.NewConn(&wire{answer: func() (ms []netlink.Message) {
		for _, b := range bodies {
			ms = append(ms, netlink.Message{Header: netlink.Header{Flags: netlink.Multi}, Data: b})
		}
		return append(ms, netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi}, Data: make([]byte, 4)})
	}}, 1)}
	if err := c.Filters(8, Ingress, func(f Filter) { all = append(all, f) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDecodeFilters reads what the kernel told of filters made by
//
//	tc filter add dev vif0 ingress pref 7 protocol ip u32 match u32 0 0 action mirred egress mirror dev sluice-tx continue
//	tc filter add dev vif0 ingress pref 8 protocol ip handle 2: u32 divisor 4
//	tc filter add dev vif0 ingress pref 10 protocol ip u32 match u32 0 0 classid 1:1
//	tc filter add dev vif0 ingress pref 13 protocol all bpf bytecode '1,6 0 0 0' action mirred egress redirect dev sluice-tx
//
// Preferences without a handle and u32's hash tables are no filters.
func TestDecodeFilters(t *testing.T) {
	same(t, "on vif0", filters(t, recorded(t, "tc filter show dev vif0")), []Filter{
		{Pref: 7, Handle: 0x80000800, Kind: "u32", Actions: []Action{{Kind: "mirred", Verdict: Continue, Mirred: 2}}},
		{Pref: 10, Handle: 0x80300800, Kind: "u32"},
		{Pref: 13, Handle: 1, Kind: BPFKind, Actions: []Action{{Kind: "mirred", Verdict: Stolen, Mirred: 2}}},
	})
	same(t, "of eBPF", filters(t, recorded(t, "tc filter add dev sluice-tx ingress pref 5 bpf da")), []Filter{
		{Pref: 5, Handle: 1, Kind: BPFKind, BPF: BPF{Name: "zzrec:[*fsobj]", ProgramID: 5492, DirectAction: true}},
		{Pref: 65520, Handle: 1, Kind: BPFKind, BPF: BPF{Name: "sluice-tx-clsact", ProgramID: 5492}, Actions: []Action{{Kind: "mirred", Verdict: Stolen, Mirred: 2}}},
	})
	got := decodeAll(t, "tc filter add dev vif0 egress pref 9 protocol all matchall", decodeFilter)
	same(t, "a matchall, as tc asked for it", got, []Filter{{Pref: 9, Kind: "matchall", Actions: []Action{{Kind: "mirred", Verdict: Stolen, Mirred: 2}}}})
}

// TestDecodeLinks reads the devices that were there.
func TestDecodeLinks(t *testing.T) {
	var got []string
	for _, body := range recorded(t, "ip link show") {
		l, err := decodeLink(body)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s %q up %v master %d parent %d tap %v mac %v", l.Index, l.Name, l.Kind, l.Up, l.Master, l.Parent, l.TunTap, len(l.MAC) == 17))
	}
	want := `1 lo "" up false master 0 parent 0 tap false mac true
2 sluice-tx "ifb" up true master 0 parent 0 tap false mac true
3 sluice-rx "ifb" up true master 0 parent 0 tap false mac true
4 br0 "bridge" up false master 0 parent 0 tap false mac true
5 tap0 "tun" up false master 4 parent 0 tap true mac true
6 tun0 "tun" up false master 0 parent 0 tap false mac false
7 eth0 "veth" up false master 0 parent 8 tap false mac true
8 vif0 "veth" up false master 0 parent 7 tap false mac true
9 macvtap0 "macvtap" up false master 0 parent 8 tap false mac true`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
