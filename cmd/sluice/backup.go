package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/etcd"
	"sluice/files"
	"sluice/http"
)

// state is all that a daemon keeps in its state directory: the store and the token.
type state struct {
	dir      string
	store    *etcd.Store
	log      *slog.Logger
	restored chan struct{} // gets one when the daemon is to begin anew
}

// errRestored ends a run of the daemon that begins anew.
var errRestored = errors.New("restored")

const tokenName = "token" // in a backup

func storeDir(stateDir string) string { return filepath.Join(stateDir, "store") }

// Backup implements [http.State].
func (s state) Backup(ctx context.Context, w io.Writer) error {
	with := make(map[string]string)
	if token, err := http.Token(s.dir); err == nil {
		with[tokenName] = token
	}
	return s.store.Backup(ctx, w, with)
}

// Restore implements [http.State].
func (s state) Restore(ctx context.Context, r io.Reader, by string) (http.Restored, error) {
	b, err := unpack(ctx, s.dir, r, by, s.log)
	if err != nil {
		return b, err
	}
	s.log.Info("the daemon begins anew with a backup", "made", b.At, "vifs", b.VIFs, "groups", b.Groups, "changes", b.Changes, "by", by)
	select {
	case s.restored <- struct{}{}:
	default: // another has been restored, and this one is taken in its place
	}
	return b, nil
}

// unpack makes a store of a backup, to be adopted at the next start, and keeps its token.
func unpack(ctx context.Context, stateDir string, r io.Reader, by string, log *slog.Logger) (http.Restored, error) {
	b, err := etcd.Unpack(ctx, storeDir(stateDir), r, by, log)
	if err == nil && b.With[tokenName] != "" {
		err = http.KeepToken(stateDir, b.With[tokenName])
	}
	return http.Restored{At: b.At, VIFs: b.VIFs, Groups: b.Groups, Changes: b.Changes, Note: b.Note}, err
}

// stateDirFlag is where the state is if no daemon runs that could be asked.
func stateDirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("state-dir", "", "the state directory of a daemon that does not run; what the settings say if no daemon answers")
}

// offline is the state directory to open oneself; "" where a daemon answers.
func (c *client) offline(ctx context.Context, asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	_, err := c.daemon().Changes(ctx, 1)
	if err == nil || sluice.CodeOf(err) != sluice.Unavailable || os.Geteuid() != 0 {
		return "", err
	}
	s, wrong := readSettings(settingsFile, false)
	if wrong != nil {
		return "", wrong
	}
	if _, missing := os.Stat(storeDir(s.StateDir)); missing != nil {
		return "", err // there is neither a daemon nor what one left
	}
	return s.StateDir, nil
}

// quiet logs nothing: what goes wrong is told as an error.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func backupCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "backup FILE", Short: "write all that Sluice keeps into a file, also while the daemon runs", Args: cobra.ExactArgs(1),
		Long: "Write all that Sluice keeps, settings, journal and token, as it is at one moment, into a file, or to standard output as -.\n" +
			"The file is compressed lines of JSON. Keep it as you keep a key: the token is in it.",
		Example: "  sluice backup sluice.backup\n  sluice backup - | ssh other sluice restore -"}
	stateDir := stateDirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := c.offline(cmd.Context(), *stateDir)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if dir == "" {
			err = c.daemon().Backup(cmd.Context(), &b)
		} else {
			err = backUp(cmd.Context(), dir, &b)
		}
		if err != nil {
			return err
		}
		if args[0] == "-" {
			_, err = cmd.OutOrStdout().Write(b.Bytes())
			return err
		}
		if err := files.Write(args[0], b.Bytes()); err != nil {
			return &sluice.Error{Code: sluice.Unavailable, Message: "the backup cannot be written", Unchanged: args[0] + " is as it was", Err: err}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes; sluice restore %s takes it\n", args[0], b.Len(), args[0])
		return nil
	}
	return cmd
}

// backUp is a backup without a daemon.
func backUp(ctx context.Context, stateDir string, w io.Writer) error {
	if _, err := os.Stat(storeDir(stateDir)); err != nil {
		return &sluice.Error{Code: sluice.NotFound, Message: "there is no store in " + stateDir, Unchanged: "nothing was written", Err: err}
	}
	store, err := etcd.Open(ctx, storeDir(stateDir), quiet())
	if err != nil {
		return err
	}
	defer store.Close()
	return state{dir: stateDir, store: store}.Backup(ctx, w)
}

func restoreCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "restore FILE", Short: "have what a backup holds instead of what is kept now, also while the daemon runs", Args: cobra.ExactArgs(1),
		Long: "Have what a backup holds, settings, journal and token, instead of what is kept now. The daemon begins anew with it; the\n" +
			"kernel goes on shaping meanwhile. What was kept stays beside it, as store.before-restore in the state directory.",
		Example: "  sluice restore sluice.backup"}
	stateDir := stateDirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := input(cmd, args[0], "the backup")
		if err != nil {
			return err
		}
		defer in.Close()
		dir, err := c.offline(cmd.Context(), *stateDir)
		if err != nil {
			return err
		}
		var b http.Restored
		if dir == "" {
			asked := time.Now()
			if b, err = c.daemon().Restore(cmd.Context(), in); err == nil {
				err = c.begunAnew(cmd.Context(), b, asked)
			}
		} else if b, err = unpack(cmd.Context(), dir, in, "root", quiet()); err == nil {
			_, err = etcd.Adopt(storeDir(dir))
		}
		if err != nil {
			return err
		}
		return c.print(cmd.OutOrStdout(), b, func(w io.Writer) {
			fmt.Fprintf(w, "restored what was kept at %s: settings of %d vifs and %d groups, %d records of the journal\n", b.At.Local().Format(time.DateTime), b.VIFs, b.Groups, b.Changes)
			if dir != "" {
				fmt.Fprintln(w, "it holds when the daemon is started")
			}
		})
	}
	return cmd
}

// beginWithin is how long a daemon may take to begin anew.
const beginWithin = 60 * time.Second

// begunAnew waits until the daemon answers with what was restored after it was
// asked to.
func (c *client) begunAnew(ctx context.Context, b http.Restored, asked time.Time) error {
	ctx, stop := context.WithTimeout(ctx, beginWithin)
	defer stop()
	for {
		x, err := c.daemon().Change(ctx, b.Note)
		if err == nil && x.Note != "" && x.VM == sluice.GroupVIF(sluice.HostGroup).VM && x.At.After(asked) {
			return nil
		}
		select {
		case <-ctx.Done():
			return &sluice.Error{Code: sluice.Unavailable, Message: "the backup is unpacked, but the daemon has not begun anew yet", Try: "the daemon's log says why; a restart takes it", Err: err}
		case <-time.After(50 * time.Millisecond):
		}
	}
}
