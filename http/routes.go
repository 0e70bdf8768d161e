package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sluice"
	"sluice/control"
)

// route is one line of the API: who may use it, what it takes and what it answers.
type route struct {
	method, pattern string
	access          access
	summary         string
	query           []query
	in, out         any // a value of the body's type, for the OpenAPI document; nil for none
	answer          func(r *http.Request, by string) (any, error)
	stream          http.HandlerFunc // instead of answer, for what is not one JSON value
}

// query is an integer of a route's query string.
type query struct {
	name               string
	fallback, min, max int
}

var (
	limit   = query{"limit", 50, 1, 1000}
	seconds = query{"seconds", 120, 1, 3600}
	absent  = query{"absent", 0, 0, 1}
)

// routes is the API, whole.
func (s *Server) routes(live *events, meters *meters) ([]route, error) {
	page, err := newPage(s.Page)
	if err != nil {
		return nil, err
	}
	var document []byte // of this table, therefore after it
	openapi := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		http.ServeContent(w, r, "", noTime, bytes.NewReader(document))
	}
	unknown := func(r *http.Request, _ string) (any, error) { return nil, noRoute(r) }
	table := []route{
		{method: "GET", pattern: "/v1/vifs", access: reading, summary: "Every vif's usage, demand and allocation; with absent=1 also what is kept of those that are not there", query: []query{absent}, out: []sluice.VIFStatus{}, answer: s.vifs},
		{method: "GET", pattern: "/v1/vms/{vm}", access: reading, summary: "The vifs of one VM, by its name or UUID, or a vif's key; the absent ones last", out: []sluice.VIFStatus{}, answer: s.vm},
		{method: "POST", pattern: "/v1/changes", access: writing, summary: "Change what a vif may use; answers when it is finished", in: ChangeRequest{}, out: sluice.Change{}, answer: s.set},
		{method: "POST", pattern: "/v1/batch", access: writing, summary: "Change what many vifs may use, all or none; what lowers a guarantee is in force before what raises one", in: []ChangeRequest{}, out: []sluice.Change{}, answer: s.setAll},
		{method: "GET", pattern: "/v1/changes", access: reading, summary: "The journal, newest first", query: []query{limit}, out: []sluice.Change{}, answer: s.changes},
		{method: "GET", pattern: "/v1/changes/{id}", access: reading, summary: "One change and all that became of it", out: sluice.Change{}, answer: s.change},
		{method: "POST", pattern: "/v1/changes/{id}/undo", access: writing, summary: "Take a change back; answers with the change that did", out: sluice.Change{}, answer: s.undo},
		{method: "POST", pattern: "/v1/changes/{id}/confirm", access: writing, summary: "Keep a change that would revert by itself", out: sluice.Change{}, answer: s.confirm},
		{method: "POST", pattern: "/v1/forget", access: writing, summary: "Drop what is kept of a VM that will not come back; answers with the journal's records", in: ForgetRequest{}, out: []sluice.Change{}, answer: s.forget},
		{method: "GET", pattern: "/v1/profiles", access: reading, summary: "The settings that vifs have where none were set for them, and who has which", out: sluice.Profiles{}, answer: s.profiles},
		{method: "POST", pattern: "/v1/profiles", access: writing, summary: "Change a profile, the default or a pattern, and all vifs that have it: all or none", in: ProfileRequest{}, out: ProfileAnswer{}, answer: s.setProfiles},
		{method: "GET", pattern: "/v1/groups", access: reading, summary: "All groups, what each has and what its members use together", out: []sluice.GroupStatus{}, answer: s.groups},
		{method: "GET", pattern: "/v1/capacity", access: reading, summary: "What the host's link carries, and what of it is guaranteed", out: sluice.Link{}, answer: s.link},
		{method: "POST", pattern: "/v1/capacity", access: writing, summary: "Change what the link carries", in: CapacityRequest{}, out: sluice.Link{}, answer: s.setCapacity},
		{method: "GET", pattern: "/v1/recent", access: reading, summary: "The recent past, for charts", query: []query{seconds}, out: sluice.Recent{}, answer: s.recent},
		{method: "GET", pattern: "/v1/doctor", access: reading, summary: "What this host can and cannot do", out: []sluice.Finding{}, answer: s.doctor},
		{method: "GET", pattern: "/v1/challenge", access: reading, summary: "What a request is signed with that does not carry the token itself", out: Challenge{}, answer: s.challenge},
		{method: "GET", pattern: "/v1/backup", access: owning, summary: "All that the daemon keeps, as it is at one moment, for POST /v1/restore; on the Unix socket only", stream: s.backup},
		{method: "POST", pattern: "/v1/restore", access: owning, summary: "Begin anew with what a backup, the body, holds; on the Unix socket only", out: Restored{}, stream: s.restore},
		{method: "GET", pattern: "/v1/events", access: reading, summary: "Server-sent events: dataset at every tick, change at every step of one", stream: live.ServeHTTP},
		{method: "GET", pattern: "/metrics", access: reading, summary: "Metrics for Prometheus", stream: meters.ServeHTTP},
		{method: "GET", pattern: "/openapi.json", access: reading, summary: "This document", stream: openapi},
		{method: "GET", pattern: "/", access: public, summary: "The page", stream: page.ServeHTTP},
		{pattern: "/", access: reading, summary: "Any other method", answer: unknown}, // for GET the page says it
	}
	document, err = json.MarshalIndent(describe(table), "", "  ")
	return table, err
}

