// Package sluice holds the words every other package speaks: rates,
// allocations, vifs, usage, changes and errors. It imports nothing else of
// the project, and nothing in it touches a kernel, a file or a network.
//
// Sluice watches how much network bandwidth every virtual machine of a host
// uses, and changes what each virtual interface may use, live. Two rivers run
// through it and share only these words:
//
//	usage:      /proc/net/dev in the VM -> its database -> pulled by the host -> data set -> charts
//	allocation: request -> locate -> device store -> Reconfiguring -> driver applies, reads back -> Connected -> answer
//
// Directions are always the VM's: tx is what it sends, rx what it receives.
// Rates are bits per second with SI multiples.
package sluice
