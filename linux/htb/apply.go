package htb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/linux/tc"
)

// apply makes one step, and notes in d.have what the kernel has after it.
func (d *Driver) apply(dir sluice.Direction, o Op) error {
	k := d.have[dir]
	switch o.Do {
	case MakeTree:
		return d.makeTree(dir)
	case MakeClass, ChangeClass:
		parent := handleOf(o.Parent)
		if err := d.conn.PutClass(k.IFB, handleOf(o.Minor), parent, o.Class); err != nil {
			return err
		}
		k.Classes[o.Minor] = classOf(o, k.Classes[o.Minor])
		return nil
	case MakeQueue:
		return d.makeQueue(dir, o)
	case ChangeQueue:
		if err := d.conn.ChangeQueue(k.IFB, handleOf(o.Minor), queueHandle(o.Minor), o.Queue); err != nil {
			return err
		}
		k.Queues[o.Minor] = queueOf(o.Queue, k.Queues[o.Minor])
		return nil
	case Lead:
		if err := d.needPrograms(); err != nil {
			return err
		}
		if err := d.programs.lead(dir, o.Ifindex, o.Entry); err != nil {
			return err
		}
		k.Map[o.Ifindex] = o.Entry
		return nil
	case Unlead:
		delete(k.Map, o.Ifindex)
		if d.programs == nil {
			return nil
		}
		return d.programs.forget(dir, o.Ifindex)
	case Redirect:
		return d.redirect(dir, o.Ifindex)
	case Unredirect:
		return d.unredirect(dir, o.Ifindex)
	case DeleteClass:
		if err := d.conn.DeleteClass(k.IFB, handleOf(o.Minor)); err != nil {
			return err
		}
		delete(k.Classes, o.Minor)
		delete(k.Queues, o.Minor)
		return nil
	}
	return fmt.Errorf("there is no step %q", o.Do)
}

// classOf is what the kernel has after a class was set, until it is read.
func classOf(o Op, was tc.Class) tc.Class {
	h, queue := o.Class, tc.Handle(0)
	if h.Quantum > 0 {
		queue = queueHandle(o.Minor)
	}
	return tc.Class{Handle: handleOf(o.Minor), Parent: handleOf(o.Parent), Rate: h.Rate, Ceil: h.Ceil,
		Buffer: tc.Ticks(h.Burst, h.Rate), Cbuffer: tc.Ticks(h.Cburst, h.Ceil), Quantum: h.Quantum, Prio: h.Prio,
		RateOverhead: h.RateOverhead, CeilOverhead: h.CeilOverhead, Queue: queue, Stats: was.Stats}
}

// queueOf is what the kernel has after a queue was set, until it is read.
func queueOf(set tc.Queue, was tc.Qdisc) tc.Qdisc {
	was.Kind = set.Kind()
	switch q := set.(type) {
	case tc.FIFO:
		was.FIFO = q
	case tc.FQCodel:
		was.FQCodel = q
	}
	return was
}

// makeTree makes what is missing of a direction's tree.
func (d *Driver) makeTree(dir sluice.Direction) error {
	k, name := d.have[dir], ifbName(dir)
	if k.IFB == 0 {
		loadIFB()
		if err := d.conn.AddIFB(name); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		link, ok, err := d.conn.LinkByName(name)
		if err == nil && !ok {
			err = fmt.Errorf("%s was made and is not there", name)
		}
		if err == nil {
			err = foreign(link)
		}
		if err != nil {
			return err
		}
		k.IFB, k.Up, k.HTB, k.Classifier = link.Index, link.Up, false, false
	}
	if !k.Up {
		if err := d.conn.SetUp(k.IFB); err != nil {
			return err
		}
		k.Up = true
	}
	if k.Taken { // the IFB is ours, so is its clsact
		if err := d.conn.DeleteClsact(k.IFB); err != nil {
			return err
		}
		k.Taken = false
	}
	if !k.HTB {
		handle := tc.NewHandle(major, 0)
		err := d.conn.AddHTB(k.IFB, handle)
		if errors.Is(err, unix.EINVAL) { // a qdisc of another kind has the handle
			if err = d.conn.DeleteRoot(k.IFB); err == nil {
				err = d.conn.AddHTB(k.IFB, handle)
			}
		}
		if err != nil {
			return err
		}
		k.HTB, k.Classifier = true, false
		k.Classes, k.Queues = map[uint16]tc.Class{}, map[uint16]tc.Qdisc{}
	}
	if !k.Classifier {
		if err := d.needPrograms(); err != nil {
			return err
		}
		// Another program's filter may stand before ours, or keep ours out. The
		// HTB is ours, so that one goes.
		if err := d.conn.DeleteFilters(k.IFB, tc.NewHandle(major, 0), classifierPref); err != nil {
			return err
		}
		err := d.conn.PutFilter(k.IFB, tc.BPFFilter{Parent: tc.NewHandle(major, 0), Pref: classifierPref, Name: classifierName,
			Program: d.programs.choose[dir].FD()})
		if err != nil {
			return err
		}
		k.Classifier = true
	}
	return nil
}

