package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"

	"sluice"
)

//go:embed image
var image embed.FS

// Lab is the experiment on this machine. There is one at a time.
type Lab struct {
	Cache   string    // the directory where what the guests boot from is kept
	Dir     string    // the directory of the experiment that is up, below /run
	Program string    // the daemon: the program sluice, with sluice-guest beside it
	Out     io.Writer // where progress is told

	begin time.Time
	mu    sync.Mutex // of Out
}

func (l *Lab) path(name string) string   { return filepath.Join(l.Dir, name) }
func (l *Lab) cached(name string) string { return filepath.Join(l.Cache, name) }

// Socket is where the experiment's daemon answers.
func (l *Lab) Socket() string { return l.path("sluice.sock") }

// note tells progress, with the seconds since the beginning.
func (l *Lab) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begin.IsZero() {
		l.begin = time.Now()
	}
	fmt.Fprintf(l.Out, "%6.1f s  %s\n", time.Since(l.begin).Seconds(), fmt.Sprintf(format, args...))
}

// Up makes the experiment, calls ready with the page's address when its three
// services serve, and takes all of it away when ctx ends or ready fails.
// Refused: not root. Conflict: it is up already. Unavailable: a program or a
// part of the kernel is missing.
func (l *Lab) Up(ctx context.Context, ready func(ctx context.Context, url string) error) (err error) {
	if os.Geteuid() != 0 {
		return &sluice.Error{Code: sluice.Refused, Message: "the experiment needs root, for network namespaces and taps", Unchanged: "nothing was started", Try: "run it as root"}
	}
	for _, program := range []string{"qemu-system-x86_64", "mmdebstrap", "cpio"} {
		if _, err := exec.LookPath(program); err != nil {
			return &sluice.Error{Code: sluice.Unavailable, Message: program + " is not installed", Unchanged: "nothing was started",
				Try: "make deps, or: apt-get install qemu-system-x86 mmdebstrap cpio kmod e2fsprogs"}
		}
	}
	before, err := l.readState()
	if err == nil && before.Maker.runs() {
		return &sluice.Error{Code: sluice.Conflict, Message: "the experiment is up already", Unchanged: "it goes on", Try: "sluice lab status, or sluice lab down"}
	}
	if err := l.clear(before); err != nil { // what one that was killed left
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the experiment's directory cannot be made", Unchanged: "nothing was started", Err: err}
	}
	now := state{Maker: started("sluice lab", os.Getpid())}
	if err := l.writeState(now); err != nil {
		return err
	}
	defer func() {
		l.note("taking everything away")
		err = errors.Join(err, l.clear(now))
		l.note("the machine is as it was")
	}()
	if err := l.makeImage(ctx); err != nil {
		return err
	}
	accel := l.accelerator(ctx)
	if err := l.initrd(ctx); err != nil {
		return err
	}
	host, err := network()
	if err != nil {
		return &sluice.Error{Code: sluice.Unsupported, Message: "the experiment's network cannot be made", Unchanged: "what was made is taken away", Err: err}
	}
	defer host.Close()
	l.note("network: bridge br0 and a link of 100 Mbit/s, in the namespaces %s and %s", hostNS, clientsNS)

	ended := make(chan error, 8)
	start := func(name string, cmd *exec.Cmd) error {
		err := l.start(host, name, cmd, ended)
		if err == nil {
			now.Processes = append(now.Processes, started(name, cmd.Process.Pid))
			err = l.writeState(now)
		}
		return err
	}
	for i, name := range services() {
		if err := start("guest "+name, l.guestCommand(i, name, accel)); err != nil {
			return err
		}
	}
	l.note("guests: %v boot under %s", services(), map[string]string{"kvm": "KVM", "tcg": "software emulation (no KVM that works here)"}[accel])
	daemon, url, err := l.daemon()
	if err != nil {
		return err
	}
	if err := start("daemon", daemon); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-ended:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	if err := l.wait(ctx); err != nil {
		return cause(ctx, err)
	}
	if now.URL, err = l.withToken(url); err != nil {
		return err
	}
	if err := l.writeState(now); err != nil {
		return err
	}
	if err := ready(ctx, now.URL); err != nil {
		return cause(ctx, err)
	}
	<-ctx.Done()
	return cause(ctx, nil)
}

// cause is why ctx ended if it did, and not because somebody asked for it; else err.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		if errors.Is(why, context.Canceled) {
			return nil
		}
		return why
	}
	return err
}

