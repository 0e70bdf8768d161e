// Package http is the daemon's door: the API of docs/architecture.md over a
// Unix socket and TCP, its OpenAPI document, live events, metrics, the page,
// and the client the command line uses.
//
// Who may do what is one table ([Server] routes): every route stands beside
// its access rule. On the Unix socket root and the group "sluice" may do
// everything, by what the kernel says of the peer. On TCP, loopback unless
// there is a certificate, reading is free and writing needs the daemon's
// token; Host and Origin are checked on every request, so that no other page
// a browser has open can drive the daemon.
package http

import (
	"context"
	"io"
	"time"

	"sluice"
	"sluice/control"
)

// Control takes requests their whole way; see package control.
type Control interface {
	// Set makes the change asked for and returns it finished. With DryRun the
	// change is only checked, and is returned as it would be.
	Set(ctx context.Context, r control.Request) (sluice.Change, error)
	// SetAll makes many changes as one, all or none; see control.Control.
	SetAll(ctx context.Context, all []control.Request) ([]sluice.Change, error)
	// Undo takes change id back by a new change, asked for by the named person.
	Undo(ctx context.Context, id uint64, by string) (sluice.Change, error)
	// Confirm makes change id last, which would revert by itself.
	Confirm(ctx context.Context, id uint64, by string) (sluice.Change, error)
	// VM returns the vifs of the VM that somebody means by a name, a UUID or an ID, the absent ones last.
	VM(ctx context.Context, vm string) ([]sluice.VIF, error)
	// Absent is what is kept of vifs that are not there.
	Absent(ctx context.Context) ([]sluice.VIFStatus, error)
	// Forget drops what is kept of absent vifs; nil is all of the VM.
	Forget(ctx context.Context, vm string, vif *int, by string) ([]sluice.Change, error)
	// Profiles are the host's profiles.
	Profiles(ctx context.Context) (sluice.Profiles, error)
	// SetProfiles changes them and all vifs that have one, all or none.
	SetProfiles(ctx context.Context, p control.ProfilePatch) (sluice.Profiles, []sluice.Change, error)
	// Groups are all groups by name, without usage.
	Groups(ctx context.Context) ([]sluice.GroupStatus, error)
	// Link is what the host's link carries, and what of it is guaranteed.
	Link(ctx context.Context) (sluice.Link, error)
	// SetLink changes what it carries; it refuses less than is guaranteed.
	SetLink(ctx context.Context, p control.LinkPatch) (sluice.Link, error)
	// Change returns one record of the journal.
	Change(ctx context.Context, id uint64) (sluice.Change, error)
	// Changes returns the newest records first, at most limit.
	Changes(ctx context.Context, limit int) ([]sluice.Change, error)
	// Watch sends every change at every step of its way until ctx ends.
	Watch(ctx context.Context) <-chan sluice.Change
}

// Monitor knows usage; see package monitor.
type Monitor interface {
	// DataSet is the newest data set.
	DataSet() sluice.DataSet
	// Watch sends every data set until ctx ends; a slow reader misses some.
	Watch(ctx context.Context) <-chan sluice.DataSet
	// Recent is the past, at most the given number of seconds.
	Recent(seconds int) sluice.Recent
}

// Doctor says what this host can and cannot do.
type Doctor interface {
	Check(ctx context.Context) []sluice.Finding
}

// State is all that the daemon keeps, secrets too.
type State interface {
	// Backup writes all of it, as it is at one moment.
	Backup(ctx context.Context, w io.Writer) error
	// Restore checks a backup, and has the daemon begin anew with what it holds
	// when this is answered. An error has changed nothing.
	Restore(ctx context.Context, r io.Reader, by string) (Restored, error)
}

// Restored is the answer to POST /v1/restore.
type Restored struct {
	At      time.Time `json:"at" doc:"When the backup was made"`
	VIFs    int       `json:"vifs" doc:"How many vifs it has settings of"`
	Groups  int       `json:"groups"`
	Changes int       `json:"changes" doc:"How many records its journal has"`
	Note    uint64    `json:"note" doc:"The record of the restore in the journal, once the daemon answers again"`
}

// ChangeRequest is the body of POST /v1/changes. What is absent or null stays
// as it is.
type ChangeRequest struct {
	VM       string         `json:"vm" doc:"The VM's name or UUID, or a vif's key; or a group's name after an @, and no vif; a VM whose name begins with an @ has another one before it"`
	VIF      int            `json:"vif,omitempty" minimum:"0" doc:"The index of its interface"`
	Tx       *control.Patch `json:"tx,omitempty" doc:"What changes of what the VM sends"`
	Rx       *control.Patch `json:"rx,omitempty" doc:"What changes of what the VM receives"`
	Group    *string        `json:"group,omitempty" doc:"The group that it is in from now on; host for none"`
	Profile  *string        `json:"profile,omitempty" doc:"The profile that it has whatever its name and description say; empty for none"`
	Reset    bool           `json:"reset,omitempty" doc:"What was set for it itself is dropped first, so that its profile's values hold"`
	Delete   bool           `json:"delete,omitempty" doc:"The group, which has no members any more, ceases to be"`
	Revision *uint64        `json:"revision,omitempty" doc:"The revision the asker saw; refused as a conflict if another holds now"`
	DryRun   bool           `json:"dry_run,omitempty" doc:"Check only; the answer is the change as it would be, with what every vif would get"`
	ForS     int            `json:"for_s,omitempty" minimum:"1" doc:"Seconds after which the change reverts by itself"`
	ConfirmS int            `json:"confirm_s,omitempty" minimum:"1" doc:"Seconds after which it reverts unless it is confirmed"`
}

// ProfileRequest is the body of POST /v1/profiles. What is absent stays as it is.
type ProfileRequest struct {
	Name     string         `json:"name,omitempty" doc:"The profile that is set, and made where there is none"`
	Tx       *control.Patch `json:"tx,omitempty" doc:"What its vifs have for what their VMs send"`
	Rx       *control.Patch `json:"rx,omitempty" doc:"Likewise for what they receive"`
	Group    *string        `json:"group,omitempty" doc:"The group that its vifs are in; host for none"`
	Delete   bool           `json:"delete,omitempty" doc:"The profile ceases to be"`
	Default  *string        `json:"default,omitempty" doc:"The profile of what has no other; empty for none"`
	Match    *sluice.Match  `json:"match,omitempty" doc:"The profile of VMs whose name is as the pattern says; an empty one takes the pattern away"`
	Revision *uint64        `json:"revision,omitempty" doc:"The revision of the profiles that the asker saw; refused as a conflict if another holds now"`
	DryRun   bool           `json:"dry_run,omitempty" doc:"Check only; the answer is what would change"`
}

// ProfileAnswer is what POST /v1/profiles answers.
type ProfileAnswer struct {
	Profiles sluice.Profiles `json:"profiles"`
	Changes  []sluice.Change `json:"changes"` // of the vifs that have one
}

// ForgetRequest is the body of POST /v1/forget.
type ForgetRequest struct {
	VM  string `json:"vm" doc:"The VM's name or UUID, or a vif's key"`
	VIF *int   `json:"vif,omitempty" minimum:"0" doc:"The index of its interface; all that are absent if there is none"`
}

// CapacityRequest is the body of POST /v1/capacity. What is absent or null
// stays as it is.
type CapacityRequest struct {
	Tx *sluice.Rate `json:"tx,omitempty" doc:"What VMs can send through it together"`
	Rx *sluice.Rate `json:"rx,omitempty" doc:"What they can receive"`
}