func (s *Server) vifs(r *http.Request, _ string) (any, error) {
	all, err := absent.of(r)
	if err != nil {
		return nil, err
	}
	vifs := append([]sluice.VIFStatus{}, s.Monitor.DataSet().VIFs...)
	if all == 0 {
		return vifs, nil
	}
	gone, err := s.Control.Absent(r.Context())
	return append(vifs, gone...), err
}

func (s *Server) vm(r *http.Request, _ string) (any, error) {
	its, err := s.Control.VM(r.Context(), r.PathValue("vm"))
	if err != nil {
		return nil, err
	}
	gone, err := s.Control.Absent(r.Context())
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(its))
	for _, v := range its {
		wanted[v.Key()] = true
	}
	found := []sluice.VIFStatus{}
	for _, v := range slices.Concat(s.Monitor.DataSet().VIFs, gone) {
		if wanted[v.Key()] {
			found = append(found, v)
		}
	}
	return found, nil
}

func (s *Server) forget(r *http.Request, by string) (any, error) {
	var in ForgetRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return s.Control.Forget(context.WithoutCancel(r.Context()), in.VM, in.VIF, by)
}

func (s *Server) set(r *http.Request, by string) (any, error) {
	var in ChangeRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	// A change begun is finished, whether its asker waits for it or not.
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), answerTime)
	defer stop()
	return s.Control.Set(ctx, in.request(by))
}

func (s *Server) setAll(r *http.Request, by string) (any, error) {
	var in []ChangeRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	all := make([]control.Request, len(in))
	for i, one := range in {
		all[i] = one.request(by)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), answerTime)
	defer stop()
	return s.Control.SetAll(ctx, all)
}

func (s *Server) profiles(r *http.Request, _ string) (any, error) {
	p, err := s.Control.Profiles(r.Context())
	return listed(p), err
}

// listed is p with empty lists where it has none: JSON's null is no list.
func listed(p sluice.Profiles) sluice.Profiles {
	p.All, p.Match = append([]sluice.Profile{}, p.All...), append([]sluice.Match{}, p.Match...)
	return p
}

func (s *Server) setProfiles(r *http.Request, by string) (any, error) {
	var in ProfileRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.Name == "" && in.Default == nil && in.Match == nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: "the request changes nothing", Unchanged: "nothing was changed", Try: "a profile's name, a default or a match"}
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), answerTime)
	defer stop()
	p, changes, err := s.Control.SetProfiles(ctx, control.ProfilePatch{Name: in.Name, Tx: in.Tx, Rx: in.Rx, Group: in.Group, Delete: in.Delete,
		Default: in.Default, Match: in.Match, Revision: in.Revision, By: by, DryRun: in.DryRun})
	if err != nil {
		return nil, err
	}
	if !in.DryRun {
		s.Log.Info("the profiles were changed", "by", by, "profile", in.Name, "changes", len(changes))
	}
	return ProfileAnswer{Profiles: listed(p), Changes: append([]sluice.Change{}, changes...)}, nil
}

func (in ChangeRequest) request(by string) control.Request {
	return control.Request{VM: in.VM, VIF: in.VIF, Tx: in.Tx, Rx: in.Rx, Group: in.Group, Profile: in.Profile, Reset: in.Reset, Delete: in.Delete,
		Revision: in.Revision, By: by, DryRun: in.DryRun, For: forSeconds(in.ForS), Confirm: forSeconds(in.ConfirmS)}
}

// forSeconds is so many seconds, or near the longest time there is.
func forSeconds(n int) time.Duration {
	const most = int(1<<63-1) / int(time.Second)
	return time.Duration(min(max(n, -most), most)) * time.Second
}

func (s *Server) undo(r *http.Request, by string) (any, error) {
	id, err := changeID(r)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), answerTime)
	defer stop()
	return s.Control.Undo(ctx, id, by)
}

