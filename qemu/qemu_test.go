package qemu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice"
)

func TestParse(t *testing.T) {
	const uuid = "5103e000-0000-4000-8000-000000000001"
	for _, x := range []struct {
		line      string
		vifs      []sluice.VIF
		collector string
	}{
		{"qemu-system-x86_64 -name web -uuid " + uuid + " -netdev tap,id=n,ifname=tap0,script=no -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:01",
			[]sluice.VIF{{VM: "web", UUID: uuid, MAC: "52:54:00:00:00:01", Device: "tap0"}}, ""},
		// As Proxmox VE 8 starts a VM.
		{"/usr/bin/kvm -id 100 -name shop,,db,debug-threads=on -smbios type=1,uuid=" + strings.ToUpper(uuid) + " -chardev socket,id=qga0,path=/var/run/qemu-server/100.qga,server=on,wait=off" +
			" -chardev socket,path=/var/run/qemu-server/100.sluice,id=sl,server=on -device virtserialport,chardev=sl,name=sluice.0" +
			" -netdev type=tap,id=net0,ifname=tap100i0,script=/var/lib/qemu-server/pve-bridge,vhost=on -device virtio-net-pci,mac=BC:24:11:00:00:01,netdev=net0,bus=pci.0" +
			" -netdev type=tap,id=net1,ifname=tap100i1 -device e1000,netdev=net1,mac=BC:24:11:00:00:02",
			[]sluice.VIF{{VM: "shop,db", UUID: uuid, MAC: "bc:24:11:00:00:01", Device: "tap100i0"}, {VM: "shop,db", UUID: uuid, Index: 1, MAC: "bc:24:11:00:00:02", Device: "tap100i1"}},
			"/var/run/qemu-server/100.sluice"},
		{"qemu-kvm --name guest=a,process=x --nic tap,ifname=t0,mac=52:54:00:00:00:02,model=e1000 --nic user", []sluice.VIF{{VM: "a", MAC: "52:54:00:00:00:02", Device: "t0"}}, ""},
		{"qemu-system-arm -name old -net nic,macaddr=52:54:00:00:00:03 -net tap,ifname=t1", []sluice.VIF{{VM: "old", Device: "t1"}}, ""},
		{"qemu-system-x86_64 -name web -netdev user,id=n", nil, ""},
		{"qemu-system-x86_64 -netdev tap,id=n,ifname=tap0", nil, ""},
		{"qemu-system-x86_64 -name x -netdev tap,id=n,fd=25 -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:04", []sluice.VIF{{VM: "x", MAC: "52:54:00:00:00:04", Device: "t1"}}, ""},
		{"qemu-system-x86_64 -name x -netdev tap,id=n,fd=26", nil, ""},
		// As libvirt 9 does.
		{`/usr/bin/qemu-system-x86_64 -name guest=db,debug-threads=on -uuid ` + uuid + ` -netdev {"type":"tap","fd":"25","vhost":true,"id":"hostnet0"} -device {"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:05","bus":"pci.1"}`,
			[]sluice.VIF{{VM: "db", UUID: uuid, MAC: "52:54:00:00:00:05", Device: "t1"}}, ""},
		{`qemu-system-x86_64 -name x -netdev {"type":"tap"`, nil, ""},
		{"qemu-system-x86_64 -name thief -netdev tap,id=n,ifname=vnet0", nil, ""}, // which it does not hold
		{"qemu-system-x86_64 -name x -netdev tap,id=n,ifname=../../etc", nil, ""},
		{"vim -name web -netdev tap,id=n,ifname=tap0", nil, ""},
		{"qemu-system-x86_64 -name \x1b[31m -netdev tap,ifname=tap0", []sluice.VIF{{VM: `\x1b[31m`, Device: "tap0"}}, ""},
		{"qemu-system-x86_64 -name", nil, ""},
	} {
		args := strings.Split(x.line, " ")
		held := map[string]string{"3": "tap0", "4": "tap100i0", "5": "tap100i1", "6": "t0", "25": "t1"}
		m, ok := parse(args, held)
		ok = ok && isQEMU(args[0])
		if ok != (x.vifs != nil) || ok && (!slices.Equal(m.vifs, x.vifs) || m.collector != x.collector) {
			t.Errorf("%s:\n%+v, %v, want %+v", x.line, m, ok, x)
		}
	}
}

// Processes that end while they are read, and what is no process, are passed over.
func TestProcesses(t *testing.T) {
	n := &Namer{proc: t.TempDir()}
	for name, text := range map[string]string{
		"1/cmdline": "init\x00", "2/cmdline": "", "77/cmdline": "kvm\x00-name\x00web\x00-nic\x00tap,ifname=tap0\x00",
		"88/cmdline": "kvm\x00-name\x00" + strings.Repeat("x", mostCommand) + "\x00-nic\x00tap,ifname=tap1\x00", "net/cmdline": "kvm\x00-name\x00no\x00-nic\x00tap,ifname=tap2\x00", "99/comm": "x",
	} {
		path := filepath.Join(n.proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"77/fd/9": "/dev/net/tun", "77/fd/8": "/dev/null", "88/fd/9": "/dev/net/tun"} {
		if err := os.MkdirAll(filepath.Join(n.proc, filepath.Dir(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(n.proc, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(n.proc, "77/fdinfo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.proc, "77/fdinfo/9"), []byte("pos:\t0\nflags:\t02004002\niff:\ttap0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := n.VIFs(); !slices.Equal(got, []sluice.VIF{{VM: "web", Device: "tap0"}}) {
		t.Errorf("%+v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("kvm\x00-name\x00a,,b,guest=c\x00-netdev\x00type=tap,id=n,ifname=t\x00-device\x00x,netdev=n,mac=52:54:00:00:00:02")
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := parse(strings.Split(line, "\x00"), map[string]string{"3": "t", "4": "tap0"})
		for _, v := range m.vifs {
			if ok && (v.VM == "" || v.VM != sluice.Printable(v.VM) || v.Device == "" || len(v.Device) > 15) {
				t.Errorf("%+v", v)
			}
		}
	})
}
