package libvirt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice"
)

const shop = `<?xml version="1.0"?>
<domain type='kvm' id='3'>
  <name>shop db &amp; &lt;b&gt;</name>
  <uuid>5103E000-0000-4000-8000-000000000001</uuid>
  <metadata><x:y xmlns:x="urn:x"><name>not this</name></x:y><profile>nor this</profile><sluice:profile xmlns:sluice="urn:sluice"> gold </sluice:profile></metadata>
  <devices>
    <interface type='bridge'><mac address='52:54:00:12:34:56'/><source bridge='br0'/><target dev='vnet0'/><model type='virtio'/></interface>
    <interface type='user'><mac address='52:54:00:12:34:57'/></interface>
    <interface type='direct'><mac address='52:54:00:12:34:58'/><source dev='eno1' mode='bridge'/><target dev='macvtap0'/></interface>
    <interface type='ethernet'><mac address='52:54:00:12:34:59'/><target dev='mytap' managed='no'/></interface>
    <channel type='unix'><source mode='bind' path='/run/lib/org.qemu.guest_agent.0'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-3-shop/sluice.0'/><target type='virtio' name='sluice.0'/></channel>
  </devices>
</domain>`

func TestParse(t *testing.T) {
	d, err := parse([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	const uuid, name = "5103e000-0000-4000-8000-000000000001", "shop db & <b>"
	want := []sluice.VIF{
		{VM: name, UUID: uuid, Index: 0, Profile: "gold", MAC: "52:54:00:12:34:56", Device: "vnet0", DeviceMAC: "fe:54:00:12:34:56"},
		{VM: name, UUID: uuid, Index: 2, Profile: "gold", MAC: "52:54:00:12:34:58", Device: "macvtap0", DeviceMAC: "52:54:00:12:34:58"},
		{VM: name, UUID: uuid, Index: 3, Profile: "gold", MAC: "52:54:00:12:34:59", Device: "mytap"},
	}
	if !slices.Equal(d.vifs, want) {
		t.Errorf("%+v, want %+v", d.vifs, want)
	}
	if d.collector != "/var/lib/libvirt/qemu/channel/target/domain-3-shop/sluice.0" {
		t.Errorf("the collector is at %q", d.collector)
	}
}

func TestParseBadInput(t *testing.T) {
	many := strings.Repeat("<interface type='user'/>", mostInterfaces+1)
	for text, says := range map[string]string{
		"":                                "cannot be read",
		"<domain>":                        "cannot be read",
		"<domain><name>x</name></domain>": "UUID",
		strings.Replace(shop, "8000-000000000001", "8000-00000000000x", 1):   "UUID",
		strings.Replace(shop, "shop db &amp; &lt;b&gt;", "", 1):              "name",
		strings.Replace(shop, "<devices>", "<devices>"+many, 1):              "interfaces",
		`<!DOCTYPE x [<!ENTITY a "aaaa">]><domain><name>&a;</name></domain>`: "cannot be read",
		`<?xml version="1.0" encoding="utf-16"?><domain/>`:                   "UTF-8",
		"<domain>" + strings.Repeat(" ", mostXML):                            "more than",
	} {
		if d, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %+v, %v, want %q", text, d, err, says)
		}
	}
	for _, device := range []string{"../../x", "a b", strings.Repeat("x", 16)} {
		d, err := parse([]byte(strings.Replace(shop, "'vnet0'", fmt.Sprintf("'%s'", device), 1)))
		if err != nil || len(d.vifs) != 2 {
			t.Errorf("device %q: %+v, %v", device, d.vifs, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(shop))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parse(text)
		if err != nil {
			return
		}
		for _, v := range d.vifs {
			if v.VM != sluice.Printable(v.VM) || v.Device == "" || v.UUID != strings.ToLower(v.UUID) {
				t.Errorf("%+v", v)
			}
		}
	})
}
