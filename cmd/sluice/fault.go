//go:build !faults

package main

// fault is where tests end the daemon, in builds made for that alone.
var fault func(point string)
