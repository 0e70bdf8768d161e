package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/guest"
)

// The test's own binary is the program when it is told so.
func TestMain(m *testing.M) {
	if os.Getenv("SLUICE_GUEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "SLUICE_GUEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts the collector and returns when it answers, and where.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = command(append([]string{"--listen", "127.0.0.1:0", "--port", ""}, args...)...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if _, at, ok := strings.Cut(lines.Text(), "msg=answering address="); ok {
			go io.Copy(io.Discard, log)
			return cmd, at
		}
		t.Log(lines.Text())
	}
	t.Fatal("it never answered")
	return nil, ""
}

// Killed at any time, the database opens and what was answered is in it: at
// most the sample that was under way is missing.
func TestKillAtAnyTime(t *testing.T) {
	database := filepath.Join(t.TempDir(), "usage.db")
	last, name := uint64(0), ""
	for round := range 25 {
		cmd, address := start(t, "--database", database, "--interval", "100ms")
		c, err := guest.NewClient(address)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var heard sluice.Sample
		for until := began.Add(time.Duration(100+rand.IntN(400)) * time.Millisecond); time.Now().Before(until); {
			got, err := c.Pull(context.Background(), last, guest.MaxLimit)
			if err != nil {
				t.Fatal(err)
			}
			if name != "" && got.Database != name {
				t.Fatalf("round %d: the database began anew", round)
			}
			name = got.Database
			for _, s := range got.Samples {
				last, heard = s.ID, s
			}
			time.Sleep(time.Duration(rand.IntN(7000)) * time.Microsecond)
		}
		cmd.Process.Kill()
		cmd.Wait()
		c.Close()

		kept, newest := map[uint64]bool{}, uint64(0)
		err = guest.Past(context.Background(), database, time.Time{}, func(s sluice.Sample) error {
			kept[s.ID] = true
			if s.ID != newest+1 && s.ID>>32 == newest>>32 {
				t.Errorf("round %d: sample %d came after %d", round, s.ID, newest)
			}
			newest = s.ID
			return nil
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if heard.ID > newest+1 {
			t.Errorf("round %d: sample %d was answered, and %d is the newest kept", round, heard.ID, newest)
		}
	}
	// The last start may have been killed before its first sample.
	if starts := last >> 32; starts < 20 || starts > 25 {
		t.Errorf("the last sample is %d: not of the last starts of 25", last)
	}
}

func TestTermEndsAtOnce(t *testing.T) {
	database := filepath.Join(t.TempDir(), "usage.db")
	socket := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	cmd, address := start(t, "--database", database, "--interval", "100ms")
	conn, err := net.Dial("tcp", address) // an idle asker holds nothing up
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var said [64]byte
	notify.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := notify.Read(said[:]); string(said[:n]) != "READY=1" {
		t.Errorf("systemd heard %q, %v", said[:n], err)
	}
	time.Sleep(300 * time.Millisecond)
	cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
	if info, err := os.Stat(database + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("it left a log of %d bytes", info.Size())
	}
}

// Bad input gets a clear error, with its exit status, on one line.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign := filepath.Join(dir, "foreign")
	os.WriteFile(foreign, bytes.Repeat([]byte("text\n"), 500), 0o644)
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"--interval 99ms", 2, "100ms to 1m"},
		{"--interval 61s", 2, "100ms to 1m"},
		{"--interval soon", 2, "invalid value"},
		{"--max-size 1", 2, "1M or more"},
		{"--max-size 64MB", 2, "not a size"},
		{"--max-size -5M", 2, "not a size"},
		{"--max-size 99999999999999999999G", 2, "not a size"},
		{"--max-age 1s", 2, "1m or more"},
		{"--listen= --port= --xenstore=", 2, "nobody would know"},
		{"--colour", 2, "flag provided but not defined"},
		{"collect", 2, "too much"},
		{"show more", 2, "too much"},
		{"show --since -1m", 2, "not in the past"},
		{"show -o yaml", 2, "text or json"},
		{"show --database " + dir + "/none", 3, "no database"},
		{"show --database " + foreign, 6, "cannot read"},
		{"--database " + dir, 5, "something else's"},
		{"--database " + foreign, 5, "something else's"},
		{"--database " + dir + "/a.db --port= --listen " + taken.Addr().String(), 6, "in use"},
		{"--database " + dir + "/a.db --port= --listen 127.0.0.1:99999", 6, "cannot listen"},
	} {
		cmd := command(strings.Fields(c.args)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // it was to end by itself
		cmd.Wait()
		hung.Stop()
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(said.String(), c.says) || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%s: status %d, %s", c.args, got, said.String())
		}
	}
	if text, _ := os.ReadFile(foreign); len(text) != 2500 {
		t.Error("a file of something else was changed")
	}
	for _, args := range []string{"--version", "--help", "show --help"} {
		if out, err := command(strings.Fields(args)...).CombinedOutput(); err != nil || !strings.Contains(string(out), "sluice-guest") {
			t.Errorf("%s: %v: %s", args, err, out)
		}
	}
}

