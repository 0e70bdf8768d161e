package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/files"
)

// Limits of what a bundle takes, so that a host in trouble is not made worse.
const (
	commandWithin  = 20 * time.Second
	mostOfCommand  = 8 << 20 // bytes of one command's output
	bundledChanges = 500
	bundledLines   = "5000" // of the log
)

// exhibit is one file of a bundle; content is its text, or why there is none.
type exhibit struct {
	name    string
	content func(ctx context.Context) ([]byte, error)
}

func bundleCommand(c *client) *cobra.Command {
	config := settingsFile
	cmd := &cobra.Command{Use: "support-bundle [FILE]", Short: "what somebody needs who helps you: one file, without secrets", Args: cobra.MaximumNArgs(1),
		Long: "Gather what somebody needs who helps you, in one file: what doctor finds, versions, settings without secrets, what is set and\n" +
			"used, the journal, the kernel's traffic control, the daemon's log. Names of VMs and MAC addresses are in it; look before you send it.",
		Example: "  sluice support-bundle\n  sluice support-bundle /tmp/for-support.tar.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			file := "sluice-support-" + now.Format("20060102-150405") + ".tar.gz"
			if len(args) == 1 {
				file = args[0]
			}
			content, missing, err := bundle(cmd.Context(), c.exhibits(config), now)
			if err == nil {
				err = files.Write(file, content)
			}
			if err != nil {
				return &sluice.Error{Code: sluice.Unavailable, Message: "the bundle cannot be written", Unchanged: file + " is as it was", Err: err}
			}
			w := cmd.OutOrStdout()
			for _, m := range missing {
				fmt.Fprintln(w, "not in it:", printable(m))
			}
			fmt.Fprintf(w, "%s: %d bytes; names of VMs and MAC addresses are in it, tokens and keys are not\n", file, len(content))
			return nil
		}}
	cmd.Flags().StringVar(&config, "config", config, "the daemon's settings file")
	return cmd
}

// exhibits are all files of a bundle.
func (c *client) exhibits(config string) []exhibit {
	daemon := c.daemon()
	asJSON := func(ask func(ctx context.Context) (any, error)) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) {
			v, err := ask(ctx)
			if err != nil {
				return nil, err
			}
			return json.MarshalIndent(v, "", "  ")
		}
	}
	return []exhibit{
		{"versions.txt", platform},
		{"doctor.json", asJSON(func(ctx context.Context) (any, error) { return findings(ctx, c), nil })},
		{"settings.toml", func(context.Context) ([]byte, error) {
			text, err := os.ReadFile(config)
			return withoutSecrets(text), err
		}},
		{"vifs.json", asJSON(func(ctx context.Context) (any, error) { return daemon.AllVIFs(ctx) })},
		{"groups.json", asJSON(func(ctx context.Context) (any, error) { return daemon.Groups(ctx) })},
		{"link.json", asJSON(func(ctx context.Context) (any, error) { return daemon.Link(ctx) })},
		{"changes.json", asJSON(func(ctx context.Context) (any, error) { return daemon.Changes(ctx, bundledChanges) })},
		{"kernel/links.txt", output("ip", "-details", "-statistics", "link")},
		{"kernel/qdiscs.txt", output("tc", "-statistics", "-details", "qdisc", "show")},
		{"kernel/classes.txt", ofEach("tc", "-statistics", "-details", "class", "show", "dev")},
		{"kernel/filters-ingress.txt", ofEach("tc", "-details", "filter", "show", "ingress", "dev")},
		{"kernel/filters-egress.txt", ofEach("tc", "-details", "filter", "show", "egress", "dev")},
		{"kernel/messages.txt", output("dmesg", "-T")},
		{"log.txt", output("journalctl", "-u", "sluice", "-n", bundledLines)},
	}
}

// bundle makes a compressed tar of the exhibits; missing says what there was
// not, and why.
func bundle(ctx context.Context, all []exhibit, now time.Time) (content []byte, missing []string, err error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	archive := tar.NewWriter(zipped)
	for _, x := range all {
		text, failed := x.content(ctx)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		name := x.name
		if failed != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", x.name, failed))
			if len(text) == 0 {
				name, text = name+".missing", []byte(failed.Error()+"\n")
			}
		}
		h := tar.Header{Name: "sluice-support/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: now}
		if err := archive.WriteHeader(&h); err != nil {
			return nil, nil, err
		}
		if _, err := archive.Write(text); err != nil {
			return nil, nil, err
		}
	}
	err = errors.Join(archive.Close(), zipped.Close())
	return b.Bytes(), missing, err
}

// platform is the versions of all that matters here.
func platform(ctx context.Context) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "sluice %s, %s, %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, line := range [][]string{{"uname", "-a"}, {"cat", "/etc/os-release"}, {"tc", "-V"}, {"virsh", "--version"}, {"xl", "info"}, {"nproc"}, {"free", "-m"}} {
		text, err := output(line[0], line[1:]...)(ctx)
		fmt.Fprintf(&b, "\n# %s\n%s", strings.Join(line, " "), text)
		if err != nil {
			fmt.Fprintln(&b, err)
		}
	}
	return b.Bytes(), nil
}

// output is what a command says.
func output(name string, args ...string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		ctx, stop := context.WithTimeout(ctx, commandWithin)
		defer stop()
		cmd := exec.CommandContext(ctx, name, args...)
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &bounded{&out, mostOfCommand}, &bounded{&said, 4 << 10}
		if err := cmd.Run(); err != nil {
			return out.Bytes(), fmt.Errorf("%s: %w %s", name, err, strings.TrimSpace(said.String()))
		}
		return out.Bytes(), nil
	}
}

// ofEach is what a command says of each network device.
func ofEach(name string, args ...string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		devices, err := os.ReadDir("/sys/class/net")
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		for _, d := range devices {
			text, err := output(name, append(args, d.Name())...)(ctx)
			if errors.Is(err, exec.ErrNotFound) {
				return nil, err
			}
			if len(text) > 0 || err != nil {
				fmt.Fprintf(&b, "# %s\n%s", d.Name(), text)
			}
			if err != nil {
				fmt.Fprintln(&b, err)
			}
			if b.Len() > mostOfCommand {
				return b.Bytes(), fmt.Errorf("more than %d bytes: the rest is left out", mostOfCommand)
			}
		}
		return b.Bytes(), nil
	}
}

// bounded writes no more than so many bytes, and swallows the rest.
type bounded struct {
	to   io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	if _, err := b.to.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

var (
	secretSetting = regexp.MustCompile(`(?im)^(\s*[\w.-]*(?:token|secret|password|passphrase|credential)[\w.-]*\s*=\s*).*$`)
	secretInURL   = regexp.MustCompile(`(://[^/\s:@"']*):[^/\s@"']*@`)
)

// withoutSecrets is a settings file without what nobody else may know.
func withoutSecrets(text []byte) []byte {
	text = secretSetting.ReplaceAll(text, []byte(`${1}"removed"`))
	return secretInURL.ReplaceAll(text, []byte("$1:removed@"))
}
