package htb

import (
	"encoding/binary"

	"sluice"
	"sluice/linux/tc"
)

// mostLocal bounds what is kept of the bridges' forwarding databases: a VM can
// make up as many addresses as it likes.
const mostLocal = 8192

// atDevice is the key of a vif's device in the map of what is on this host.
func atDevice(ifindex int) (l local) {
	binary.NativeEndian.PutUint32(l[:], uint32(ifindex))
	binary.NativeEndian.PutUint32(l[4:], 1<<32-1) // no MAC ends so: its last two bytes are 0
	return l
}

// atMAC is that of a VM's address.
func atMAC(mac [6]byte) (l local) {
	copy(l[:], mac[:])
	return l
}

// followLocal tells the hooks' programs what is on this host: the vifs'
// devices, and the addresses that the bridges have learnt behind them. It does
// nothing where no vif is held back by the link alone.
func (d *Driver) followLocal() error {
	d.localMu.Lock()
	defer d.localMu.Unlock()
	d.mu.Lock()
	devices, programs, wanted := d.devices, d.running, d.anyLocal
	d.mu.Unlock()
	if programs == nil || !wanted && len(d.local) == 0 {
		return nil
	}
	now := make(map[local]bool)
	if wanted {
		for index := range devices {
			now[atDevice(index)] = true
		}
		err := d.counting.Forwarding(func(l tc.Learnt) {
			if _, ours := devices[l.Ifindex]; ours && len(now) < len(devices)+mostLocal {
				now[atMAC(l.MAC)] = true
			}
		})
		if err != nil {
			return err
		}
	}
	for l := range now {
		if !d.local[l] {
			if err := programs.locals.Put(l, uint32(1)); err != nil {
				return err
			}
			d.local[l] = true
		}
	}
	for l := range d.local {
		if !now[l] {
			_ = programs.locals.Delete(l)
			delete(d.local, l)
		}
	}
	return nil
}

// adoptLocal learns what a daemon before us left in the map.
func (d *Driver) adoptLocal() {
	d.localMu.Lock()
	defer d.localMu.Unlock()
	var l local
	var v uint32
	for each := d.programs.locals.Iterate(); each.Next(&l, &v); {
		d.local[l] = true
	}
}

// hasLocal says whether the frames of a vif may go past the tree.
func hasLocal(trees map[sluice.Direction]Tree) bool {
	for _, t := range trees {
		for _, n := range t.Nodes {
			if n.Local {
				return true
			}
		}
	}
	return false
}
