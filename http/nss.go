package http

import (
	"context"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	nssWithin = 3 * time.Second  // a directory service may be far away
	nssKept   = 30 * time.Second // what it said
	nssMost   = 256              // users that are remembered
)

// nss knows users and groups as the host's name service switch does
// (nsswitch.conf(5)): those of LDAP and SSSD too. The program is static, and
// reads /etc/passwd and /etc/group itself; of all others getent(1) is asked. It is
// safe for concurrent use.
type nss struct {
	mu    sync.Mutex
	known map[string]answer
}

type answer struct {
	text string // a name, or a number; "" for none
	at   time.Time
}

// group is the ID of the group of that name; false if the host has none.
func (n *nss) group(name string) (int, bool) {
	text := n.ask("group "+name, func() string {
		if g, err := user.LookupGroup(name); err == nil {
			return g.Gid
		}
		return field(getent("group", name), 2)
	})
	gid, err := strconv.Atoi(text)
	return gid, err == nil
}

// user is the name of the user with that ID, "uid N" if nobody knows it.
func (n *nss) user(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	name := n.ask("user "+id, func() string {
		if u, err := user.LookupId(id); err == nil {
			return u.Username
		}
		return field(getent("passwd", id), 0)
	})
	if name == "" {
		return "uid " + id
	}
	return name
}

// ask looks something up that is not known from a moment ago.
func (n *nss) ask(what string, look func() string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.known[what]; ok && time.Since(a.at) < nssKept {
		return a.text
	}
	if n.known == nil || len(n.known) >= nssMost {
		n.known = make(map[string]answer)
	}
	a := answer{look(), time.Now()}
	n.known[what] = a
	return a.text
}

// getent is the line that it says of one entry; "" if there is none.
func getent(database, key string) string {
	ctx, stop := context.WithTimeout(context.Background(), nssWithin)
	defer stop()
	out, err := exec.CommandContext(ctx, "getent", database, key).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// field is one of a line of passwd(5) or group(5).
func field(line string, n int) string {
	fields := strings.Split(line, ":")
	if n >= len(fields) {
		return ""
	}
	return fields[n]
}
