package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what one figure came to.
type Result struct {
	Name    string    `json:"name"`
	At      time.Time `json:"at"`
	Seconds int       `json:"seconds"` // it took
	Machine string    `json:"machine"`
	Busy    float64   `json:"busy"`   // the part of the machine that others used when it began
	Stolen  float64   `json:"stolen"` // the part that a hypervisor took away meanwhile
	Rows    []Row     `json:"rows"`
	Detail  Table     `json:"detail"`
	Chart   Chart     `json:"chart"`
	Note    string    `json:"note,omitempty"` // what a reader must know to judge
}

// Row is a line of the table that the README shows.
type Row struct {
	Figure string `json:"figure"`
	Sluice string `json:"sluice"`
	Bar    string `json:"bar"`
	Beside string `json:"beside"`
	Met    bool   `json:"met"`
}

// Table is all that was measured, for who wants to know more.
type Table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

// results are the last of every figure, in the figures' order.
type results struct {
	Results []Result `json:"results"`
}

func readResults(dir string) (*results, error) {
	r := new(results)
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return nil, fmt.Errorf("the last results: %w", err)
	}
	return r, nil
}

func (r *results) put(one Result) {
	r.Results = slices.DeleteFunc(r.Results, func(old Result) bool { return old.Name == one.Name })
	r.Results = append(r.Results, one)
	place := func(name string) int {
		return slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return place(a.Name) - place(b.Name) })
}

// write keeps the results, the tables and the plots.
func (r *results) write(dir, readme string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{"results.json": string(text) + "\n", "results.md": r.markdown()}
	for _, one := range r.Results {
		files[filepath.Join("plots", one.Name+".svg")] = one.Chart.svg()
	}
	if err := os.MkdirAll(filepath.Join(dir, "plots"), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if readme == "" {
		return nil
	}
	return r.insert(readme)
}

// insert puts the table between the marks of a Markdown file.
func (r *results) insert(path string) error {
	const begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no %q and %q", path, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(path, []byte(before+begin+r.table()+end+after), 0o644)
}

// table is the one that the README shows.
func (r *results) table() string {
	t := Table{Head: []string{"figure", "Sluice", "bar", "", "beside it, in the same run"}}
	for _, one := range r.Results {
		for _, row := range one.Rows {
			met := "missed"
			if row.Met {
				met = "met"
			}
			t.Rows = append(t.Rows, []string{row.Figure, row.Sluice, row.Bar, met, row.Beside})
		}
	}
	return t.markdown()
}

func (t Table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.Head)
	line(slices.Repeat([]string{"---"}, len(t.Head)))
	for _, row := range t.Rows {
		line(row)
	}
	return b.String()
}

// markdown is results.md.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("# Figures\n\nWritten by `make bench`; what each one is stands in [docs/performance.md](../docs/performance.md).\n\n")
	b.WriteString(r.table())
	for _, one := range r.Results {
		fmt.Fprintf(&b, "\n## %s\n\n![](plots/%s.svg)\n\n%s", one.Name, one.Name, one.Detail.markdown())
		if one.Note != "" {
			fmt.Fprintf(&b, "\n%s\n", one.Note)
		}
		fmt.Fprintf(&b, "\n%s, %d s, on %s, of which others used %.0f %% when it began, and a hypervisor took %.1f %% meanwhile.\n",
			one.At.Format("2006-01-02 15:04 UTC"), one.Seconds, one.Machine, 100*one.Busy, 100*one.Stolen)
	}
	return b.String()
}

// machine says where a figure is from.
func machine() string {
	model := runtime.GOARCH
	if cpus, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(cpus)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.Trim(name, " \t:\n")
				break
			}
		}
	}
	var u unix.Utsname
	kernel := "?"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%d x %s, Linux %s, %s", runtime.NumCPU(), model, kernel, runtime.Version())
}
