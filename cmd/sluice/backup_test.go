package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice"
	"sluice/etcd"
	"sluice/http"
)

// Without a daemon the command takes and gives the state directory itself; the
// token comes with it, and the file is its owner's alone.
func TestBackupWithoutDaemon(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "b")
	store, err := etcd.Open(t.Context(), storeDir(dir), quiet())
	if err != nil {
		t.Fatal(err)
	}
	capacity := sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit}
	if err := store.SetCapacity(t.Context(), &capacity); err != nil {
		t.Fatal(err)
	}
	token, err := http.Token(dir)
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := command()
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append(args, "--state-dir", dir))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	if _, err := run("backup", file); err == nil || !strings.Contains(err.Error(), "used by another daemon") {
		t.Errorf("the store is open: %v", err)
	}
	store.Close()
	if _, err := run("backup", file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.RemoveAll(storeDir(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	if _, err := run("backup", file); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("there is no store: %v", err)
	}
	if out, err := run("restore", file); err != nil || !strings.Contains(out, "when the daemon is started") {
		t.Fatalf("%q, %v", out, err)
	}
	if again, err := http.Token(dir); err != nil || again != token {
		t.Errorf("the token is %q, was %q", again, token)
	}
	store, err = etcd.Open(t.Context(), storeDir(dir), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if got, said, err := store.Capacity(t.Context()); err != nil || !said || got != capacity {
		t.Errorf("%v, %v, %v", got, said, err)
	}
}
