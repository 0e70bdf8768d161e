package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A request and its answer, and how often one is sent.
const (
	request  = 200 // bytes, each way
	interval = 2 * time.Millisecond
)

// The words that make this program one of the two ends.
const (
	askWord    = "ask"
	answerWord = "answer"
)

// asks are the times that a small request over TCP and its answer take, in
// milliseconds. Who asks and who answers are programs of their own, and go
// before whatever else wants a processor: they stand for a VM and a machine
// that have theirs, and what is measured is the way between them.
func (t *tenants) asks(ctx context.Context, i int, d time.Duration) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address := t.address(i) + ":7"
	answer := exec.CommandContext(ctx, self, answerWord, address)
	answer.Stderr = os.Stderr
	ready, err := answer.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.vms[i].do(answer.Start); err != nil {
		return nil, err
	}
	defer func() { cancel(); _ = answer.Wait() }()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("who answers does not listen: %w", err)
	}
	ask := exec.CommandContext(ctx, self, askWord, address, d.String())
	ask.Stderr = os.Stderr
	out, err := ask.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.net.do(ask.Start); err != nil {
		return nil, err
	}
	var took []float64
	for r := bufio.NewReader(out); ; {
		var ns int64
		if err = binary.Read(r, binary.NativeEndian, &ns); err != nil {
			break
		}
		took = append(took, float64(ns)/1e6)
	}
	if err == io.EOF {
		err = nil
	}
	if err = errors.Join(err, ask.Wait(), ctx.Err()); err == nil && len(took) == 0 {
		err = errors.New("nothing was asked")
	}
	return took, err
}

// divide has the last processor for those who ask and answer, and the others
// for all else; both are all there are where that is one.
func divide() (asking, others unix.CPUSet, err error) {
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return asking, others, err
	}
	ranges := strings.FieldsFunc(strings.TrimSpace(string(online)), func(r rune) bool { return r == ',' || r == '-' })
	last, err := strconv.Atoi(ranges[len(ranges)-1])
	if err != nil {
		return asking, others, err
	}
	for i := range last {
		others.Set(i)
	}
	asking.Set(last)
	if last == 0 {
		others.Set(0)
	}
	return asking, others, nil
}

// aside has this program and those that it starts stay off the processor of
// those who ask, until it is over.
func aside() (over func() error, err error) {
	_, others, err := divide()
	if err != nil {
		return nil, err
	}
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	on := func(set unix.CPUSet) error {
		threads, err := os.ReadDir("/proc/self/task")
		for _, t := range threads {
			id, _ := strconv.Atoi(t.Name())
			err = errors.Join(err, unix.SchedSetaffinity(id, &set))
		}
		return err
	}
	return func() error { return on(all) }, on(others)
}

// end is this program as one of the two ends, if its arguments say so.
func end(args []string) (ok bool, err error) {
	if len(args) < 3 || args[1] != askWord && args[1] != answerWord {
		return false, nil
	}
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	if err := first(); err != nil {
		return true, err
	}
	at, err := netip.ParseAddrPort(args[2])
	if err != nil {
		return true, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return true, err
	}
	sa := &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	if args[1] == answerWord {
		return true, answer(fd, sa)
	}
	span, err := time.ParseDuration(args[3])
	if err != nil {
		return true, err
	}
	if err := unix.Connect(fd, sa); err != nil {
		return true, fmt.Errorf("connecting to %s: %w", at, err)
	}
	took, err := ask(fd, span)
	if err != nil {
		return true, err
	}
	return true, binary.Write(os.Stdout, binary.NativeEndian, took)
}

// first has this thread go before all that is not of real time (sched(7)), on
// the processor that nothing else is to use.
func first() error {
	if own, _, err := divide(); err != nil {
		return err
	} else if err := unix.SchedSetaffinity(0, &own); err != nil {
		return err
	}
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0)
}

func answer(fd int, sa unix.Sockaddr) error {
	err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, sa), unix.Listen(fd, 1))
	if err != nil {
		return err
	}
	os.Stdout.Write([]byte{'.'})
	c, _, err := unix.Accept(fd)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	for buf := make([]byte, request); ; {
		if err := whole(c, buf); err != nil {
			return nil
		}
		if _, err := unix.Write(c, buf); err != nil {
			return nil
		}
	}
}

func ask(fd int, span time.Duration) (took []int64, err error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, err
	}
	patience := unix.NsecToTimeval(int64(20 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, err
	}
	took = make([]int64, 0, span/interval)
	pause := unix.NsecToTimespec(int64(interval))
	for buf, stop := make([]byte, request), time.Now().Add(span); time.Now().Before(stop); {
		begin := time.Now()
		if _, err := unix.Write(fd, buf); err != nil {
			return nil, err
		}
		if err := whole(fd, buf); err != nil {
			return nil, fmt.Errorf("no answer within 20 s: %w", err)
		}
		took = append(took, int64(time.Since(begin)))
		_ = unix.Nanosleep(&pause, nil)
	}
	return took, nil
}

// whole fills buf.
func whole(fd int, buf []byte) error {
	for got := 0; got < len(buf); {
		n, err := unix.Read(fd, buf[got:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		got += n
	}
	return nil
}
