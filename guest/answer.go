package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sluice"
)

// Answers come from VMs. Their length is bounded before they are parsed, but
// a mebibyte of "{},{},..." is fifty of structs: so they are walked, and
// counted on the way.

// walk is a JSON text under limits.
type walk struct {
	*json.Decoder
	samples, nics int // that may still come
}

func newWalk(text []byte, limit int) *walk {
	return &walk{json.NewDecoder(bytes.NewReader(text)), limit, maxTotal + maxNICs}
}

// maxFields is what an object may have: ours have at most four. A mebibyte of
// them takes six times as long to walk as anything else of its size.
const maxFields = 32

// object calls field with each key of the object that comes next; field reads the value.
func (w *walk) object(field func(key string) error) error {
	if err := w.delim('{'); err != nil {
		return err
	}
	for n := 0; w.More(); n++ {
		if n == maxFields {
			return errors.New("more fields than an object has")
		}
		key, err := w.Token()
		if err != nil {
			return err
		}
		if err := field(key.(string)); err != nil {
			return err
		}
	}
	return w.delim('}')
}

// array calls element for each of the array that comes next; element reads it.
func (w *walk) array(element func() error) error {
	if err := w.delim('['); err != nil {
		return err
	}
	for w.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return w.delim(']')
}

func (w *walk) delim(want json.Delim) error {
	got, err := w.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%.40q where %q should be", fmt.Sprint(got), want.String())
	}
	return err
}

// skip reads a value that nobody wants.
func (w *walk) skip() error {
	var value json.RawMessage
	return w.Decode(&value)
}

// end is an error if anything follows.
func (w *walk) end() error {
	if _, err := w.Token(); err != io.EOF {
		return errors.New("something behind its end")
	}
	return nil
}

// parseSamples parses a whole answer to a pull of limit samples.
func parseSamples(text []byte, limit int) (sluice.Samples, error) {
	w := newWalk(text, limit)
	got, err := w.readSamples()
	if err == nil {
		err = w.end()
	}
	return got, nonsense(err)
}

// parseAnswer parses a line from a port. It reports false if the line is no
// answer to the request of that nonce.
func parseAnswer(line []byte, nonce string, limit int) (got sluice.Samples, ours bool, err error) {
	if !bytes.Contains(line, []byte(nonce)) {
		return got, false, nil // most often the end of what somebody else was told
	}
	var said, failure string
	some := false
	w := newWalk(line, limit)
	err = w.object(func(key string) (err error) {
		switch key {
		case "nonce":
			return w.Decode(&said)
		case "error":
			return w.Decode(&failure)
		case "samples":
			some = true
			got, err = w.readSamples()
			return err
		}
		return w.skip()
	})
	if err == nil {
		err = w.end()
	}
	switch {
	case err != nil:
		return got, false, nonsense(err)
	case said != nonce:
		return got, false, nil
	case failure != "":
		return got, true, fmt.Errorf("it says %.200q", failure)
	case !some:
		return got, true, nonsense(errors.New("no samples in it"))
	}
	return got, true, nil
}

func nonsense(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("its answer makes no sense: %w", shortened(err))
}

func (w *walk) readSamples() (sluice.Samples, error) {
	got := sluice.Samples{Samples: []sluice.Sample{}}
	err := w.object(func(key string) error {
		switch key {
		case "database":
			return w.Decode(&got.Database)
		case "more":
			return w.Decode(&got.More)
		case "samples":
			return w.array(func() error {
				if w.samples--; w.samples < 0 {
					return errors.New("more samples than were asked for")
				}
				s, err := w.readSample()
				got.Samples = append(got.Samples, s)
				return err
			})
		}
		return w.skip()
	})
	return got, err
}

func (w *walk) readSample() (sluice.Sample, error) {
	s := sluice.Sample{NICs: []sluice.NICUsage{}}
	err := w.object(func(key string) error {
		switch key {
		case "id":
			return w.Decode(&s.ID)
		case "at":
			return w.Decode(&s.At)
		case "span_ns":
			return w.Decode(&s.Span)
		case "nics":
			return w.array(func() error {
				if w.nics--; w.nics < 0 || len(s.NICs) == maxNICs {
					return errors.New("more interfaces than a VM has")
				}
				var n sluice.NICUsage
				err := w.Decode(&n)
				s.NICs = append(s.NICs, n)
				return err
			})
		}
		return w.skip()
	})
	return s, err
}

// check refuses what no collector says.
func check(got sluice.Samples, after uint64, limit int) error {
	if n := len(got.Database); n == 0 || n > 64 || !printable(got.Database) {
		return fmt.Errorf("its database's name is %.80q", got.Database)
	}
	if len(got.Samples) > limit {
		return fmt.Errorf("%d samples where %d were asked for", len(got.Samples), limit)
	}
	for _, s := range got.Samples {
		if s.ID <= after {
			return fmt.Errorf("sample %d came after sample %d", s.ID, after)
		}
		after = s.ID
		if err := checkSample(s); err != nil {
			return fmt.Errorf("sample %d: %w", s.ID, err)
		}
	}
	return nil
}

func checkSample(s sluice.Sample) error {
	if s.Span < minSpan || s.Span > maxSpan {
		return fmt.Errorf("it is over %s", s.Span)
	}
	if y := s.At.UTC().Year(); y < 1970 || y > 9000 {
		return fmt.Errorf("it is of the year %d", y)
	}
	if len(s.NICs) > maxNICs {
		return fmt.Errorf("it has %d interfaces", len(s.NICs))
	}
	for _, n := range s.NICs {
		if !validName(n.Name) || !validMAC(n.MAC) {
			return fmt.Errorf("an interface is named %.40q and has the address %.40q", n.Name, n.MAC)
		}
		for _, count := range []uint64{n.Tx.Bytes, n.Tx.Packets, n.Tx.Dropped, n.Rx.Bytes, n.Rx.Packets, n.Rx.Dropped} {
			if count > maxBytes(s.Span) {
				return fmt.Errorf("%s counts %d in %s", n.Name, count, s.Span)
			}
		}
	}
	return nil
}

// maxBytes is what no interface passes in a span: 100 Tbit/s.
func maxBytes(span time.Duration) uint64 { return uint64(span.Microseconds()) * 12_500_000 }

func printable(text string) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