// loadIFB loads the module without the two devices that it makes of itself.
// Where it is built in or missing the kernel's answer to the first use counts.
func loadIFB() {
	if _, err := os.Stat("/sys/module/ifb"); err == nil {
		return
	}
	_ = exec.Command("modprobe", "ifb", "numifbs=0").Run()
}

// makeQueue gives a class its first queue, of the kind that the kernel has.
func (d *Driver) makeQueue(dir sluice.Direction, o Op) error {
	k := d.have[dir]
	class, handle := handleOf(o.Minor), queueHandle(o.Minor)
	if is, there := k.Queues[o.Minor]; there && !ownQueue(is, o.Minor) {
		if err := d.conn.DeleteQueue(k.IFB, class); err != nil {
			return err
		}
		delete(k.Queues, o.Minor)
	}
	if !k.Plain {
		err := d.conn.AddQueue(k.IFB, class, handle, o.Best.Fair)
		if err == nil {
			k.Queues[o.Minor] = queueOf(o.Best.Fair, tc.Qdisc{})
		}
		if err == nil || errors.Is(err, unix.EEXIST) { // another program's
			return nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	// That answer may also be for a class that has gone: then this fails too.
	err := d.conn.AddQueue(k.IFB, class, handle, o.Best.Plain)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err == nil {
		k.Plain, k.Queues[o.Minor] = true, queueOf(o.Best.Plain, tc.Qdisc{})
	}
	return err
}

// redirect has a direction's frames go from a device to the IFB.
func (d *Driver) redirect(dir sluice.Direction, index int) error {
	if err := d.needPrograms(); err != nil {
		return err
	}
	made := false
	for _, k := range d.have {
		made = made || k.Hooks[index].Made
	}
	if !d.have[dir].Hooks[index].Clsact {
		if err := d.conn.AddClsact(index); err != nil {
			return err
		}
		made = true
	}
	err := d.conn.PutFilter(index, tc.BPFFilter{Parent: d.sides.hook(index, dir), Pref: filterPref, Name: hookName(dir, made),
		Program: d.programs.pass[dir].FD(), RedirectTo: d.have[dir].IFB})
	if err != nil {
		return err
	}
	for other, k := range d.have {
		h := k.Hooks[index]
		h.Clsact = true
		if other == dir {
			h.Ours, h.Current, h.Made, h.Class = true, true, made, 0
		}
		k.Hooks[index] = h
	}
	return nil
}

// unredirect takes our filter off a hook, and the clsact if it was ours and
// nobody uses it any more.
func (d *Driver) unredirect(dir sluice.Direction, index int) error {
	h := d.have[dir].Hooks[index]
	if err := d.conn.DeleteFilter(index, d.sides.hook(index, dir), filterPref); err != nil && !errors.Is(err, unix.EINVAL) { // no clsact any more
		return err
	}
	if err := d.readHooks(index); err != nil {
		return err
	}
	ours, others := false, false
	for _, k := range d.have {
		ours, others = ours || k.Hooks[index].Ours, others || k.Hooks[index].Others
	}
	if !h.Made || ours || others {
		return nil
	}
	for _, k := range d.have {
		delete(k.Hooks, index)
	}
	return d.conn.DeleteClsact(index)
}
