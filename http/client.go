package http

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"sluice"
)

// Client speaks to the daemon on this host through its Unix socket. Its
// errors are the daemon's own [sluice.Error]; where no daemon answers, one
// with code Unavailable.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the daemon at the socket; nothing is opened yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket, http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 1}}}
}

// VIFs returns the status of every vif.
func (c *Client) VIFs(ctx context.Context) ([]sluice.VIFStatus, error) {
	return call[[]sluice.VIFStatus](ctx, c, "GET", "/v1/vifs", nil)
}

// AllVIFs returns the status of every vif, and what is kept of those that are absent.
func (c *Client) AllVIFs(ctx context.Context) ([]sluice.VIFStatus, error) {
	return call[[]sluice.VIFStatus](ctx, c, "GET", "/v1/vifs?absent=1", nil)
}

// Forget drops what is kept of a VM's vif that is absent, or of all that are,
// and returns the journal's records.
func (c *Client) Forget(ctx context.Context, r ForgetRequest) ([]sluice.Change, error) {
	return call[[]sluice.Change](ctx, c, "POST", "/v1/forget", r)
}

// VM returns the status of one VM's vifs, the absent ones last.
func (c *Client) VM(ctx context.Context, name string) ([]sluice.VIFStatus, error) {
	return call[[]sluice.VIFStatus](ctx, c, "GET", "/v1/vms/"+url.PathEscape(name), nil)
}

// Set asks for a change and returns it finished.
func (c *Client) Set(ctx context.Context, r ChangeRequest) (sluice.Change, error) {
	return call[sluice.Change](ctx, c, "POST", "/v1/changes", r)
}

// SetAll asks for many changes as one and returns them finished. With DryRun in
// the first nothing is changed, and the last has the Effect of all.
func (c *Client) SetAll(ctx context.Context, all []ChangeRequest) ([]sluice.Change, error) {
	return call[[]sluice.Change](ctx, c, "POST", "/v1/batch", all)
}

// Undo takes a change back and returns the change that did.
func (c *Client) Undo(ctx context.Context, id uint64) (sluice.Change, error) {
	return call[sluice.Change](ctx, c, "POST", fmt.Sprintf("/v1/changes/%d/undo", id), nil)
}

// Confirm keeps a change that would revert by itself.
func (c *Client) Confirm(ctx context.Context, id uint64) (sluice.Change, error) {
	return call[sluice.Change](ctx, c, "POST", fmt.Sprintf("/v1/changes/%d/confirm", id), nil)
}

// Profiles returns the host's profiles.
func (c *Client) Profiles(ctx context.Context) (sluice.Profiles, error) {
	return call[sluice.Profiles](ctx, c, "GET", "/v1/profiles", nil)
}

// SetProfiles changes the host's profiles, and the vifs that have one.
func (c *Client) SetProfiles(ctx context.Context, r ProfileRequest) (ProfileAnswer, error) {
	return call[ProfileAnswer](ctx, c, "POST", "/v1/profiles", r)
}

// Groups returns all groups.
func (c *Client) Groups(ctx context.Context) ([]sluice.GroupStatus, error) {
	return call[[]sluice.GroupStatus](ctx, c, "GET", "/v1/groups", nil)
}

// Link returns what the host's link carries.
func (c *Client) Link(ctx context.Context) (sluice.Link, error) {
	return call[sluice.Link](ctx, c, "GET", "/v1/capacity", nil)
}

// SetCapacity changes what the link carries, in both directions.
func (c *Client) SetCapacity(ctx context.Context, to sluice.Capacity) (sluice.Link, error) {
	return c.PatchCapacity(ctx, &to.Tx, &to.Rx)
}

// PatchCapacity changes what the link carries in a direction; nil leaves it as it is.
func (c *Client) PatchCapacity(ctx context.Context, tx, rx *sluice.Rate) (sluice.Link, error) {
	// As text: no limit is null in JSON, and null in a request stays as it is.
	in := make(map[string]string)
	if tx != nil {
		in["tx"] = tx.String()
	}
	if rx != nil {
		in["rx"] = rx.String()
	}
	return call[sluice.Link](ctx, c, "POST", "/v1/capacity", in)
}

