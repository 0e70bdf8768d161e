package htb

import (
	"context"
	"time"
)

const (
	// patience is how long a class that is to go may send what waits in it.
	patience   = time.Second
	firstAgain = 2 * time.Millisecond
	lastAgain  = time.Second
)

// wait has classes looked at again soon.
func (d *Driver) wait(classes map[class]bool) {
	now := time.Now()
	for c := range d.waiting {
		if !classes[c] {
			delete(d.waiting, c)
		}
	}
	for c := range classes {
		if _, ok := d.waiting[c]; !ok {
			d.waiting[c] = now
			d.pause = firstAgain
		}
	}
	if len(classes) == 0 || d.closed {
		return
	}
	if d.again != nil {
		d.again.Stop()
	}
	d.again = time.AfterFunc(d.pause, d.lookAgain)
	d.pause = min(2*d.pause, lastAgain)
}

func (d *Driver) lookAgain() {
	if d.acquire(context.Background()) != nil {
		return
	}
	defer d.unlock()
	for c := range d.waiting {
		if err := d.readClass(c.direction, c.minor); err != nil {
			d.known = false
		}
	}
	if _, _, err := d.reconcile(context.Background(), nil, everything); err != nil {
		d.log.Warn("classes that are not used any more stay until the next change", "error", err)
	}
}
