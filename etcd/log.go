package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// quiet is etcd's logger: its chatter at slog's debug level, its errors as
// warnings. Where etcd would end the process it calls fail with the reason,
// and the goroutine that meant to do so ends alone: the daemon goes on
// watching and shaping, and starts another member.
func quiet(log *slog.Logger, fail context.CancelCauseFunc) *zap.Logger {
	stop := endAlone{fail}
	return zap.New(zapCore{log: log.With("part", "etcd")}, zap.WithFatalHook(stop), zap.WithPanicHook(stop))
}

type endAlone struct{ fail context.CancelCauseFunc }

func (s endAlone) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", e.Message, cause)
		}
	}
	s.fail(err)
	runtime.Goexit()
}

// zapCore hands zap's entries to slog.
type zapCore struct {
	log *slog.Logger
}

// level is how loud an entry is. Two of etcd's errors say nothing: the first
// comes once in a new store's life, the second whenever a server ends.
func level(e zapcore.Entry) slog.Level {
	switch {
	case e.Message == "failed to update storage version", e.Message == "setting up serving from embedded etcd failed.":
		return slog.LevelDebug
	case e.Level >= zapcore.ErrorLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (c zapCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(zapcore.Entry{Level: l}))
}

func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{c.log.With(attrs(fields)...)}
}

func (c zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.log.Enabled(context.Background(), level(e)) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), level(e), e.Message, attrs(fields)...)
	return nil
}

func (c zapCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	attrs := make([]any, 0, 2*len(fields))
	for k, v := range encoder.Fields {
		attrs = append(attrs, k, v)
	}
	return attrs
}
