package sluice

// Finding is one thing a host can do, or cannot, and what to do about it.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Try    string `json:"try,omitempty"`
}
