// Package linux is everything Sluice does with a Linux kernel: the htb driver
// ([HTB]), the inventory of taps and veths ([Inventory]), the counters of all
// devices and classes ([Counters]) and what the kernel can and cannot do
// ([Probe]).
//
// # How a packet goes
//
// Two IFB devices, sluice-tx and sluice-rx, have one HTB tree each. On every
// shaped vif a clsact qdisc has one filter on either hook. The filter is an
// eBPF program of four instructions that sets skb->priority to the vif's
// class, with a mirred action that redirects to the IFB; there HTB takes the
// class from the priority. A guest has no say in it: whatever it sends came
// through its own device.
//
//	VM sends    -> vif ingress -> filter -> sluice-tx: HTB class -> back into the vif's ingress, on to bridge or route
//	VM receives <- vif         <- sluice-rx: HTB class <- filter <- vif egress
//
// In a class waits an fq_codel, or where the kernel has none a FIFO of bytes.
//
// Directions are the VM's. On the host's device tx is ingress and the receive
// counter, rx is egress and the transmit counter.
//
// # What is ours
//
// The IFBs by their names and HTB's handle 51ce:, the filters by preference
// 65520 and a name that begins with "sluice-". The name also carries the
// class, so that a daemon that starts finds everything in the kernel again.
// Nothing else is touched. Foreign filters of a smaller preference run first.
package linux
