package htb

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

// ownerName is an abstract Unix socket. The kernel keeps one such name per
// network namespace, and gives it up with the process, however that ends.
const ownerName = "@sluice-htb"

// own makes this process the only one that shapes the network namespace of the
// calling thread, until the socket is closed: two would undo each other's work,
// and each would call its own verified. The error is [sluice.Unavailable] while
// another does. socket is -1 where a program without root's rights has the
// name: that cannot keep anybody from shaping.
func own() (socket int, err error) {
	for try := 0; ; try++ {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return -1, err
		}
		name := &unix.SockaddrUnix{Name: ownerName}
		if err = unix.Bind(s, name); err == nil {
			if err = unix.Listen(s, 16); err == nil {
				return s, nil
			}
		}
		taken := errors.Is(err, unix.EADDRINUSE)
		var cred *unix.Ucred
		if taken && unix.Connect(s, name) == nil {
			cred, _ = unix.GetsockoptUcred(s, unix.SOL_SOCKET, unix.SO_PEERCRED)
		}
		unix.Close(s)
		switch {
		case !taken:
			return -1, err
		case cred != nil && cred.Uid == 0:
			return -1, &sluice.Error{Code: sluice.Unavailable, Message: "another Sluice daemon shapes the vifs of this host",
				Unchanged: "nothing was changed", Try: "stop it first: systemctl stop sluice"}
		case cred != nil || try == 3:
			return -1, nil
		}
		time.Sleep(10 * time.Millisecond) // it may listen next, or have ended just now
	}
}
