package xen_test

import (
	"os"
	"os/exec"
	"testing"

	"sluice/xen/xenstore"
)

// TestXenstored runs the client's own tests against the real xenstored, by
// both ways to it.
func TestXenstored(t *testing.T) {
	for _, way := range []string{xenstore.Socket, xenstore.Device} {
		t.Run(way, func(t *testing.T) {
			cmd := exec.Command("./xenstore.test", "-test.count=1")
			cmd.Env = append(os.Environ(), "SLUICE_XENSTORE="+way)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
