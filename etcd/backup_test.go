package etcd

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice"
	"sluice/control"
)

// filled is a store with a group, a vif with a journal, what it is known by, a
// capacity, and a record that is damaged.
func filled(t *testing.T, dir string) *Store {
	t.Helper()
	s := open(t, dir)
	ctx := t.Context()
	for i := range 3 * backupPage { // several pages
		seen := get(t, s, "web/0")
		c := change("web", seen.Value, limited(sluice.Rate(i+1)*sluice.Mbit))
		if err := s.Begin(ctx, &c, seen); err != nil {
			t.Fatal(err)
		}
		c.Result = sluice.Done
		if err := s.Finish(ctx, c, get(t, s, "web/0")); err != nil {
			t.Fatal(err)
		}
	}
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	group := sluice.UnshapedBoth
	group.Group = sluice.HostGroup
	for key, value := range map[string]string{
		vifKey("@gold"): encodeNode(control.Node{Value: group, State: sluice.Connected}), vifKey("bad/0"): "{", capacityKey: `{"tx":1000000000,"rx":null}`,
	} {
		if _, err := m.client.Put(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Record(ctx, []sluice.VIF{{ID: "web/0", VM: "we<b>", MAC: "52:54:00:00:00:01"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// dump is all records but the journal's newest.
func dump(t *testing.T, s *Store, but uint64) map[string]string {
	t.Helper()
	m, ctx, done, err := s.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	r, err := m.client.Get(ctx, allPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, kv := range r.Kvs {
		if string(kv.Key) != changeKey(but) {
			all[string(kv.Key)] = string(kv.Value)
		}
	}
	return all
}

// What is restored is all that was backed up, though it was written to
// meanwhile; the store before is kept, and the next change has a number of its own.
func TestBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := filled(t, dir)
	want := dump(t, s, 0)
	var b bytes.Buffer
	if err := s.Backup(t.Context(), &b, map[string]string{"token": "x"}); err != nil {
		t.Fatal(err)
	}
	seen := get(t, s, "web/0")
	c := change("web", seen.Value, limited(7*sluice.Mbit))
	if err := s.Begin(t.Context(), &c, seen); err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(t.Context(), dir, bytes.NewReader(b.Bytes()), "ann", quietLog())
	if err != nil || got.VIFs != 1 || got.Groups != 1 || got.Changes != 300 || got.Note != 301 || got.With["token"] != "x" {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := Adopt(dir); sluice.CodeOf(err) != sluice.Unavailable {
		t.Errorf("adopted under an open store: %v", err)
	}
	s.Close()
	if done, err := Adopt(dir); !done || err != nil {
		t.Fatal(err)
	}
	if done, err := Adopt(dir); done || err != nil {
		t.Errorf("adopted twice: %v", err)
	}
	s = open(t, dir)
	if have := dump(t, s, got.Note); fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("the store has %v, want %v", have, want)
	}
	note, err := s.Change(t.Context(), got.Note)
	if err != nil || note.By != "ann" || !strings.Contains(note.Note, "restored from the backup of") {
		t.Errorf("%+v, %v", note, err)
	}
	if err := s.Note(t.Context(), &c); err != nil || c.ID != got.Note+1 {
		t.Errorf("the next change is %d, %v", c.ID, err)
	}
	before := open(t, Before(dir))
	if n := get(t, before, "web/0"); n.Value.Tx.Limit != 7*sluice.Mbit {
		t.Errorf("the store before has %v", n.Value)
	}
}

// A crash between any two steps leaves the old store or the new one.
func TestAdoptAfterCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := filled(t, dir)
	var b bytes.Buffer
	if err := s.Backup(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Unpack(t.Context(), dir, &b, "ann", quietLog()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, Before(dir)); err != nil { // and then it crashed
		t.Fatal(err)
	}
	if done, err := Adopt(dir); !done || err != nil {
		t.Fatal(err)
	}
	if n := get(t, open(t, dir), "web/0"); n.Value.Tx.Limit != 300*sluice.Mbit {
		t.Errorf("%+v", n)
	}
}

// What is no backup, or not all of one, changes nothing and leaves nothing.
func TestBackupBadInput(t *testing.T) {
	zip := func(lines ...string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, strings.Join(lines, "\n"))
		z.Close()
		return b.String()
	}
	head := `{"sluice_backup":1,"at":"2026-01-01T00:00:00Z"}`
	good := `{"key":"/sluice/capacity","value":{"tx":1000000000,"rx":1000000000}}`
	dir := filepath.Join(t.TempDir(), "store")
	for text, says := range map[string]string{
		"":                               "not what sluice backup writes",
		zip(""):                          "not what sluice backup writes",
		zip(`{"sluice_backup":2}`):       "another version",
		zip(head):                        "ends early",
		zip(head, good):                  "ends early",
		zip(head, good, `{"records":2}`): "1 records of 2",
		zip(head, "{"):                   "record 1 is damaged",
		zip(head, `{"key":"/other/x"}`):  "the store has no",
		zip(head, `{"key":"/sluice/vifs/web/0","value":{"state":"Connected","tx":{"limit":1}}}`): "record 1",
		zip(head, `{"key":"/sluice/changes/00000000000000000001","value":{"id":2}}`):             "record 1",
		zip(head, good, `{"records":1}`, "x"):                                                    "follows its end",
		zip(head, good, strings.Repeat("x", mostLine+1)):                                         "ends early",
		zip(head, good, `{"records":1}`)[:40]:                                                    "backup cannot be used",
	} {
		_, err := Unpack(context.Background(), dir, strings.NewReader(text), "ann", quietLog())
		if sluice.CodeOf(err) != sluice.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v, want %q", text, err, says)
		}
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func FuzzReadBackup(f *testing.F) {
	f.Add(`{"sluice_backup":1,"at":"2026-01-01T00:00:00Z"}` + "\n" + `{"key":"/sluice/capacity","value":{"tx":1000000000,"rx":1000000000}}` + "\n" + `{"records":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		z.Close()
		puts := 0
		if got, err := readBackup(&b, func(string, string) error { puts++; return nil }); err == nil && got.VIFs+got.Groups+got.Changes > puts {
			t.Errorf("%+v of %d records", got, puts)
		}
	})
}
