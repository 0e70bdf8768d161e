package guest

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"sluice"
)

var errLong = fmt.Errorf("its answer is longer than %d bytes", maxAnswer)

// exchangeHTTP asks over TCP. It does without http.Client, which would keep
// goroutines for a VM and log what the VM says unasked.
func exchangeHTTP(w *wire, after uint64, limit int) (sluice.Samples, error) {
	var none sluice.Samples
	if w.lines.Buffered() > 0 {
		return none, errors.New("unsolicited data from the collector")
	}
	_, err := fmt.Fprintf(w, "GET /v1/samples?after=%d&limit=%d HTTP/1.1\r\nHost: collector\r\nUser-Agent: sluice\r\n\r\n", after, limit)
	if err != nil {
		return none, err
	}
	w.limit.N = maxHeader
	response, err := http.ReadResponse(w.lines, nil)
	if err != nil {
		return none, err
	}
	defer response.Body.Close()
	w.limit.N = 2 * maxAnswer // chunks have their own overhead
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return none, err
	case len(text) > maxAnswer:
		return none, errLong
	case response.StatusCode != http.StatusOK:
		return none, fmt.Errorf("status %d: %.100q", response.StatusCode, text)
	}
	return parseSamples(text, limit)
}

// exchangeLines asks through a virtio-serial port (see [Port]), and reads
// until the answer to this very question.
func exchangeLines(w *wire, after uint64, limit int) (sluice.Samples, error) {
	var none sluice.Samples
	nonce := rand.Text()
	text, err := json.Marshal(request{Nonce: nonce, After: after, Limit: limit})
	if err != nil {
		return none, err
	}
	// The first line's end ends what another host may have left unfinished.
	text = append(append([]byte{'\n'}, text...), '\n')
	if _, err := w.Write(text); err != nil {
		return none, err
	}
	w.limit.N = 3 * maxAnswer // our own, and before it what others had asked for
	for {
		line, err := readAnswer(w.lines)
		if err == io.EOF && w.limit.N == 0 {
			err = errors.New("it says much, but not what was asked")
		}
		if err != nil {
			return none, err
		}
		if got, ours, err := parseAnswer(line, nonce, limit); ours || err != nil {
			return got, err
		}
	}
}

// readAnswer returns the next line without its end.
func readAnswer(lines *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := lines.ReadSlice('\n')
		if len(whole)+len(part) > maxAnswer {
			return nil, errLong
		}
		whole = append(whole, part...)
		if err == nil {
			return whole[:len(whole)-1], nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}
