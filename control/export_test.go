package control

import (
	"context"
	"time"
)

// Leave is [Control.leave] as the daemon calls it every minute.
func (c *Control) Leave(ctx context.Context, gone map[string]time.Time) { c.leave(ctx, gone) }
