package http

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice"
)

// peer is who is at the other end of a Unix socket, by the kernel's word at
// the time it connected.
type peer struct {
	uid, gid uint32
	groups   []uint32 // supplementary
}

// peerOf asks the kernel about a connection.
func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var p peer
	var asked error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); asked != nil {
			return
		}
		p = peer{uid: cred.Uid, gid: cred.Gid}
		p.groups, asked = peerGroups(fd)
	})
	if err == nil {
		err = asked
	}
	return p, err
}

// peerGroups reads SO_PEERGROUPS (Linux 4.13), for which x/sys has no wrapper.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size) > len(groups)*4:
			groups = make([]uint32, size/4)
		case errno != 0:
			return nil, errno
		default:
			return groups[:size/4], nil
		}
	}
}

// admit returns the peer's name for the journal, or why it may not pass.
func (p peer) admit(known *nss) (string, error) {
	if p.uid == 0 {
		return "root", nil
	}
	name := known.user(p.uid)
	if gid, ok := known.group(Group); ok && (p.gid == uint32(gid) || slices.Contains(p.groups, uint32(gid))) {
		return name, nil
	}
	return "", &sluice.Error{Code: sluice.Forbidden, Message: fmt.Sprintf("%s is neither root nor in the group %s", name, Group),
		Unchanged: "nothing was changed", Try: fmt.Sprintf("as root: usermod -aG %s %s, then log in again", Group, name)}
}

// person names a client for the journal: a user of this host by name, else
// the address that the request came from.
func (c *client) person(known *nss) string {
	if c == nil {
		return "somebody"
	}
	uid, ok := strings.CutPrefix(c.name, "uid ")
	if !ok {
		return c.name
	}
	if n, err := strconv.ParseUint(uid, 10, 32); err == nil {
		return known.user(uint32(n))
	}
	return c.name
}
