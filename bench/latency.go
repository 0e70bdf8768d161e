package main

import "context"

func latency(ctx context.Context, b *bench) (Result, error) { return Result{}, nil }
