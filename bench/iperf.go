package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"sluice"
)

// iperf3 is what one of its TCP flows brings in a second, in bit/s. The two
// programs run in the two namespaces.
func (s *site) iperf3(ctx context.Context, d sluice.Direction) (rate float64, err error) {
	// It sometimes reports nothing at all, where its two ends lose each other at the end.
	for try := 0; rate == 0 && err == nil && try < 5; try++ {
		rate, err = s.iperf3Once(ctx, d)
	}
	return rate, err
}

func (s *site) iperf3Once(ctx context.Context, d sluice.Direction) (float64, error) {
	from, to, address := s.ends(d)
	server := exec.CommandContext(ctx, "iperf3", "--server", "--one-off", "--bind", address)
	if err := to.do(server.Start); err != nil {
		return 0, fmt.Errorf("starting iperf3: %w", err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	var answer struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	for try := 0; ; try++ {
		out, err := from.output(exec.CommandContext(ctx, "iperf3", "--client", address, "--time", "1", "--json"))
		if err != nil && try < 20 { // the server is not up yet
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &answer)
		}
		return answer.End.Received.Rate, err
	}
}
