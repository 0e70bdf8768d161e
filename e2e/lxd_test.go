package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice"
)

// lxdScript runs LXD with a /run and /var that are its alone, and a /sys of
// the network namespace that it is in.
const lxdScript = `set -e
mount --make-rprivate /
mkdir -p "$0"/{lib,run,log,cgroup}
mount --bind "$0/lib" /var/lib
mount --bind "$0/run" /run
mount --bind "$0/log" /var/log
mount --rbind /sys/fs/cgroup "$0/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$0/cgroup" /sys/fs/cgroup
exec lxd --logfile "$0/lxd.log" --group root`

// lxdImage makes an image of busybox alone, which sleeps.
const lxdImage = `set -e
mkdir -p "$0"/image/rootfs/{bin,sbin,etc,proc,sys,dev,run,tmp,root}
cp "$(command -v busybox)" "$0/image/rootfs/bin/busybox"
ln -s ../bin/busybox "$0/image/rootfs/sbin/init"
ln -s busybox "$0/image/rootfs/bin/sleep"
echo '::respawn:/bin/sleep 1000' >"$0/image/rootfs/etc/inittab"
printf 'architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: busybox}\n' >"$0/image/metadata.yaml"
tar -C "$0/image" -czf "$0/image.tar.gz" .`

// lxd is a real LXD on a host, with state of its own.
type lxd struct {
	*host
	dir  string
	cmd  *exec.Cmd
	said *output
}

func (l *lxd) begin() {
	l.Helper()
	l.cmd = exec.Command("unshare", "-m", "bash", "-c", lxdScript, l.dir)
	l.cmd.Env = append(os.Environ(), "LXD_DIR="+l.dir)
	l.cmd.Stdout, l.cmd.Stderr = l.said, l.said
	var err error
	l.ns.Do(func() { err = l.cmd.Start() })
	if err != nil {
		l.Fatal(err)
	}
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := l.try("list")
		if err == nil {
			return
		}
		if time.Now().After(until) {
			log, _ := os.ReadFile(filepath.Join(l.dir, "lxd.log"))
			l.Fatalf("LXD does not answer: %v %s\n%s\n%s", err, out, l.said, log)
		}
	}
}

// stop ends LXD; its containers go on.
func (l *lxd) stop() {
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait()
	l.cmd = nil
}

// try has lxc(1) do something.
func (l *lxd) try(args ...string) (string, error) {
	cmd := exec.Command("timeout", append([]string{"60", "lxc"}, args...)...)
	cmd.Env = append(os.Environ(), "LXD_DIR="+l.dir, "LXD_CONF="+filepath.Join(l.dir, "client"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lxd) must(args ...string) {
	l.Helper()
	if out, err := l.try(args...); err != nil {
		log, _ := os.ReadFile(filepath.Join(l.dir, "lxd.log"))
		l.Fatalf("lxc %v: %v %s\n%s", args, err, out, log)
	}
}

// TestLXD follows a real LXD: containers have the names that it gives, what is
// set for one holds through restart and rename, and what its description asks
// for is given to it.
func TestLXD(t *testing.T) {
	for _, need := range []string{"lxd", "lxc", "busybox"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Fatalf("%v; make deps installs it", err)
		}
	}
	l := &lxd{host: newHost(t, ""), said: new(output)}
	l.dir = l.host.path("lxd")
	for _, dir := range []string{l.dir, filepath.Join(l.dir, "client")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("bash", "-c", lxdImage, l.dir).CombinedOutput(); err != nil {
		t.Fatalf("the image: %v %s", err, out)
	}
	settings := fmt.Sprintf("bridge = \"br0\"\ncapacity = \"10gbit\"\nlxd = %q\n", filepath.Join(l.dir, "unix.socket"))
	if err := os.WriteFile(l.host.path("sluice.toml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l.cmd == nil {
			l.begin()
		}
		for _, name := range []string{"web", "shop"} {
			_, _ = l.try("delete", "-f", name)
		}
		l.stop()
		_ = exec.Command("umount", "-l", filepath.Join(l.dir, "shmounts")).Run()
		_ = exec.Command("umount", "-l", filepath.Join(l.dir, "devlxd")).Run()
	})
	l.start() // before LXD is there
	l.ready()
	l.begin()
	l.must("storage", "create", "pool", "dir")
	l.must("profile", "device", "add", "default", "root", "disk", "path=/", "pool=pool")
	l.must("image", "import", filepath.Join(l.dir, "image.tar.gz"), "--alias", "busybox")
	l.must("init", "busybox", "web", "-c", "security.privileged=true")
	l.must("config", "device", "add", "web", "eth0", "nic", "nictype=bridged", "parent=br0", "name=eth0")
	l.must("start", "web")
	begin := time.Now()
	l.eventually("web is named", time.Second, func() bool { _, ok := l.vif("web", 0); return ok })
	t.Logf("named %v after lxc start", time.Since(begin))
	web, _ := l.vif("web", 0)
	if !strings.HasPrefix(web.Device, "veth") || web.MAC == "" || web.UUID == "" {
		t.Errorf("%+v", web.VIF)
	}
	l.set("web", "0", "20mbit")
	held := func(name, when string) {
		t.Helper()
		l.eventually(when+": the setting holds", 5*time.Second, func() bool {
			v, ok := l.vif(name, 0)
			return ok && v.Tx.Limit == 20*sluice.Mbit && v.NotEnforced == "" && v.State == sluice.Connected
		})
	}
	held("web", "set")
	l.must("restart", "-f", "web")
	held("web", "restarted")
	l.must("stop", "-f", "web")
	l.eventually("web is gone", 2*time.Second, func() bool { _, ok := l.vif("web", 0); return !ok })
	l.must("rename", "web", "shop")
	l.must("start", "shop")
	held("shop", "renamed")
	l.stop()
	l.eventually("doctor says that LXD is away", 8*time.Second, func() bool {
		out, _, _ := l.host.try("doctor")
		return strings.Contains(out, "LXD") && strings.Contains(out, "does not answer")
	})
	held("shop", "LXD is away")
	l.begin()
	held("shop", "LXD is back")

	// What its description asks for.
	l.sluice("profile", "set", "gold", "30mbit", "--weight", "400")
	l.must("config", "set", "shop", "user.sluice.profile", "gold")
	l.eventually("its description counts", 2*time.Second, func() bool {
		v, _ := l.vif("shop", 0)
		return v.Tx.Weight == 400 && v.Tx.Limit == 20*sluice.Mbit && v.Profile == "gold"
	})
}
