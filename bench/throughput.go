package main

import "context"

func throughput(ctx context.Context, b *bench) (Result, error) { return Result{}, nil }
