package http

import (
	"encoding/json"
	"errors"
	"net/http"

	"sluice"
)

// statuses maps every code to its HTTP status, both ways.
var statuses = map[sluice.Code]int{
	sluice.Invalid:     http.StatusBadRequest,
	sluice.NotFound:    http.StatusNotFound,
	sluice.Refused:     http.StatusUnprocessableEntity,
	sluice.Unknown:     http.StatusUnauthorized,
	sluice.Forbidden:   http.StatusForbidden,
	sluice.Conflict:    http.StatusConflict,
	sluice.NotApplied:  http.StatusBadGateway,
	sluice.Unsupported: http.StatusNotImplemented,
	sluice.Unavailable: http.StatusServiceUnavailable,
	sluice.Internal:    http.StatusInternalServerError,
}

// asError is err as the API tells it. The cause of an [sluice.Error] joins
// the message, because it does not travel; a stranger's error is a fault of ours.
func asError(err error) *sluice.Error {
	var e *sluice.Error
	if !errors.As(err, &e) {
		return &sluice.Error{Code: sluice.Internal, Message: err.Error(), Try: "see the daemon's log"}
	}
	told := *e
	if e.Err != nil {
		told.Message += ": " + e.Err.Error()
	}
	if _, known := statuses[told.Code]; !known {
		told.Code = sluice.Internal
	}
	return &told
}

// fail answers with the error and its status.
func fail(w http.ResponseWriter, err error) {
	e := asError(err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(statuses[e.Code])
	_ = json.NewEncoder(w).Encode(e)
}
