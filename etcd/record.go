package etcd

import (
	"encoding/json"
	"fmt"
	"strings"

	"sluice"
	"sluice/control"
)

const (
	vifPrefix    = "/sluice/vifs/"
	changePrefix = "/sluice/changes/"
	knownPrefix  = "/sluice/known/" // and a vif's ID: what it is known by
	allPrefix    = "/sluice/"
)

func vifKey(key string) string { return vifPrefix + key }

// changeKey has all digits, so that keys sort as numbers do.
func changeKey(id uint64) string { return fmt.Sprintf("%s%020d", changePrefix, id) }

// record is a node as it is stored.
type record struct {
	sluice.Allocations
	State  sluice.State  `json:"state"`
	Change uint64        `json:"change"`
	Lease  control.Lease `json:"lease,omitzero"`
}

func encodeNode(n control.Node) string { return encode(record{n.Value, n.State, n.Change, n.Lease}) }

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own structs of numbers, strings and times
	}
	return string(b)
}

// decodeNode reads what encodeNode wrote, or somebody else did, or a disk damaged.
func decodeNode(key string, value []byte, revision int64) (control.Node, error) {
	var r record
	err := json.Unmarshal(value, &r)
	if err == nil {
		err = r.Allocations.Check(sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited})
	}
	if err == nil && r.State != sluice.Connected && r.State != sluice.Reconfiguring {
		err = fmt.Errorf("state %d is neither Connected nor Reconfiguring", int(r.State))
	}
	if err == nil && r.Lease.Change != 0 {
		err = r.Lease.Back.Check(sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited})
	}
	if err != nil {
		return control.Node{}, corrupt(vifKey(key), err)
	}
	return control.Node{Value: r.Allocations, State: r.State, Revision: uint64(revision), Change: r.Change, Lease: r.Lease}, nil
}

func decodeChange(key string, value []byte) (sluice.Change, error) {
	var c sluice.Change
	err := json.Unmarshal(value, &c)
	if err == nil && (c.ID == 0 || changeKey(c.ID) != key) {
		err = fmt.Errorf("it says it is change %d", c.ID)
	}
	if err != nil {
		return sluice.Change{}, corrupt(key, err)
	}
	return c, nil
}

func corrupt(key string, err error) error {
	return &sluice.Error{
		Code:    sluice.Internal,
		Message: fmt.Sprintf("the store's record %s cannot be read", key),
		Try:     fmt.Sprintf("look at it with etcdctl get %s, and mend or delete it", key),
		Err:     err,
	}
}

// known is what a vif is known by, as it is stored.
type known struct {
	VM        string `json:"vm"`
	UUID      string `json:"uuid,omitempty"`
	VIF       int    `json:"vif"`
	MAC       string `json:"mac,omitempty"`
	Device    string `json:"device,omitempty"`
	DeviceMAC string `json:"device_mac,omitempty"`
}

func knownOf(v sluice.VIF) known { return known{v.VM, v.UUID, v.Index, v.MAC, v.Device, v.DeviceMAC} }

func decodeKnown(key, value []byte) (sluice.VIF, error) {
	var k known
	id, _ := strings.CutPrefix(string(key), knownPrefix)
	if err := json.Unmarshal(value, &k); err != nil {
		return sluice.VIF{}, corrupt(string(key), err)
	}
	return sluice.VIF{ID: id, VM: k.VM, UUID: k.UUID, Index: k.VIF, MAC: k.MAC, Device: k.Device, DeviceMAC: k.DeviceMAC}, nil
}

// keyOf is the vif's key in an etcd key, or "" if that is no vif's.
func keyOf(etcdKey []byte) string {
	key, ok := strings.CutPrefix(string(etcdKey), vifPrefix)
	if !ok {
		return ""
	}
	return key
}
