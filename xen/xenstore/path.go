package xenstore

import (
	"fmt"
	"strings"
)

// CheckPath reports whether a path can be the name of a node: absolute, or
// relative to the caller's own domain, of letters, digits and "-/_@", with no
// empty part and within the protocol's length. Anything else xenstored would
// refuse; a byte of 0 would even be read as two arguments.
func CheckPath(path string) error {
	limit := maxRelativePath
	if strings.HasPrefix(path, "/") {
		limit = maxAbsolutePath
	}
	switch {
	case path == "/":
		return nil
	case path == "":
		return badPath(path, "it is empty")
	case len(path) > limit:
		return badPath(path[:40]+"...", fmt.Sprintf("it is longer than %d bytes", limit))
	case strings.HasSuffix(path, "/"):
		return badPath(path, "it ends with a slash")
	case strings.Contains(path, "//"):
		return badPath(path, "it has an empty part")
	}
	for i := range len(path) {
		if !nameByte(path[i]) {
			return badPath(path, fmt.Sprintf("%q cannot be in a name", path[i]))
		}
	}
	return nil
}

// checkWatch also takes xenstored's special names: @introduceDomain, @releaseDomain.
func checkWatch(path string) error {
	if special, ok := strings.CutPrefix(path, "@"); ok {
		if special == "" {
			return badPath(path, "it names no event")
		}
		return CheckPath(special)
	}
	return CheckPath(path)
}

func nameByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
		b == '-' || b == '/' || b == '_' || b == '@'
}

func badPath(path, why string) error {
	return fmt.Errorf("%q is not a node's name: %s: %w", path, why, ErrInvalid)
}
