// Package xenstore is a client of xenstored, the small tree of names and
// values that a Xen host and its guests share. It speaks the wire protocol
// itself (xen/docs/misc/xenstore.txt, xen/include/public/io/xs_wire.h), in
// pure Go, over the daemon's Unix socket in dom0 or over /dev/xen/xenbus in
// any domain.
//
//	c, err := xenstore.Dial(ctx, "")             // whichever of the two is there
//	name, err := c.Read(ctx, "/local/domain/1/name")
//	for path := range c.Watch(ctx, "/local/domain/1") { ... } // until ctx ends
//
// A [Client] is safe for concurrent use: requests overlap on one connection.
// When xenstored goes away it dials again, for as long as it is not closed,
// and all watches go on; see [ErrLost] for requests under way. The methods
// of [View] are the requests; [Client.Transaction] makes several of them one.
//
// Errors that xenstored answers are [Errno] values, to be compared with
// errors.Is: [ErrNotFound], [ErrDenied] and so on. What can be checked is
// checked before it is sent: names ([CheckPath]) and sizes ([MaxPayload]).
package xenstore

import (
	"errors"
	"fmt"
)

// Limits of the protocol, in bytes (xs_wire.h).
const (
	MaxPayload      = 4096 // of one message: a value and its path together
	maxAbsolutePath = 3072
	maxRelativePath = 2048
)

// Errno is xenstored's name of an error, such as "ENOENT".
type Errno string

// The errors that xenstored answers.
const (
	ErrNotFound  Errno = "ENOENT"
	ErrDenied    Errno = "EACCES"
	ErrExists    Errno = "EEXIST"
	ErrInvalid   Errno = "EINVAL"
	ErrTooBig    Errno = "E2BIG"
	ErrQuota     Errno = "EQUOTA"
	ErrNoSpace   Errno = "ENOSPC"
	ErrConflict  Errno = "EAGAIN" // a transaction met another writer
	ErrReadOnly  Errno = "EROFS"
	ErrUnknown   Errno = "ENOSYS" // this xenstored does not know the request
	ErrBusy      Errno = "EBUSY"
	ErrConnected Errno = "EISCONN"
	ErrIO        Errno = "EIO"
	ErrNoMemory  Errno = "ENOMEM"
)

// Error is the name, with words where there are any.
func (e Errno) Error() string {
	if words := meaning[e]; words != "" {
		return words + " (" + string(e) + ")"
	}
	return string(e)
}

var meaning = map[Errno]string{
	ErrNotFound: "no such node",
	ErrDenied:   "permission denied",
	ErrExists:   "exists already",
	ErrInvalid:  "not a valid request",
	ErrTooBig:   "too big for one message",
	ErrQuota:    "over the domain's quota",
	ErrNoSpace:  "over the domain's quota",
	ErrConflict: "another writer came first",
	ErrUnknown:  "unknown to this xenstored",
}

var (
	// ErrLost means that the connection broke while a request was under way:
	// it may have been carried out or not. Later requests use a new connection.
	ErrLost = errors.New("xenstore: connection lost before the answer")
	// ErrClosed means that the Client was closed.
	ErrClosed = errors.New("xenstore: client closed")
)

// PathError is a failed request and the path that it was about.
type PathError struct {
	Op   string // "read", "write", ...
	Path string
	Err  error // an [Errno], [ErrLost], [ErrClosed], or the context's error
}

// Error names request, path and reason.
func (e *PathError) Error() string { return fmt.Sprintf("xenstore: %s %s: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the reason.
func (e *PathError) Unwrap() error { return e.Err }
