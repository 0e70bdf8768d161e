package sluice

// Link is what the host's link carries, per direction in bit/s, and what of
// it was guaranteed to vifs.
type Link struct {
	Capacity   Capacity `json:"capacity"`
	Reserve    int      `json:"reserve"` // percent of the capacity that is never guaranteed
	Guaranteed Capacity `json:"guaranteed"`
	Why        string   `json:"why,omitempty"` // who says what it carries, in words
}
