package control

import (
	"encoding/json"

	"sluice"
)

// MarshalJSON spells no limit as "unlimited": in a patch null means that the
// field stays as it is, unlike in a [sluice.Allocation].
func (p Patch) MarshalJSON() ([]byte, error) {
	spell := func(r *sluice.Rate) any {
		if r != nil && *r == sluice.Unlimited {
			return r.String()
		}
		return r
	}
	return json.Marshal(struct {
		Limit     any  `json:"limit,omitempty"`
		Guarantee any  `json:"guarantee,omitempty"`
		Weight    *int `json:"weight,omitempty"`
		Priority  *int `json:"priority,omitempty"`
	}{spell(p.Limit), spell(p.Guarantee), p.Weight, p.Priority})
}

// sets are the fields that the patch names, as those of tx.
func (p *Patch) sets() (f sluice.Fields) {
	if p == nil {
		return 0
	}
	if p.Limit != nil {
		f |= sluice.TxLimit
	}
	if p.Guarantee != nil {
		f |= sluice.TxGuarantee
	}
	if p.Weight != nil {
		f |= sluice.TxWeight
	}
	if p.Priority != nil {
		f |= sluice.TxPriority
	}
	return f
}
