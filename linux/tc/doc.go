// Package tc speaks the kernel's traffic control over route netlink: qdiscs,
// HTB's classes, filters and their actions, and the devices that they are on.
// It decides nothing. Every message is typed, and named as the tc program
// names it; the tests hold recorded bytes beside the tc command that made
// them.
//
// Sources: include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h,
// gen_stats.h, if_link.h and tc_act/*.h of Linux 6.18.
package tc
