package monitor

import (
	"fmt"
	"time"

	"sluice"
)

// What one guest's answers may cost the host, in bytes (see
// [sluice.Samples.Cost]). The worst that a guest can send takes 45 ns a byte to
// read, parse and check (guest.BenchmarkWorst), so that budgetRate is 1.2 % of a core. A VM of four
// interfaces needs 1 kB a second.
const (
	budgetRate = 256 << 10 // bytes a second
	budgetMost = 16 << 20  // at once: most of a day of a VM with one interface, which is asked for at the start
	sampleCost = 256       // of a sample, where its guest does not say
)

// tooMuch is told of a guest that always has more.
var tooMuch = fmt.Sprintf("its collector answers too much at once: what exceeds %d kB/s is left for the next pulls", budgetRate>>10)

// budget is a token bucket. It is full when its guest is new.
type budget struct {
	spent    float64 // bytes; above budgetMost it is in debt
	at       time.Time
	exceeded bool // it was in debt, and has not gained an eighth since
}

// spend takes an answer's cost out.
func (b *budget) spend(got sluice.Samples, now time.Time) {
	b.refill(now)
	b.spent += float64(max(got.Cost, sampleCost*len(got.Samples)))
	b.exceeded = b.spent > budgetMost || b.exceeded && b.spent > budgetMost*7/8
}

// wait is how long the guest is not to be asked; 0 if it may be now.
func (b *budget) wait(now time.Time) time.Duration {
	b.refill(now)
	return time.Duration(max(0, (b.spent-budgetMost)/budgetRate*float64(time.Second)))
}

func (b *budget) refill(now time.Time) {
	b.spent = max(0, b.spent-budgetRate*now.Sub(b.at).Seconds())
	b.at = now
}