func (s *Server) confirm(r *http.Request, by string) (any, error) {
	id, err := changeID(r)
	if err != nil {
		return nil, err
	}
	return s.Control.Confirm(r.Context(), id, by)
}

// groups sums what members use, up to the outermost group.
func (s *Server) groups(r *http.Request, _ string) (any, error) {
	all, err := s.Control.Groups(r.Context())
	if err != nil {
		return nil, err
	}
	index := make(map[string]*sluice.GroupStatus, len(all))
	for i := range all {
		index[all[i].Name] = &all[i]
	}
	for _, v := range s.Monitor.DataSet().VIFs {
		g := index[v.Group]
		for range sluice.MaxDepth {
			if g == nil {
				break
			}
			g.Tx.Usage, g.Rx.Usage = g.Tx.Usage+v.Tx.Usage, g.Rx.Usage+v.Rx.Usage
			g.Tx.Demand, g.Rx.Demand = g.Tx.Demand+v.Tx.Demand, g.Rx.Demand+v.Rx.Demand
			g = index[g.Parent]
		}
	}
	return all, nil
}

func (s *Server) link(r *http.Request, _ string) (any, error) { return s.Control.Link(r.Context()) }

func (s *Server) setCapacity(r *http.Request, by string) (any, error) {
	var in CapacityRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	link, err := s.Control.SetLink(context.WithoutCancel(r.Context()), control.LinkPatch{Tx: in.Tx, Rx: in.Rx})
	if err == nil {
		s.Log.Info("the link's capacity was changed", "by", by, "tx", link.Capacity.Tx, "rx", link.Capacity.Rx)
	}
	return link, err
}

func (s *Server) changes(r *http.Request, _ string) (any, error) {
	n, err := limit.of(r)
	if err != nil {
		return nil, err
	}
	all, err := s.Control.Changes(r.Context(), n)
	if all == nil {
		all = []sluice.Change{}
	}
	return all, err
}

func (s *Server) change(r *http.Request, _ string) (any, error) {
	id, err := changeID(r)
	if err != nil {
		return nil, err
	}
	return s.Control.Change(r.Context(), id)
}

func (s *Server) recent(r *http.Request, _ string) (any, error) {
	n, err := seconds.of(r)
	if err != nil {
		return nil, err
	}
	return s.Monitor.Recent(n), nil
}

func (s *Server) doctor(r *http.Request, _ string) (any, error) {
	p, _ := r.Context().Value(passKey{}).(pass)
	age := cachedFor
	if p.trusted() {
		age = 0 // root has just mended something, perhaps
	}
	found, err := s.probes.get(r.Context(), age, s.Doctor.Check)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(found)
	for _, d := range s.doors {
		if err := d.Problem(); err != nil {
			all = append(all, pageClosed(d, err))
		}
	}
	return all, nil
}

// pageClosed says why a door is not open.
func pageClosed(d *Door, err error) sluice.Finding {
	e := asError(err)
	return sluice.Finding{Name: "page", Detail: fmt.Sprintf("%s is not open: %s; it is tried again every %s", d.URL(), e.Message, openAgain), Try: e.Try}
}

// decode reads the one JSON object a request's body must be.
func decode(r *http.Request, into any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		if kind, _, err := mime.ParseMediaType(ct); err != nil || kind != "application/json" {
			return badBody(fmt.Sprintf("its Content-Type is %.80q", ct), nil)
		}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var told *sluice.Error
		if errors.As(err, &told) {
			return told // a rate says best itself what is wrong with it
		}
		return badBody("it cannot be read as one", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badBody("more follows it", nil)
	}
	return nil
}

func badBody(why string, err error) error {
	return &sluice.Error{Code: sluice.Invalid, Message: "the body must be one JSON value, and " + why, Unchanged: "nothing was changed",
		Try: "Content-Type: application/json and the fields of /openapi.json", Err: err}
}

func changeID(r *http.Request) (uint64, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || id == 0 {
		return 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%.40q is not the number of a change", r.PathValue("id")), Try: "sluice changes lists them"}
	}
	return id, nil
}

// of reads the query from a request, or its fallback.
func (q query) of(r *http.Request) (int, error) {
	s := r.URL.Query().Get(q.name)
	if s == "" {
		return q.fallback, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < q.min || n > q.max {
		return 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s is %.40q", q.name, s), Try: fmt.Sprintf("a number from %d to %d", q.min, q.max)}
	}
	return n, nil
}

func noRoute(r *http.Request) error {
	return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no %s %.80q here", r.Method, r.URL.Path), Try: "/openapi.json names all there is"}
}
