package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Chart is groups of columns, one column a series, and lines for the bars
// that are to be reached.
type Chart struct {
	Title  string    `json:"title"`
	Unit   string    `json:"unit"`
	Log    bool      `json:"log,omitempty"` // logarithmic from 1 up; what is less than 1 has no column
	Bars   []float64 `json:"bars,omitempty"`
	Groups []string  `json:"groups"`
	Series []Series  `json:"series"`
}

// Series is one candidate's value in every group.
type Series struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
}

// The drawing's measures, in pixels.
const (
	width, height             = 860, 390
	left, right, top, bottom  = 70, 20, 100, 60
	plotWidth, plotHeight     = width - left - right, height - top - bottom
	groupGap, fontSize, ticks = 0.25, 12, 5
)

var colours = []string{"#0f766e", "#f59e0b", "#64748b", "#be185d"}

// svg draws the chart.
func (c Chart) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="%d">`+"\n", width, height, fontSize)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	text := func(x, y float64, anchor, more, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#334155" %s>%s</text>`+"\n", x, y, anchor, more, html.EscapeString(s))
	}
	size := min(16, plotWidth/(0.6*float64(len(c.Title)))) // what has room
	text(left, 22, "start", fmt.Sprintf(`font-size="%.1f" font-weight="bold"`, size), c.Title)
	text(left, 42, "start", "", c.Unit)
	x, line := float64(left), 62.0
	for i, s := range c.Series {
		const letter, gap = 6.8, 36 // a letter's width at most, as a rule
		long := letter*float64(len(s.Name)) + gap
		if x+long > width && x > left {
			x, line = left, line+18
		}
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="10" height="10" fill="%s"/>`+"\n", x, line-9, colours[i%len(colours)])
		text(x+15, line, "start", "", s.Name)
		x += long
	}
	low, high, marks := c.bounds()
	y := func(v float64) float64 {
		if c.Log {
			v = math.Log10(max(v, 1))
		}
		return top + plotHeight*(high-max(min(v, high), low))/(high-low)
	}
	for i := range marks + 1 {
		v := low + (high-low)*float64(i)/float64(marks)
		label := fmt.Sprintf("%.3g", v)
		at := v
		if c.Log {
			at = math.Pow(10, v)
			label = fmt.Sprintf("%.0f", at)
		}
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#e2e8f0"/>`+"\n", left, width-right, y(at), y(at))
		text(left-6, y(at)+4, "end", "", label)
	}
	zero := y(0)
	step := float64(plotWidth) / float64(len(c.Groups))
	column := step * (1 - groupGap) / float64(max(len(c.Series), 1))
	for g, name := range c.Groups {
		x := left + step*(float64(g)+groupGap/2)
		for i, s := range c.Series {
			if g >= len(s.Values) {
				continue
			}
			v := y(s.Values[g])
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s, %s: %.4g</title></rect>`+"\n",
				x+column*float64(i), min(v, zero), column-1, max(math.Abs(zero-v), 0.5), colours[i%len(colours)], html.EscapeString(s.Name), html.EscapeString(name), s.Values[g])
		}
		text(left+step*(float64(g)+0.5), height-bottom+18, "middle", "", name)
	}
	for _, v := range c.Bars {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dc2626" stroke-dasharray="6 4"><title>the bar: %g</title></line>`+"\n", left, width-right, y(v), y(v), v)
	}
	text(left, height-12, "start", `font-size="11"`, "dashed: the bar to reach")
	b.WriteString("</svg>\n")
	return b.String()
}

// bounds are the axis's ends, and the number of marks from one to the other:
// powers of ten where it is logarithmic, else whole steps of 1, 2 or 5.
func (c Chart) bounds() (low, high float64, marks int) {
	for _, v := range c.Bars {
		low, high = min(low, v), max(high, v)
	}
	for _, s := range c.Series {
		for _, v := range s.Values {
			low, high = min(low, v), max(high, v)
		}
	}
	if c.Log {
		high = math.Ceil(math.Log10(max(high, 10)))
		return 0, high, int(high)
	}
	rough := max(high-low, 1e-9) / ticks
	step := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, times := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if step < rough {
			step *= times
		}
	}
	low, high = math.Floor(low/step), math.Ceil(high/step*1.02) // with room above
	return low * step, high * step, int(high - low)
}