// Changes returns the newest changes first, at most limit.
func (c *Client) Changes(ctx context.Context, limit int) ([]sluice.Change, error) {
	return call[[]sluice.Change](ctx, c, "GET", fmt.Sprintf("/v1/changes?limit=%d", limit), nil)
}

// Change returns one change.
func (c *Client) Change(ctx context.Context, id uint64) (sluice.Change, error) {
	return call[sluice.Change](ctx, c, "GET", fmt.Sprintf("/v1/changes/%d", id), nil)
}

// Recent returns the past, at most the given number of seconds.
func (c *Client) Recent(ctx context.Context, seconds int) (sluice.Recent, error) {
	return call[sluice.Recent](ctx, c, "GET", fmt.Sprintf("/v1/recent?seconds=%d", seconds), nil)
}

// Backup writes all that the daemon keeps.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, "GET", "/v1/backup", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the backup was cut off", Unchanged: "nothing was changed", Try: "again", Err: err}
	}
	return nil
}

// Restore has the daemon begin anew with a backup. It answers before it does.
func (c *Client) Restore(ctx context.Context, backup io.Reader) (out Restored, err error) {
	resp, err := c.do(ctx, "POST", "/v1/restore", backup)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, notOurs(err)
	}
	return out, nil
}

// Doctor returns what the daemon's host can and cannot do.
func (c *Client) Doctor(ctx context.Context) ([]sluice.Finding, error) {
	return call[[]sluice.Finding](ctx, c, "GET", "/v1/doctor", nil)
}

// Watch calls either function with each data set and each step of a change,
// until ctx ends (nil) or the line breaks. A nil function is not called.
func (c *Client) Watch(ctx context.Context, onDataSet func(sluice.DataSet), onChange func(sluice.Change)) error {
	resp, err := c.do(ctx, "GET", "/v1/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 64<<20)
	event := ""
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(line, "data: ")
		switch {
		case ok && event == "dataset" && onDataSet != nil:
			err = passOn(data, onDataSet)
		case ok && event == "change" && onChange != nil:
			err = passOn(data, onChange)
		}
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return &sluice.Error{Code: sluice.Unavailable, Message: "the daemon ended the stream of events", Try: "connect again", Err: lines.Err()}
}

func passOn[T any](data string, to func(T)) error {
	var v T
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		return notOurs(err)
	}
	to(v)
	return nil
}

// call makes one request and reads its JSON answer.
func call[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return out, &sluice.Error{Code: sluice.Internal, Message: "the request cannot be written", Err: err}
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, notOurs(err)
	}
	return out, nil
}

// do makes one request; the answer's status is 200, its body open.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://sluice"+path, body)
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: "the request cannot be written", Err: err}
	}
	if body != nil && path != "/v1/restore" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var told sluice.Error
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&told); err != nil || told.Code == "" {
		return nil, notOurs(fmt.Errorf("status %s", resp.Status))
	}
	return nil, &told
}

// unreachable says why nobody answers.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &sluice.Error{Code: sluice.Unavailable, Message: "no sluice daemon answers on " + c.socket,
			Unchanged: "nothing was changed", Try: "start it as root with sluice serve, or name its socket with --socket or SLUICE_SOCKET"}
	case errors.Is(err, fs.ErrPermission):
		return &sluice.Error{Code: sluice.Forbidden, Message: "you may not use " + c.socket,
			Unchanged: "nothing was changed", Try: "run as root, or join the group " + Group}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &sluice.Error{Code: sluice.Unavailable, Message: "the daemon on " + c.socket + " broke off",
		Try: "sluice changes shows what became of the request", Err: err}
}

func notOurs(err error) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "unexpected response from the daemon",
		Try: "is it another version, or another program that listens on the socket", Err: err}
}
