package htb

import (
	"sluice"
	"sluice/linux/tc"
)

// Lookup reads from the kernel alone, without a driver, the class that a
// device's frames pass in a direction: the filter that redirects them, the IFB,
// the map that its program reads, the class. ok is false where one of them is
// missing, so that the frames go their own way.
func Lookup(device string, d sluice.Direction) (c tc.Class, ok bool, err error) {
	conn, err := tc.Dial()
	if err != nil {
		return c, false, err
	}
	defer conn.Close()
	link, there, err := conn.LinkByName(device)
	if err != nil || !there {
		return c, false, err
	}
	to := 0
	var at sides
	at.learn(link)
	err = conn.Filters(link.Index, at.hook(link.Index, d), func(f tc.Filter) {
		if ours, _, _ := recognise(f, d); ours && len(f.Actions) == 1 {
			to = f.Actions[0].Mirred
		}
	})
	if err != nil || to == 0 {
		return c, false, err
	}
	ifb, there, err := conn.LinkByIndex(to)
	if err != nil || !there || !ifb.Up {
		return c, false, err
	}
	var classes uint32
	err = conn.Filters(ifb.Index, tc.NewHandle(major, 0), func(f tc.Filter) {
		if f.BPF.Name == classifierName {
			classes = f.BPF.ProgramID
		}
	})
	if err != nil || classes == 0 {
		return c, false, err
	}
	var l line
	for name, m := range mapsOf(classes) {
		if name == mapName(d) {
			_ = m.Lookup(uint32(link.Index), &l)
		}
		m.Close()
	}
	if l.Class == 0 {
		return c, false, nil
	}
	return conn.Class(ifb.Index, tc.Handle(l.Class))
}
