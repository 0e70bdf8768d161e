package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The two namespaces, as ip netns knows them too.
const (
	hostNS    = "sluice-lab"
	clientsNS = "sluice-lab-clients"
)

// The link between them: what it carries and what may wait for it, as a
// switch's port would have it.
const (
	linkBytes = 100_000_000 / 8 // a second
	linkQueue = linkBytes / 20  // 50 ms
	linkBurst = 128 << 10       // two of the largest frames that the stack makes
)

// services are the guests' names, in the order of their addresses.
func services() []string { return []string{"ftp", "stream", "web"} }

const (
	clientsAddress = "10.85.0.1"
	hostAddress    = "10.85.0.2"
)

// addresses are the guests', by name. They exist in the two namespaces only.
func addresses() map[string]string {
	all := map[string]string{}
	for i, name := range services() {
		all[name] = fmt.Sprintf("10.85.0.%d", 11+i)
	}
	return all
}

// mac is that of a guest's interface; the first byte says that it was made up here.
func mac(i int) string { return fmt.Sprintf("52:54:00:85:00:%02x", 11+i) }

// tap is the device of a guest's vif on the host.
func tap(name string) string { return "tap-" + name }

// within runs f on a thread inside the namespace. The thread is never used
// for anything else.
func within(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := netns.Set(ns)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// namespace is one of the two, which exists.
func namespace(name string) (netns.NsHandle, error) { return netns.GetFromName(name) }

// newNamespace makes one.
func newNamespace(name string) (ns netns.NsHandle, err error) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // the thread stays in the namespace and ends with this
		defer close(done)
		ns, err = netns.NewNamed(name)
	}()
	<-done
	if err != nil {
		return ns, fmt.Errorf("network namespace %s cannot be made: %w", name, err)
	}
	return ns, nil
}

// network makes the two namespaces, the bridge with the guests' taps, and the
// link to the clients.
func network() (host netns.NsHandle, err error) {
	host, err = newNamespace(hostNS)
	if err != nil {
		return host, err
	}
	clients, err := newNamespace(clientsNS)
	if err != nil {
		return host, err
	}
	defer clients.Close()
	err = within(host, func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := add(bridge, hostAddress); err != nil {
			return err
		}
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink", MasterIndex: bridge.Index}, PeerName: "eth0", PeerNamespace: netlink.NsFd(clients)}
		if err := add(link, ""); err != nil {
			return err
		}
		for _, name := range services() {
			dev := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: tap(name)}, Mode: netlink.TUNTAP_MODE_TAP,
				Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR | netlink.TUNTAP_ONE_QUEUE}
			if err := add(dev, ""); err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(dev, bridge); err != nil {
				return fmt.Errorf("%s cannot join br0: %w", dev.Name, err)
			}
		}
		return slow("uplink")
	})
	if err != nil {
		return host, err
	}
	return host, within(clients, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := up(eth0, clientsAddress); err != nil {
			return err
		}
		return slow("eth0")
	})
}

// add makes a device, gives it its address, if any, and brings it up with the
// namespace's loopback.
func add(dev netlink.Link, address string) error {
	if err := netlink.LinkAdd(dev); err != nil {
		return fmt.Errorf("%s cannot be made: %w", dev.Attrs().Name, err)
	}
	return up(dev, address)
}

func up(dev netlink.Link, address string) error {
	if address != "" {
		a, err := netlink.ParseAddr(address + "/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(dev, a); err != nil {
			return fmt.Errorf("%s cannot have the address %s: %w", dev.Attrs().Name, address, err)
		}
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return fmt.Errorf("%s cannot come up: %w", dev.Attrs().Name, err)
	}
	return nil
}

// slow gives a device the speed of the link, on the way out.
func slow(name string) error {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: dev.Attrs().Index, Parent: netlink.HANDLE_ROOT},
		Rate:       linkBytes, Buffer: tbfTicks(linkBurst), Limit: linkQueue,
	}); err != nil {
		return fmt.Errorf("%s cannot be slowed down to 100 Mbit/s (is sch_tbf there?): %w", name, err)
	}
	return nil
}

// tbfTicks is a burst of so many bytes as the kernel has it: how long it
// takes, in ticks of 64 ns (net/sched/sch_api.c, psched).
func tbfTicks(bytes uint64) uint32 { return uint32(bytes * 1e9 / linkBytes / 64) }

// noNetwork takes both namespaces away, and everything in them.
func noNetwork() error {
	var all error
	for _, name := range []string{clientsNS, hostNS} {
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			all = errors.Join(all, fmt.Errorf("network namespace %s cannot be removed: %w", name, err))
		}
	}
	return all
}
