package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

const (
	vnetHeader = 10 // struct virtio_net_hdr, which a macvtap puts before each frame
	frameSize  = 1250
	etherType  = 0x88b5 // ETH_P_802_EX1, IEEE 802's own for experiments
)

// tapFrame is one frame of frameSize bytes, behind its header.
func tapFrame(to, from net.HardwareAddr) []byte {
	b := make([]byte, vnetHeader+frameSize)
	copy(b[vnetHeader:], to)
	copy(b[vnetHeader+6:], from)
	binary.BigEndian.PutUint16(b[vnetHeader+12:], etherType)
	return b
}

// every calls send so often that frames are of a rate, for a while.
func every(rate float64, span time.Duration, send func()) {
	begin := time.Now()
	for n := 0; time.Since(begin) < span; {
		for ; float64(n)*frameSize*8 < rate*time.Since(begin).Seconds() && time.Since(begin) < span; n++ {
			send() // which waits where the VM's own queue is full
		}
		time.Sleep(time.Millisecond)
	}
}

// A macvtap is the VM's own end: what it sends is its tx all the same, shown
// and limited.
func TestMacvtap(t *testing.T) {
	h := newHost(t, "")
	h.ns.Veth("u0", "", h.vm, "u1", "")
	number := ""
	h.ns.Do(func() {
		h.ip("link add link u0 name mvt0 type macvtap mode bridge\nlink set mvt0 up")
		out, err := exec.Command("unshare", "-m", "sh", "-c", "mount -t sysfs sysfs /sys && cat /sys/class/net/mvt0/tap*/dev").Output()
		if err != nil {
			t.Errorf("%v %s", err, out)
		}
		number = strings.TrimSpace(string(out))
	})
	major, minor, _ := strings.Cut(number, ":")
	ma, _ := strconv.ParseUint(major, 10, 32)
	mi, _ := strconv.ParseUint(minor, 10, 32)
	if err := unix.Mknod(h.path("tap"), unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(ma), uint32(mi)))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("sluice.toml"), []byte("uplink = \"u0\"\ncapacity = \"1gbit\"\n[[vm]]\nname = \"web\"\n[[vm.vif]]\ndevice = \"mvt0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.ready()

	tap, err := os.OpenFile(h.path("tap"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	var received atomic.Uint64 // by the VM
	go func() {
		for b := make([]byte, 70_000); ; {
			n, err := tap.Read(b)
			if err != nil {
				return
			}
			received.Add(uint64(n - vnetHeader))
		}
	}()
	var own net.HardwareAddr
	var index int
	h.ns.Do(func() {
		l, err := netlink.LinkByName("mvt0")
		if err != nil {
			t.Error(err)
			return
		}
		own = l.Attrs().HardwareAddr
	})
	raw := -1
	h.vm.Do(func() {
		l, err := netlink.LinkByName("u1")
		if err == nil {
			index = l.Attrs().Index
			raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		}
		if err != nil {
			t.Error(err)
		}
	})
	defer unix.Close(raw)
	arrived := func() (bytes uint64) { // at the other end of the uplink
		h.vm.Do(func() {
			l, err := netlink.LinkByName("u1")
			if err != nil {
				t.Error(err)
				return
			}
			bytes = l.Attrs().Statistics.RxBytes
		})
		return bytes
	}
	far, _ := net.ParseMAC("02:00:00:00:00:01")
	sends := func() (mbit float64, shown sluice.VIFStatus) {
		before, begin := arrived(), time.Now()
		frame := tapFrame(net.HardwareAddr{255, 255, 255, 255, 255, 255}, own)
		every(20e6, 3*time.Second, func() { _, _ = tap.Write(frame) })
		mbit = float64(arrived()-before) * 8 / 1e6 / time.Since(begin).Seconds()
		return mbit, h.listedAs("web")
	}
	receives := func() float64 {
		before, begin := received.Load(), time.Now()
		frame := tapFrame(own, far)[vnetHeader:]
		to := &unix.SockaddrLinklayer{Ifindex: index}
		every(20e6, 3*time.Second, func() { _ = unix.Sendto(raw, frame, 0, to) })
		return float64(received.Load()-before) * 8 / 1e6 / time.Since(begin).Seconds()
	}
	got, shown := sends()
	if got < 15 || shown.Tx.Usage < 15*sluice.Mbit || shown.Rx.Usage > sluice.Mbit {
		t.Errorf("the VM sends %.1f Mbit/s of 20, and is shown with tx %s, rx %s", got, shown.Tx.Usage, shown.Rx.Usage)
	}
	h.set("web", "0", "--tx", "5mbit")
	if got, shown = sends(); got > 6 || shown.Tx.Usage < 4*sluice.Mbit || shown.Tx.Usage > 6*sluice.Mbit || shown.NotEnforced != "" {
		t.Errorf("limited to 5 it sends %.1f Mbit/s, and is shown with tx %s %s", got, shown.Tx.Usage, shown.NotEnforced)
	}
	if got := receives(); got < 15 {
		t.Errorf("it receives %.1f Mbit/s of 20, though only what it sends is limited", got)
	}
	h.set("web", "0", "--tx", "unlimited", "--rx", "5mbit")
	if got := receives(); got > 6 || got < 4 {
		t.Errorf("it receives %.1f Mbit/s of 5", got)
	}
	if got, _ := sends(); got < 15 {
		t.Errorf("it sends %.1f Mbit/s of 20, though only what it receives is limited", got)
	}
}

// listedAs is a VM's line of sluice list.
func (h *host) listedAs(vm string) sluice.VIFStatus {
	h.Helper()
	for _, v := range h.all() {
		if v.VM == vm {
			return v
		}
	}
	h.Fatal(fmt.Sprintf("there is no %s", vm))
	return sluice.VIFStatus{}
}
