package sluice

// Link is what the host's link carries, per direction in bit/s, and what of
// it was promised to vifs.
type Link struct {
	Capacity Capacity `json:"capacity"`
	Reserve  int      `json:"reserve"` // percent of the capacity that is never promised
	Promised Capacity `json:"promised"`
}
