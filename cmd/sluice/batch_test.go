package main

import (
	"strings"
	"testing"
)

func TestReadBatch(t *testing.T) {
	all, err := readBatch(strings.NewReader("# who gives\nweb 0 100mbit --guarantee 20mbit --for 10m # for the sale\n\nftp 1 --tx 10mbit --rx --priority 1\n"), "plan")
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if r := all[0]; r.VM != "web" || *r.Tx.Limit != 100e6 || *r.Rx.Guarantee != 20e6 || r.ForS != 600 {
		t.Errorf("%+v", r)
	}
	if r := all[1]; r.VM != "ftp" || r.VIF != 1 || *r.Tx.Limit != 10e6 || r.Rx.Limit != nil || *r.Rx.Priority != 1 {
		t.Errorf("%+v", r)
	}
	for text, says := range map[string]string{
		"":                           "no changes",
		"# nothing":                  "no changes",
		"web 0 10mbit\nweb":          "line 2",
		"web 0 10parsec":             "line 1",
		"web x 10mbit":               "not a vif's index",
		"web 0 1mbit --for 10":       `invalid value "10" for --for`,
		"web 0 1mbit --dry-run":      "unknown flag",
		"web 0 1mbit --help":         "changes nothing",
		"set web 0 1mbit":            "line 1",
		"web 0 --weight 1e3":         `invalid value "1e3" for --weight; nothing was changed (try: its share of what is spare, 1 to 10000`,
		strings.Repeat("x", 100<<10): "cannot be read",
	} {
		if _, err := readBatch(strings.NewReader(text), "plan"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v, want %q", text, err, says)
		}
	}
}

func FuzzReadBatch(f *testing.F) {
	f.Add("web 0 100mbit --guarantee 20mbit # for the sale\nftp 1 --tx 10mbit --rx")
	f.Fuzz(func(t *testing.T, text string) {
		if all, err := readBatch(strings.NewReader(text), "plan"); err == nil && len(all) == 0 {
			t.Error("neither changes nor an error")
		}
	})
}