// wait waits until the daemon and all three services answer.
func (l *Lab) wait(ctx context.Context) error {
	clients, err := namespace(clientsNS)
	if err != nil {
		return err
	}
	defer clients.Close()
	dial := func(ctx context.Context, address string) (conn net.Conn, err error) {
		d := net.Dialer{Timeout: time.Second}
		err = within(clients, func() error { conn, err = d.DialContext(ctx, "tcp", address); return err })
		return conn, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for {
			conn, err := net.Dial("unix", l.Socket())
			if err == nil {
				l.note("daemon: answers at %s", l.Socket())
				return conn.Close()
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the daemon does not answer: %w; it says\n%s", err, tail(l.path("daemon.log")))
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	for _, name := range services() {
		group.Go(func() error {
			err := l.serving(ctx, dial, name)
			if err == nil {
				l.note("guest %s serves", name)
			}
			return err
		})
	}
	return group.Wait()
}

// start starts a program inside the namespace; its end is told to ended.
func (l *Lab) start(ns netns.NsHandle, name string, cmd *exec.Cmd, ended chan<- error) error {
	log, err := os.Create(l.path(name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	if err := within(ns, cmd.Start); err != nil {
		return fmt.Errorf("%s cannot be started: %w", name, err)
	}
	go func() {
		err := cmd.Wait()
		ended <- fmt.Errorf("%s ended: %v; it said\n%s", name, err, tail(l.path(name+".log")))
	}()
	return nil
}

// daemon is sluice serve in the host's namespace, with a listener of this one,
// so that the page can be opened here.
func (l *Lab) daemon() (cmd *exec.Cmd, url string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:8511")
	if err != nil { // another daemon's
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, "", err
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, "", err
	}
	settings := "bridge = \"br0\"\nuplink = \"uplink\"\ncapacity = \"100mbit\"\n"
	for i, name := range services() {
		settings += fmt.Sprintf("\n[[vm]]\nname = %q\ncollector = %q\n[[vm.vif]]\ndevice = %q\nmac = %q\n", name, "unix:"+l.path(name+".sock"), tap(name), mac(i))
	}
	if err := os.WriteFile(l.path("sluice.toml"), []byte(settings), 0o600); err != nil {
		return nil, "", err
	}
	// The listener belongs to the process whose number LISTEN_PID is.
	cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, l.Program, "serve",
		"--config", l.path("sluice.toml"), "--state-dir", l.path("state"), "--socket", l.Socket())
	cmd.ExtraFiles = []*os.File{file}
	return cmd, "http://" + listener.Addr().String() + "/", nil
}

// withToken is the page's address with what writing from it needs.
func (l *Lab) withToken(url string) (string, error) {
	token, err := os.ReadFile(l.path("state/token"))
	if err != nil {
		return "", err
	}
	return url + "#token=" + strings.TrimSpace(string(token)), nil
}

// makeImage makes what the guests boot from, unless it is there.
func (l *Lab) makeImage(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "sluice-lab-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, image); err != nil {
		return err
	}
	if _, err := os.Stat(l.cached("made-from")); errors.Is(err, fs.ErrNotExist) {
		l.note("image: putting the guests' Debian together in %s; about a minute, once", l.Cache)
	}
	cmd := exec.CommandContext(ctx, "bash", filepath.Join(dir, "image", "build.sh"), l.Cache)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the guests' image cannot be made: " + string(out), Unchanged: "nothing was started",
			Try: "is Debian's mirror reachable? SLUICE_DEBIAN_MIRROR names another", Err: err}
	}
	l.note("image: %s", l.cached("root.img"))
	return nil
}

// Down ends the experiment and takes away all that it made but the cache.
// Done already is done.
func (l *Lab) Down(context.Context) error {
	s, err := l.readState()
	if err != nil {
		s = state{}
	}
	if s.Maker.PID != os.Getpid() {
		s.Maker.end(30 * time.Second) // it cleans up by itself
	}
	return l.clear(s)
}

// clear ends the processes and removes the namespaces and the directory.
func (l *Lab) clear(s state) error {
	var all sync.WaitGroup
	for _, p := range s.Processes {
		all.Go(func() { p.end(5 * time.Second) })
	}
	all.Wait()
	return errors.Join(noNetwork(), os.RemoveAll(l.Dir))
}

// URL is the address of the page of the experiment that is up, with what
// writing from it needs.
func (l *Lab) URL() (string, error) {
	s, err := l.readState()
	if err != nil || !s.Maker.runs() || s.URL == "" {
		return "", notUp(err)
	}
	return s.URL, nil
}