// It needs no rights but to its own folder.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("becomes nobody: needs root")
	}
	dir, err := os.MkdirTemp("", "sluice-guest")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "sluice-guest")
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := func(args ...string) *exec.Cmd {
		cmd := command(args...)
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd
	}
	out, err := nobody("--database", "/var/lib/not-mine/usage.db").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") || !strings.Contains(string(out), "--database") {
		t.Errorf("%v: %s", err, out)
	}
	cmd := nobody("--database", filepath.Join(dir, "usage.db"), "--interval", "100ms", "--listen", "127.0.0.1:0", "--port", "")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := nobody("show", "--database", filepath.Join(dir, "usage.db"), "-o", "json").CombinedOutput()
		if err == nil && bytes.Count(out, []byte("\n")) > 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %s", err, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// The real kernel: what a socket sends is what the samples say, to the byte,
// while the interface vanishes, is replaced under its name, and comes back.
func TestKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes a network namespace: needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	const mac = "52:54:00:aa:bb:01"
	device := func() {
		t.Helper()
		ip("link add eth0 type veth peer name far")
		ip("link set eth0 address " + mac + " up")
		ip("link set far up")
	}
	ip("link set lo up")
	device()
	database := filepath.Join(t.TempDir(), "usage.db")
	start(t, "--database", database, "--interval", "100ms")

	send := func(frames int) {
		t.Helper()
		nic, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		frame := make([]byte, 1000) // to nobody, of an unknown protocol
		copy(frame, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5})
		for range frames {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: nic.Index}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// sum is what the samples say in all, and the most of one sample.
	sum := func() (total, most uint64) {
		t.Helper()
		err := guest.Past(context.Background(), database, time.Time{}, func(s sluice.Sample) error {
			for _, n := range s.NICs {
				if n.MAC == mac {
					total += n.Tx.Bytes
					most = max(most, n.Tx.Bytes)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return total, most
	}
	settle := func() { time.Sleep(350 * time.Millisecond) }

	settle()
	before, _ := sum()
	kernel := counter(t, "eth0")
	send(500)
	settle()
	after, _ := sum()
	if sent := counter(t, "eth0") - kernel; sent < 500_000 || after-before < 500_000 || after-before > sent+2000 {
		t.Errorf("the samples say %d bytes, the kernel %d", after-before, sent)
	}

	// Replaced under its name and address between two readings, with traffic
	// on either side: nothing of that is told as a difference of the two.
	for range 3 {
		send(200)
		ip("link del eth0")
		device()
		send(900)
		settle()
	}
	if _, most := sum(); most > 1_000_000 {
		t.Errorf("a sample says %d bytes", most)
	}
	ip("link del eth0")
	settle()
	before, _ = sum()
	device()
	settle()
	send(300)
	settle()
	if after, _ := sum(); after-before < 300_000 || after-before > 310_000 {
		t.Errorf("back again, the samples say %d bytes of 300000", after-before)
	}
}

func counter(t *testing.T, nic string) (bytes uint64) {
	t.Helper()
	text, err := os.ReadFile("/sys/class/net/" + nic + "/statistics/tx_bytes")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(string(text), &bytes)
	return bytes
}

// The program answers as the documents say, and show agrees with it.
func TestAnswersAndShows(t *testing.T) {
	database := filepath.Join(t.TempDir(), "usage.db")
	_, address := start(t, "--database", database, "--interval", "100ms")
	time.Sleep(500 * time.Millisecond)
	response, err := http.Get("http://" + address + "/v1/samples?after=0&limit=2")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got sluice.Samples
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil || len(got.Samples) != 2 || !got.More || got.Database == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	out, err := command("show", "--database", database, "--since", "10m", "-o", "json").Output()
	var first sluice.Sample
	if err != nil || json.Unmarshal(bytes.SplitN(out, []byte("\n"), 2)[0], &first) != nil || fmt.Sprint(first) != fmt.Sprint(got.Samples[0]) {
		t.Errorf("%v: show says %s, the answer %+v", err, bytes.SplitN(out, []byte("\n"), 2)[0], got.Samples[0])
	}
	out, err = command("show", "--database", database).Output()
	if err != nil || !strings.Contains(string(out), "tx Mbit/s") {
		t.Errorf("%v: %s", err, out)
	}
	span := got.Samples[1].At.Sub(got.Samples[0].At)
	if d := span - got.Samples[1].Span; d.Abs() > 50*time.Millisecond {
		t.Errorf("samples %s apart say that they are over %s", span, got.Samples[1].Span)
	}
}
