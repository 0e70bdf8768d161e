package http

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"sluice"
)

// meters are the daemon's metrics, in a registry of their own.
type meters struct {
	http.Handler
	monitor  Monitor
	scrape   recent[[]byte]
	changes  *prometheus.CounterVec
	duration prometheus.Histogram

	usage, demand, limit, guarantee, problem, enforced *prometheus.Desc
}

func newMeters(m Monitor) *meters {
	perVIF := []string{"vm", "vif", "key", "uuid"}
	perDirection := append(slices.Clone(perVIF), "direction")
	bits := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sluice_vif_"+name+"_bits_per_second", help, perDirection, nil)
	}
	s := &meters{
		monitor: m,
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_changes_total",
			Help: "Requests for change by what became of them: done, undone, or the code of the error."}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_change_duration_seconds",
			Help:    "From the request to the answer, of changes that were begun.",
			Buckets: []float64{.0005, .001, .002, .003, .005, .01, .02, .05, .1, .5, 1, 5}}),
		usage:     bits("usage", "What passed, by the host's counters; direction as the VM sees it."),
		demand:    bits("demand", "What was offered or waited for."),
		limit:     bits("limit", "What it never exceeds; +Inf where there is no limit."),
		guarantee: bits("guarantee", "What it gets whenever it wants it."),
		problem: prometheus.NewDesc("sluice_collector_problem", "1 while the collector inside the VM is not heard as it should be.",
			perVIF, nil),
		enforced: prometheus.NewDesc("sluice_vif_enforced", "0 while its frames do not obey what is set; sluice list says why.", perVIF, nil),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(s, s.changes, s.duration, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(registry, w, r) })
	return s
}

// serve writes what was gathered a moment ago, or is now.
func (s *meters) serve(registry prometheus.Gatherer, w http.ResponseWriter, r *http.Request) {
	text, err := s.scrape.get(r.Context(), scrapedFor, func(context.Context) []byte { return spell(registry) })
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	_, _ = w.Write(text)
}

// spell gathers all metrics as Prometheus's text.
func spell(from prometheus.Gatherer) []byte {
	var text bytes.Buffer
	families, _ := from.Gather() // what can be had, also where one collector fails
	for _, f := range families {
		_, _ = expfmt.MetricFamilyToText(&text, f)
	}
	return text.Bytes()
}

// observe counts a change when it is finished.
func (s *meters) observe(c sluice.Change) {
	if c.Result == sluice.Pending {
		return
	}
	s.changes.WithLabelValues(string(c.Result)).Inc()
	s.duration.Observe(float64(c.TookNS) / 1e9)
}

// refused counts a request that no change was begun for.
func (s *meters) refused(err error) {
	if code := sluice.CodeOf(err); code != sluice.NotApplied { // that one is in the journal as undone
		s.changes.WithLabelValues(string(code)).Inc()
	}
}

// Describe and Collect make the newest data set metrics, at each scrape.
func (s *meters) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.usage, s.demand, s.limit, s.guarantee, s.problem, s.enforced} {
		to <- d
	}
}

func (s *meters) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...)
		if err != nil {
			return // of a name that is no label; all others are told
		}
		to <- m
	}
	for _, v := range s.monitor.DataSet().VIFs {
		whose := []string{v.VM, strconv.Itoa(v.Index), v.Key(), v.UUID}
		for _, d := range sluice.Directions {
			one := v.Tx
			if d == sluice.Rx {
				one = v.Rx
			}
			labels := append(slices.Clone(whose), string(d))
			gauge(s.usage, bitsOf(one.Usage), labels...)
			gauge(s.demand, bitsOf(one.Demand), labels...)
			gauge(s.limit, bitsOf(one.Limit), labels...)
			gauge(s.guarantee, bitsOf(one.Guarantee), labels...)
		}
		broken := 0.
		if v.Problem != "" {
			broken = 1
		}
		gauge(s.problem, broken, whose...)
		enforced := 1.
		if v.NotEnforced != "" {
			enforced = 0
		}
		gauge(s.enforced, enforced, whose...)
	}
}

func bitsOf(r sluice.Rate) float64 {
	if r == sluice.Unlimited {
		return math.Inf(1)
	}
	return float64(r)
}
