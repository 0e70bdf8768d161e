package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"charm.land/lipgloss/v2"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"sluice"
)

// outputs are what -o takes.
var outputs = []string{"text", "wide", "json", "yaml"}

// print writes v as JSON or YAML where that was asked for, else by text. Lines
// that do not fit a terminal are cut, unless all of them was asked for.
func (c *client) print(w io.Writer, v any, text func(w io.Writer)) error {
	switch c.output {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		return writeYAML(w, v)
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	text(t)
	t.Flush()
	out := printable(b.String())
	if width := c.width(w); width > 0 {
		out = cut(out, width)
	}
	_, err := io.WriteString(w, out)
	return err
}

// width is how many columns the terminal has that w is; 0 where nothing is to
// be cut.
func (c *client) width(w io.Writer) int {
	if c.output == "wide" {
		return 0
	}
	return terminalWidth(w)
}

// terminalWidth is 0 for what is no terminal.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// cut shortens lines to a width, and marks those that went on.
func cut(text string, width int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line = strings.TrimRight(line, " "); lipgloss.Width(line) > width {
			line = lipgloss.NewStyle().MaxWidth(max(width-1, 1)).Render(line) + "…"
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// writeYAML writes v with the names, and in the order, that it has as JSON.
func writeYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(text, &node); err != nil {
		return err
	}
	block(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

// block takes JSON's braces away, and the quotes of names. Those of values
// stay: to readers of older YAML, yes and 1:30 are no strings.
func block(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style = 0
	}
	for i, inner := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			inner.Style = 0
		}
		block(inner)
	}
}

// printable is text whose lines hold nothing that a terminal obeys: names of
// devices and words of guests are in it.
func printable(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		n := strings.IndexAny(text, "\n\t")
		if n < 0 {
			b.WriteString(sluice.Printable(text))
			break
		}
		b.WriteString(sluice.Printable(text[:n]))
		b.WriteByte(text[n])
		text = text[n+1:]
	}
	return b.String()
}

// column is one of a table. Where the terminal has no room for all, those with
// the highest rank are left out first; those with rank 0 never are.
type column struct {
	head string
	rank int
}

// table is cells under heads, which loses columns to fit.
type table struct {
	columns []column
	rows    [][]string
}

func (t *table) add(head string, rank int) { t.columns = append(t.columns, column{head, rank}) }

// fit leaves out columns until what is left fits the width; 0 is any.
func (t table) fit(width int) table {
	for width > 0 && t.width() > width {
		worst := 0
		for i, c := range t.columns {
			if c.rank >= t.columns[worst].rank {
				worst = i
			}
		}
		rank := t.columns[worst].rank
		if rank == 0 {
			break
		}
		var kept table
		for i, c := range t.columns {
			if c.rank != rank {
				kept.columns = append(kept.columns, t.columns[i])
			}
		}
		for _, row := range t.rows {
			var cells []string
			for i, cell := range row {
				if t.columns[i].rank != rank {
					cells = append(cells, cell)
				}
			}
			kept.rows = append(kept.rows, cells)
		}
		t = kept
	}
	return t
}

func (t table) width() int {
	total := 0
	for i, c := range t.columns {
		w := lipgloss.Width(c.head)
		for _, row := range t.rows {
			w = max(w, lipgloss.Width(row[i]))
		}
		total += w + 2
	}
	return total - 2
}

func (t table) write(w io.Writer) {
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = c.head
	}
	for _, cells := range slices.Concat([][]string{heads}, t.rows) {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}
