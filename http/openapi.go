package http

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"sluice"
	"sluice/control"
)

//go:generate go test -run TestDocument -args -update

// describe makes the OpenAPI 3.1 document of the routes. Huma reads the
// schemas off the very types the routes carry; requests are decoded by
// package sluice's own rules, whose errors name what is wrong with a rate.
func describe(table []route) *huma.OpenAPI {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[sluice.Rate](), reflect.TypeFor[rate]())
	schemas.RegisterTypeAlias(reflect.TypeFor[sluice.State](), reflect.TypeFor[state]())
	schemas.RegisterTypeAlias(reflect.TypeFor[sluice.Fields](), reflect.TypeFor[[]string]())
	schemas.RegisterTypeAlias(reflect.TypeFor[control.Patch](), reflect.TypeFor[Patch]())
	schemas.RegisterTypeAlias(reflect.TypeFor[CapacityRequest](), reflect.TypeFor[capacityIn]())
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "Sluice", Version: "1", Description: "Watches how much bandwidth every virtual machine of a host uses, " +
			"and changes what each may use, live. Directions are the VM's: tx is what it sends. Rates are bit/s."},
		Components: &huma.Components{Schemas: schemas, SecuritySchemes: map[string]*huma.SecurityScheme{
			"token": {Type: "http", Scheme: "bearer", Description: "What the file token in the daemon's state directory holds. " +
				"Needed for writing over TCP, and for reading too over TLS; not on the Unix socket."}}},
	}
	json := func(v any) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeOf(v), true, "")}}
	}
	for _, rt := range table {
		if rt.access == public || rt.method == "" {
			continue
		}
		op := &huma.Operation{Method: rt.method, Path: rt.pattern, OperationID: operationID(rt), Summary: rt.summary,
			Responses: map[string]*huma.Response{
				"200":     {Description: http.StatusText(http.StatusOK)},
				"default": {Description: "What was wrong, what was left unchanged, what to try", Content: json(sluice.Error{})},
			}}
		if rt.out != nil {
			op.Responses["200"].Content = json(rt.out)
		}
		if rt.in != nil {
			op.RequestBody = &huma.RequestBody{Required: true, Content: json(rt.in)}
		}
		if rt.access == writing {
			op.Security = []map[string][]string{{"token": {}}}
		}
		for _, q := range rt.query {
			low, high := float64(q.min), float64(q.max)
			op.Parameters = append(op.Parameters, &huma.Param{Name: q.name, In: "query",
				Schema: &huma.Schema{Type: "integer", Minimum: &low, Maximum: &high, Default: q.fallback}})
		}
		for _, part := range strings.Split(rt.pattern, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok {
				op.Parameters = append(op.Parameters, &huma.Param{Name: strings.TrimSuffix(name, "}"), In: "path",
					Required: true, Schema: &huma.Schema{Type: "string"}})
			}
		}
		doc.AddOperation(op)
	}
	return doc
}

// operationID spells a route as one word: "post-changes-id-undo".
func operationID(rt route) string {
	words := strings.FieldsFunc(strings.TrimPrefix(rt.pattern, "/v1"), func(r rune) bool { return strings.ContainsRune("/{}.", r) })
	return strings.ToLower(rt.method) + "-" + strings.Join(words, "-")
}

// Patch is [control.Patch] as the document tells it.
type Patch struct {
	Limit     *rateIn `json:"limit,omitempty"`
	Guarantee *rateIn `json:"guarantee,omitempty"`
	Weight    *int    `json:"weight,omitempty" minimum:"1" maximum:"10000"`
	Priority  *int    `json:"priority,omitempty" minimum:"0" maximum:"1"`
}

// capacityIn is [CapacityRequest] as the document tells it.
type capacityIn struct {
	Tx *rateIn `json:"tx,omitempty" doc:"What VMs can send through it together"`
	Rx *rateIn `json:"rx,omitempty" doc:"What they can receive"`
}

// rate, rateIn and state describe types whose JSON is not what their Go kind says.
type (
	rate   struct{}
	rateIn struct{}
	state  struct{}
)

func (rate) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "integer", Format: "int64", Nullable: true, Description: "bit/s; null is no limit"}
}

func (rateIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf:       []*huma.Schema{{Type: "integer", Format: "int64"}, {Type: "string"}, {Type: "null"}},
		Description: `bit/s, or as tc spells it: "10mbit", "unlimited"; absent or null stays as it is`,
		Examples:    []any{"10mbit", 10_000_000, "unlimited"},
	}
}

func (state) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Enum: []any{sluice.Connected.String(), sluice.Reconfiguring.String()}}
}
