package sluice_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed says which of the project's packages each package may import, and
// thereby that no room looks into its neighbour (docs/architecture.md).
var allowed = map[string][]string{
	".":                {},
	"allocate":         {"."},
	"bench":            {"*"},
	"cmd/sluice":       {"*"},
	"cmd/sluice-guest": {".", "guest", "xen", "xen/xenstore"},
	"broadcast":        {},
	"control":          {".", "allocate", "broadcast"},
	"e2e":              {"*"},
	"e2e/xen":          {"*"},
	"etcd":             {".", "control"},
	"files":            {},
	"follow":           {},
	"guest":            {"."},
	"lab":              {"."},
	"http":             {".", "control", "files"},
	"libvirt":          {".", "broadcast", "follow"},
	"lxd":              {".", "broadcast", "follow"},
	"proxmox":          {"."},
	"qemu":             {"."},
	"linux":            {".", "broadcast", "linux/htb", "linux/tc"},
	"linux/htb":        {".", "linux/tc"},
	"linux/tc":         {},
	"linux/netnstest":  {},
	"monitor":          {".", "broadcast"},
	"web":              {},
	"xen":              {".", "broadcast", "control", "xen/xenstore"},
	"xen/xenstore":     {},

	"xen/xenstore/xenstoretest": {},
}

// TestRooms holds every import against the plan of the house.
func TestRooms(t *testing.T) {
	walkGo(t, func(path, dir string) {
		if strings.HasSuffix(path, "_test.go") {
			return // tests may use the real thing from next door
		}
		may, known := allowed[dir]
		if !known {
			t.Errorf("%s: package %s is not in the plan; add it to docs/architecture.md and to this test", path, dir)
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			target, ours := strings.CutPrefix(name, "sluice/")
			if name == "sluice" {
				target, ours = ".", true
			}
			if ours && !slices.Contains(may, "*") && !slices.Contains(may, target) {
				t.Errorf("%s imports %s: %s may use only %v", path, name, dir, may)
			}
		}
	})
}

// TestPackageComments checks that every package tells a newcomer what it is for, once.
func TestPackageComments(t *testing.T) {
	comments := map[string]int{}
	walkGo(t, func(path, dir string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		comments[dir] += 0
		if file.Doc != nil {
			comments[dir]++
		}
	})
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want exactly one", dir, n)
		}
	}
}

// walkGo calls visit with every Go file of the project and its folder.
func walkGo(t *testing.T, visit func(path, dir string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || len(path) > 1 && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			visit(filepath.ToSlash(path), filepath.ToSlash(filepath.Dir(path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
