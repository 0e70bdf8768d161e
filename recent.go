package sluice

// Recent is the recent past of all vifs, for charts: columns over one axis.
type Recent struct {
	At   []int64     `json:"at"` // ms since 1970
	VIFs []RecentVIF `json:"vifs"`
}

// RecentVIF is one vif's usage at each time of [Recent].At, in bit/s; null
// where nothing was measured.
type RecentVIF struct {
	Key string     `json:"key"`
	VM  string     `json:"vm"`
	VIF int        `json:"vif"`
	Tx  []*float64 `json:"tx"`
	Rx  []*float64 `json:"rx"`
}
