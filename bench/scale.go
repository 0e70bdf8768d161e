package main

import "context"

func scale(ctx context.Context, b *bench) (Result, error) { return Result{}, nil }
