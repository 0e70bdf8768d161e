package main

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"sluice/http"
)

// keepAgain is how often the token is tried to be kept on a disk without room.
const keepAgain = 2 * time.Second

// tokenOf is the token in the state directory. Where a full disk keeps a new one from
// being written, there is none, and untilKept gives it to the server when there is.
func tokenOf(stateDir string, log *slog.Logger) (token string, untilKept func(context.Context, *http.Server), err error) {
	token, err = http.Token(stateDir)
	switch {
	case err == nil:
		return token, func(context.Context, *http.Server) {}, nil
	case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT):
		return "", nil, err
	}
	log.Warn("the token cannot be kept, so that writing over TCP is refused until it can; all else goes on", "error", err)
	return "", func(ctx context.Context, server *http.Server) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(keepAgain):
			}
			if token, err := http.Token(stateDir); err == nil {
				server.UseToken(token)
				log.Info("the token is kept: writing over TCP is possible")
				return
			}
		}
	}, nil
}
