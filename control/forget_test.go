package control_test

import (
	"strings"
	"testing"

	"sluice"
)

// What an absent VM was guaranteed is free once it is forgotten, and a stranger
// on its device has nothing of it.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	h := newLink(t, dir).run()
	vnet := sluice.VIF{VM: "vnet0", Device: "vnet0", DeviceMAC: "02:00:00:00:00:01", DeviceIndex: 7}
	h.inventory.set(web, vnet)
	if _, err := h.Set(t.Context(), guarantee(vnet, 60*sluice.Mbit, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Forget(t.Context(), "vnet0", nil, "root"); sluice.CodeOf(err) != sluice.Refused {
		t.Errorf("it is here: %v", err)
	}
	stranger := vnet
	stranger.DeviceMAC, stranger.DeviceIndex = "02:00:00:00:00:02", 9
	h.inventory.set(web, stranger)
	h.eventually("the stranger has nothing", func() bool {
		a, ok := h.kernel.has("vnet0")
		return !ok || a == sluice.UnshapedBoth
	})
	// A start later it is all the same.
	h.stop()
	h.store.Close()
	h = newLink(t, dir)
	h.inventory.set(web, stranger)
	h.run()
	absent, err := h.Absent(t.Context())
	if err != nil || len(absent) != 1 || absent[0].VM != "vnet0" || absent[0].Tx.Guarantee != 60*sluice.Mbit || !absent[0].Absent {
		t.Fatalf("%+v, %v", absent, err)
	}
	if _, err := h.Set(t.Context(), guarantee(web, 60*sluice.Mbit, 0)); sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "vnet0 vif 0 (absent) holds 60mbit") {
		t.Errorf("%v", err)
	}
	records, err := h.Forget(t.Context(), "VNET0", new(0), "root")
	if err != nil || len(records) != 1 || records[0].ID == 0 || records[0].Note == "" {
		t.Fatalf("%+v, %v", records, err)
	}
	if _, err := h.Set(t.Context(), guarantee(web, 60*sluice.Mbit, 0)); err != nil {
		t.Errorf("it is free now: %v", err)
	}
	if absent, _ := h.Absent(t.Context()); len(absent) != 0 {
		t.Errorf("%+v", absent)
	}
	if known, _ := h.store.Records(t.Context()); known["vnet0/0"].ID != "" || known["web/0"].VM != "web" {
		t.Errorf("%+v", known)
	}
}

// A VM is meant by its name, its UUID in any case or a vif's ID, and never by
// what may be two.
func TestVM(t *testing.T) {
	h := start(t)
	const uuid = "0b4c2a54-4b0e-4b0e-9d9e-0f6f6e6b7a1a"
	h.inventory.set(sluice.VIF{VM: "Web", UUID: uuid, MAC: "52:54:00:00:00:01", Device: "tap1"}, sluice.VIF{VM: "@x", Device: "tap2"},
		sluice.VIF{VM: "two", UUID: uuid[:35] + "b", Device: "tap3"}, sluice.VIF{VM: "two", UUID: uuid[:35] + "c", Device: "tap4"},
		sluice.VIF{VM: "db", Device: "tap5"}, sluice.VIF{VM: "DB", Device: "tap6"})
	for asked, want := range map[string]string{
		"Web": "tap1", "web": "tap1", uuid: "tap1", strings.ToUpper(uuid): "tap1", uuid + "/52:54:00:00:00:01": "tap1", "@@x": "tap2", "db": "tap5", "DB": "tap6",
		"two": "", "Db": "", "nobody": "",
	} {
		its, err := h.VM(t.Context(), asked)
		if want == "" && err == nil || want != "" && (err != nil || its[0].Device != want) {
			t.Errorf("%s: %v, %v; want %s", asked, its, err, want)
		}
	}
	c, err := h.Set(t.Context(), limit(sluice.VIF{VM: "@@x"}, sluice.Mbit))
	if err != nil || c.Device != "tap2" {
		t.Errorf("%+v, %v", c, err)
	}
}
