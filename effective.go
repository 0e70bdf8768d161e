package sluice

// Effective is all that a driver is to enforce on a host: a whole state,
// never a difference.
type Effective struct {
	Capacity Capacity
	Groups   map[string]Allocations // by name
	VIFs     map[string]Bound       // by [VIF.Key]
}

// Bound is a vif on the device that it has now, and what it may use.
type Bound struct {
	VIF  VIF
	Want Allocations
}

// Repair is that a driver found something else in the kernel than what is to
// be enforced, or found it so again.
type Repair struct {
	// Key is of the vif or group that it concerns; "" is the whole link.
	Key string
	// Text says what was found and what was done about it.
	Text string
	// Enforced is false where the driver could do nothing about it.
	Enforced bool
}
