package xenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// View is the tree as requests see it: the shared tree itself ([Client] has
// one) or, in [Client.Transaction], the transaction's own picture of it.
// Paths are absolute, or relative to the caller's domain.
type View struct {
	client *Client
	tx     uint32
	conn   *conn // the transaction's; nil outside, for whichever there is
}

// Read returns a node's value, which may hold any bytes and be empty.
// [ErrNotFound] if there is no such node.
func (v View) Read(ctx context.Context, path string) ([]byte, error) {
	return v.ask(ctx, "read", opRead, path, nil)
}

// ReadString is Read for the usual case, a value that is text.
func (v View) ReadString(ctx context.Context, path string) (string, error) {
	b, err := v.Read(ctx, path)
	return string(b), err
}

// Write sets a node's value. The node and those above it are made as needed.
// [ErrTooBig] if path and value do not fit into one message.
func (v View) Write(ctx context.Context, path string, value []byte) error {
	_, err := v.ask(ctx, "write", opWrite, path, value)
	return err
}

// WriteString is Write for text.
func (v View) WriteString(ctx context.Context, path, value string) error {
	return v.Write(ctx, path, []byte(value))
}

// Mkdir makes a node with an empty value, and leaves one that exists as it is.
func (v View) Mkdir(ctx context.Context, path string) error {
	_, err := v.ask(ctx, "mkdir", opMkdir, path, nil)
	return err
}

// Remove removes a node and all below it. A node that is not there is no
// error if its parent is.
func (v View) Remove(ctx context.Context, path string) error {
	_, err := v.ask(ctx, "rm", opRemove, path, nil)
	return err
}

// List returns the names of a node's children. [ErrTooBig] if they do not fit
// into one message and this xenstored cannot send them in parts, as oxenstored
// 4.17 cannot over the device; over its socket it sends them whole.
func (v View) List(ctx context.Context, path string) ([]string, error) {
	payload, err := v.ask(ctx, "directory", opDirectory, path, nil)
	if errors.Is(err, ErrTooBig) {
		names, partsErr := v.listParts(ctx, path)
		if errors.Is(partsErr, ErrUnknown) || errors.Is(partsErr, ErrInvalid) {
			return nil, err
		}
		return names, partsErr
	}
	if err != nil {
		return nil, err
	}
	return split(payload), nil
}

// listParts lists what does not fit into one message, part by part, and
// anew when the node changed between two parts.
func (v View) listParts(ctx context.Context, path string) ([]string, error) {
	var all []byte
	generation := ""
	for {
		payload, err := v.ask(ctx, "directory-part", opDirectoryPart, path, arguments(strconv.Itoa(len(all))))
		if err != nil {
			return nil, err
		}
		now := first(payload)
		part := payload[min(len(now)+1, len(payload)):]
		if now != generation && len(all) > 0 {
			all, generation = nil, ""
			continue
		}
		generation = now
		// The list ends with an empty name: a second 0 after the last one.
		if end := bytes.HasSuffix(part, []byte{0, 0}) || bytes.Equal(part, []byte{0}); end || len(part) == 0 {
			return split(bytes.TrimSuffix(append(all, part...), []byte{0})), nil
		}
		all = append(all, part...)
	}
}

// Access is what a domain may do with a node.
type Access byte

// The kinds of access, by their letters on the wire.
const (
	None      Access = 'n'
	ReadOnly  Access = 'r'
	WriteOnly Access = 'w'
	ReadWrite Access = 'b'
)

// Permission is a domain's access to a node. The first in a node's list is
// its owner, who may do everything; the owner's Access holds for all domains
// that the list does not name.
type Permission struct {
	Domain int
	Access Access
}

func (p Permission) String() string { return string(rune(p.Access)) + strconv.Itoa(p.Domain) }

// Permissions returns who may do what with a node.
func (v View) Permissions(ctx context.Context, path string) ([]Permission, error) {
	payload, err := v.ask(ctx, "get-perms", opGetPerms, path, nil)
	if err != nil {
		return nil, err
	}
	var all []Permission
	for _, s := range split(payload) {
		p, err := parsePermission(s)
		if err != nil {
			return nil, &PathError{Op: "get-perms", Path: path, Err: err}
		}
		all = append(all, p)
	}
	return all, nil
}

// SetPermissions says who may do what with a node, its owner first.
func (v View) SetPermissions(ctx context.Context, path string, all ...Permission) error {
	var words []string
	for _, p := range all {
		if _, err := parsePermission(p.String()); err != nil {
			return &PathError{Op: "set-perms", Path: path, Err: err}
		}
		words = append(words, p.String())
	}
	if len(all) == 0 {
		return &PathError{Op: "set-perms", Path: path, Err: fmt.Errorf("no owner: %w", ErrInvalid)}
	}
	_, err := v.ask(ctx, "set-perms", opSetPerms, path, arguments(words...))
	return err
}

func parsePermission(s string) (Permission, error) {
	if len(s) > 1 && bytes.IndexByte([]byte("nrwb"), s[0]) >= 0 {
		if domain, err := strconv.ParseUint(s[1:], 10, 16); err == nil {
			return Permission{int(domain), Access(s[0])}, nil
		}
	}
	return Permission{}, fmt.Errorf("%q is not a permission: %w", s, ErrInvalid)
}

// DomainPath returns a domain's home, such as /local/domain/3; it need not exist.
func (v View) DomainPath(ctx context.Context, domain int) (string, error) {
	id := strconv.Itoa(domain)
	payload, err := v.send(ctx, opGetDomainPath, arguments(id))
	if err != nil {
		return "", &PathError{Op: "get-domain-path", Path: id, Err: err}
	}
	return first(payload), nil
}

// ask sends a request about a path: the path, a 0, and what else there is.
func (v View) ask(ctx context.Context, name string, op uint32, path string, rest []byte) ([]byte, error) {
	err := CheckPath(path)
	var answer []byte
	if err == nil {
		answer, err = v.send(ctx, op, append(arguments(path), rest...))
	}
	if err != nil {
		return nil, &PathError{Op: name, Path: path, Err: err}
	}
	return answer, nil
}

func (v View) send(ctx context.Context, op uint32, payload []byte) ([]byte, error) {
	c := v.conn
	if c == nil {
		var err error
		if c, err = v.client.current(ctx); err != nil {
			return nil, err
		}
	}
	return c.request(ctx, op, v.tx, payload)
}
