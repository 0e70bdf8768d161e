package control

import (
	"testing"

	"sluice"
)

const (
	uuid1 = "0b4c2a54-4b0e-4b0e-9d9e-0f6f6e6b7a11"
	uuid2 = "0b4c2a54-4b0e-4b0e-9d9e-0f6f6e6b7a12"
	mac1  = "52:54:00:00:00:01"
	mac2  = "52:54:00:00:00:02"
)

func TestIdentify(t *testing.T) {
	web := sluice.VIF{VM: "web", Device: "tap1"}
	vnet := sluice.VIF{VM: "vnet0", Device: "vnet0", DeviceMAC: mac1, DeviceIndex: 7}
	with := func(v sluice.VIF, change func(*sluice.VIF)) sluice.VIF { change(&v); return v }
	for _, c := range []struct {
		name    string
		records []sluice.VIF
		seen    []sluice.VIF
		ids     []string
	}{
		{"new", nil, []sluice.VIF{web, with(web, func(v *sluice.VIF) { v.UUID, v.MAC = uuid1, mac1 })}, []string{"web/0", uuid1 + "/" + mac1}},
		{"its UUID is learnt", []sluice.VIF{web}, []sluice.VIF{with(web, func(v *sluice.VIF) { v.UUID = uuid1 })}, []string{"web/0"}},
		{"its MAC is learnt", []sluice.VIF{web}, []sluice.VIF{with(web, func(v *sluice.VIF) { v.MAC = mac1 })}, []string{"web/0"}},
		{"another tap", []sluice.VIF{web}, []sluice.VIF{with(web, func(v *sluice.VIF) { v.Device = "tap9" })}, []string{"web/0"}},
		{"another UUID", []sluice.VIF{with(web, func(v *sluice.VIF) { v.UUID = uuid1 })}, []sluice.VIF{with(web, func(v *sluice.VIF) { v.UUID = uuid2 })}, []string{uuid2 + "/0"}},
		{"capitals", []sluice.VIF{{VM: "web", UUID: uuid1, MAC: "52:54:00:AA:00:01"}}, []sluice.VIF{{VM: "new", UUID: "0B4C2A54-4B0E-4B0E-9D9E-0F6F6E6B7A11", MAC: "52:54:00:aa:00:01"}},
			[]string{uuid1 + "/52:54:00:AA:00:01"}},
		{"twins by UUID", nil, []sluice.VIF{{VM: "a", UUID: uuid1}, {VM: "b", UUID: uuid1}}, []string{uuid1 + "/0", uuid1 + "/0~2"}},
		{"twins by MAC", nil, []sluice.VIF{{VM: "a", UUID: uuid1, MAC: mac1}, {VM: "a", UUID: uuid1, MAC: mac1, Index: 1}}, []string{uuid1 + "/" + mac1, uuid1 + "/" + mac1 + "~2"}},
		{"the same device", []sluice.VIF{vnet}, []sluice.VIF{vnet}, []string{"vnet0/0"}},
		{"the same after a start", []sluice.VIF{vnet}, []sluice.VIF{with(vnet, func(v *sluice.VIF) { v.DeviceIndex = 3 })}, []string{"vnet0/0"}},
		{"its MAC is set", []sluice.VIF{vnet}, []sluice.VIF{with(vnet, func(v *sluice.VIF) { v.DeviceMAC = mac2 })}, []string{"vnet0/0"}},
		{"a stranger", []sluice.VIF{vnet}, []sluice.VIF{with(vnet, func(v *sluice.VIF) { v.DeviceMAC, v.DeviceIndex = mac2, 9 })}, []string{"vnet0/0~2"}},
		{"set by an older Sluice", []sluice.VIF{{VM: "vnet0", Device: "vnet0"}}, []sluice.VIF{vnet}, []string{"vnet0/0"}},
		{"named since", []sluice.VIF{vnet}, []sluice.VIF{with(vnet, func(v *sluice.VIF) { v.VM, v.UUID = "web", uuid1 })}, []string{"vnet0/0"}},
		{"a named one on that name", []sluice.VIF{vnet}, []sluice.VIF{{VM: "web", UUID: uuid1, Device: "vnet0", DeviceMAC: mac2, DeviceIndex: 9}}, []string{uuid1 + "/0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := make(map[string]sluice.VIF)
			for _, r := range c.records {
				r.ID = r.Key()
				records[r.ID] = r
			}
			for i, v := range identify(records, c.seen) {
				if v.ID != c.ids[i] {
					t.Errorf("%s on %s is %s, want %s", v, v.Device, v.ID, c.ids[i])
				}
				if v.VM != c.seen[i].VM || v.Device != c.seen[i].Device {
					t.Errorf("%+v became %+v", c.seen[i], v)
				}
			}
		})
	}
}

// Twins that were told apart stay so when only one of them is there.
func TestIdentifyTwins(t *testing.T) {
	both := identify(nil, []sluice.VIF{{VM: "a", UUID: uuid1}, {VM: "b", UUID: uuid1}})
	records := map[string]sluice.VIF{both[0].ID: both[0], both[1].ID: both[1]}
	for _, one := range both {
		if v := identify(records, []sluice.VIF{{VM: one.VM, UUID: uuid1}}); v[0].ID != one.ID {
			t.Errorf("%s alone is %s, and was %s", one.VM, v[0].ID, one.ID)
		}
	}
}
