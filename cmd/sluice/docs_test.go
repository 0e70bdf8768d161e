package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go/ast"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every setting that there is stands in docs/operating.md.
func TestSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var fields func(reflect.Type)
	fields = func(of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			name := f.Tag.Get("toml")
			table := "[[" + name + "]]"
			if name == "vif" {
				table = "[[vm.vif]]"
			}
			if !regexp.MustCompile(`(?m)^`+name+` = `).Match(text) && !strings.Contains(string(text), table) {
				t.Errorf("docs/operating.md does not show the setting %s", name)
			}
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				fields(f.Type.Elem())
			}
		}
	}
	fields(reflect.TypeFor[settings]())
}

// No text of a program names a flag that sluice does not have.
func TestFlagsThatAreNamedExist(t *testing.T) {
	known := map[string]bool{"help": true, "version": true}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(command())
	flag := regexp.MustCompile(`(?:^|[\s(\x60])--([a-z][a-z-]+)`)
	for _, dir := range []string{"../../control", "../../http", "../../etcd", "../../linux", "../../xen", "../../monitor", "."} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || d.Name() == "guestsetup.go" { // whose flags are others'
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				for _, named := range flag.FindAllStringSubmatch(strings.Trim(l.Value, `"`), -1) {
					if !known[named[1]] {
						t.Errorf("%s: %s names --%s, which sluice does not have", path, l.Value, named[1])
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Every command says in one line what it is for and shows an example, and the
// help has it in a group.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command, top bool)
	walk = func(c *cobra.Command, top bool) {
		if c.Short == "" || c.Example == "" || top && c.GroupID == "" {
			t.Errorf("%s: short %q, example %q, group %q", c.CommandPath(), c.Short, c.Example, c.GroupID)
		}
		for _, sub := range c.Commands() {
			walk(sub, false)
		}
	}
	for _, c := range command().Commands() {
		walk(c, true)
	}
}

// Arguments that do not fit are answered with how the command is used.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"undo"}, {"set", "web"}, {"set", "web", "0", "1mbit", "2mbit"}, {"list", "web"}, {"group", "delete"}, {"forget"}} {
		c := command()
		c.SetArgs(args)
		err := c.Execute()
		if err == nil || !strings.Contains(err.Error(), "usage: sluice "+args[0]) || strings.Contains(err.Error(), "arg(s)") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// What a guest or a device is called does not reach the terminal as an order.
func TestPrintable(t *testing.T) {
	if got := printable("a\tb\x1b[31m\u202e\n\xff"); got != "a\tb\\x1b[31m\\u202e\n\\xff" {
		t.Errorf("%q", got)
	}
}
