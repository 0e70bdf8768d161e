package main

import (
	"sluice"
	"sluice/control"
	"sluice/monitor"
)

// current is the monitor with what has become of vifs since its last tick:
// those that came and went and what they are called, what was set, and whether
// it is enforced. Who sets and then lists sees what was set.
type current struct {
	*monitor.Monitor
	control  *control.Control
	enforced func() map[string]string // see [monitor.Config]
}

// DataSet implements [http.Monitor].
func (c current) DataSet() sluice.DataSet {
	d := c.Monitor.DataSet()
	measured := make(map[string]sluice.VIFStatus, len(d.VIFs))
	for _, v := range d.VIFs {
		measured[v.Key()] = v
	}
	present, nodes, obstacles := c.control.VIFs(), c.control.Settings(), c.enforced()
	d.VIFs = make([]sluice.VIFStatus, len(present))
	for i, vif := range present {
		v, ok := measured[vif.Key()]
		if !ok {
			v = fresh()
		}
		v.VIF, v.NotEnforced = vif, obstacles[vif.Key()]
		if n, set := nodes[vif.Key()]; set && (!ok || n.Revision > v.Revision) {
			tell(&v, n)
		}
		d.VIFs[i] = v
	}
	return d
}

// fresh is a vif that nobody measured or set yet.
func fresh() (v sluice.VIFStatus) {
	v.Source = sluice.SourceHost
	tell(&v, control.Node{Value: sluice.UnshapedBoth, State: sluice.Connected})
	return v
}

// tell puts what is set into a vif's line.
func tell(v *sluice.VIFStatus, n control.Node) {
	v.State, v.Revision, v.Group = n.State, n.Revision, n.Value.Group
	v.Profile, v.Own = n.Value.Profile, n.Value.Set()
	v.Tx, v.Rx = v.Tx.With(n.Value.Tx), v.Rx.With(n.Value.Rx)
}
