// Package htb is the driver that shapes vifs on Linux. It is told the whole
// state that is to hold, and makes the kernel so: plan, diff, apply, read back.
//
//	State, Activity --Plan--> Tree (wanted)  \
//	                                          Diff --> []Op --apply--> the kernel
//	the kernel ------read---> Kernel (there) /
//
// [Plan] and [Diff] are pure. [Driver.Set] takes the whole desired state, may be
// called again with the same one, and returns what is not enforced. A [Driver]
// that runs listens to the kernel and repairs what others disturb.
//
// # How a packet goes
//
// Two IFB devices, sluice-tx and sluice-rx, have one HTB tree each. A shaped
// vif has a clsact, with one filter on either hook that redirects to the IFB.
// There one program, the same for all, takes the device that the frame was on
// (mirred leaves it in skb->skb_iif), looks the class up in a map, and HTB
// queues the frame in it. A guest has no say in it: whatever it sends came
// through its own device. skb->priority passes untouched. A vif moves between
// classes by one update of the map.
//
//	VM sends    -> vif ingress -> redirect -> sluice-tx: HTB class -> back into the vif's ingress, on to bridge or route
//	VM receives <- vif         <- sluice-rx: HTB class <- redirect <- vif egress
//
// In a class waits an fq_codel, or where the kernel has none a FIFO of bytes.
// Directions are the VM's. On the host's device tx is ingress and the receive
// counter, rx is egress and the transmit counter; on a macvtap, which is the VM's
// own end, they are the other way round.
//
// # What is ours
//
// The IFBs by their names and HTB's handle 51ce:, the filters by preference
// 65520 and a name that begins with "sluice-". Nothing else is touched. Other
// programs' filters run first. The kernel has all that a driver needs to go on
// after a crash: map and classes are found through the filters.
package htb
