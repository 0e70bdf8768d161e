package proxmox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice"
)

const vm = `#a note: net7: virtio=00:00:00:00:00:00
boot: order=scsi0
name: shop
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,rate=12.5
net1: e1000=BC:24:11:00:00:02,bridge=vmbr1
net99: virtio=BC:24:11:00:00:03
smbios1: uuid=5103E000-0000-4000-8000-000000000001
tags: web;sluice-gold

[before]
name: old
net2: virtio=BC:24:11:00:00:04,bridge=vmbr0
`

const container = "arch: amd64\nhostname: files\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:05,ip=dhcp,type=veth\n"

func TestVIFs(t *testing.T) {
	dir := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n := New(dir)
	if all := n.VIFs(); len(all) != 0 {
		t.Errorf("a host without Proxmox VE has %+v", all)
	}
	write("qemu-server/100.conf", vm)
	write("qemu-server/x.conf", vm)
	write("lxc/101.conf", container)
	const uuid = "5103e000-0000-4000-8000-000000000001"
	want := []sluice.VIF{
		{VM: "shop", UUID: uuid, Profile: "gold", Index: 0, MAC: "bc:24:11:00:00:01", Device: "tap100i0"},
		{VM: "shop", UUID: uuid, Profile: "gold", Index: 1, MAC: "bc:24:11:00:00:02", Device: "tap100i1"},
		{VM: "files", Index: 0, MAC: "bc:24:11:00:00:05", Device: "veth101i0"},
	}
	for range 2 { // the second time from what is remembered
		if all := n.VIFs(); !slices.Equal(all, want) {
			t.Errorf("%+v; want %+v", all, want)
		}
	}
	write("lxc/101.conf", strings.Replace(container, "files", "store", 1))
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(filepath.Join(dir, "lxc/101.conf"), later, later); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "qemu-server/100.conf")); err != nil {
		t.Fatal(err)
	}
	if all := n.VIFs(); len(all) != 1 || all[0].VM != "store" {
		t.Errorf("renamed, and the other one removed: %+v", all)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(vm), 0)
	f.Add([]byte(container), 1)
	f.Add([]byte("net0: \nnet: x\nnet1:virtio\n\xff: \x1b"), 0)
	f.Fuzz(func(t *testing.T, text []byte, kind int) {
		for _, v := range parse(text, kind&1, "100") {
			if v.VM == "" || v.VM != sluice.Printable(v.VM) || len(v.Device) > 15 || v.Index < 0 || v.Index >= mostNICs {
				t.Errorf("%+v", v)
			}
		}
	})
}
