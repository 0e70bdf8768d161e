// Package libvirt says whose the network devices of libvirt's domains are: the
// domain's name and UUID, the interface's index and MAC, and where the VM's
// collector is reached. It follows libvirtd, or virtqemud, by its events, asks
// for a domain's XML only when something happened to it, and begins anew after
// any outage. It changes nothing in libvirt.
//
// What libvirtd says is untrusted: packets, XML and the time that it takes are
// bounded. While it does not answer, the names that it told stand; a device
// that has another MAC than the one it was told of keeps none of them.
package libvirt
