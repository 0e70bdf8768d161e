// Package linux is what Sluice knows of a Linux host but its traffic control:
// the inventory of taps and veths ([Inventory]), the counters of all devices
// and classes ([Counters]), what the uplink carries ([UplinkCapacity]) and
// what the kernel can and cannot do ([Probe]). The wire to the kernel is in
// linux/tc, the driver in linux/htb.
//
// Directions are the VM's. On the host's device tx is ingress and the receive
// counter, rx is egress and the transmit counter.
package linux
