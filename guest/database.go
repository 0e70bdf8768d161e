package guest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite"

	"sluice"
)

// schema is what an operator sees in sqlite3. Rows of sample and nic are
// differences over span_ns; usage is the view for people. An interface's ID is
// its sample's and its place there, so that rows are only ever appended.
const schema = `
CREATE TABLE collector (name TEXT NOT NULL, starts INTEGER NOT NULL) STRICT;
CREATE TABLE sample (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, span_ns INTEGER NOT NULL) STRICT;
CREATE TABLE nic (
	id INTEGER PRIMARY KEY, sample INTEGER AS (id >> 6), name TEXT NOT NULL, mac TEXT NOT NULL,
	tx_bytes INTEGER NOT NULL, tx_packets INTEGER NOT NULL, tx_dropped INTEGER NOT NULL,
	rx_bytes INTEGER NOT NULL, rx_packets INTEGER NOT NULL, rx_dropped INTEGER NOT NULL) STRICT;
CREATE VIEW usage AS
	SELECT datetime(at_ms / 1000, 'unixepoch') AS at, name, mac,
		round(tx_bytes * 8e3 / span_ns, 3) AS tx_mbit, round(rx_bytes * 8e3 / span_ns, 3) AS rx_mbit
	FROM nic JOIN sample ON sample.id = nic.sample;
`

const (
	applicationID = 0x534c5543 // "SLUC"
	schemaVersion = 1
	pageSize      = 1024 // a sample writes two pages
	checkpoint    = 256  // pages of log after which they go into the database
	startBits     = 32   // an ID is the number of the start, then the sample's in it
	placeBits     = 6    // an interface's ID is its sample's, then its place: maxNICs
)

// Limits bound the database: the oldest samples go first.
type Limits struct {
	MaxAge  time.Duration
	MaxSize int64 // bytes of the database and its log; at least MinSize
}

// MinSize is the least room that a database can work in.
const MinSize = 1 << 20

// maxLog is how much of MaxSize is the write-ahead log's.
func (l Limits) maxLog() int64 { return min(l.MaxSize/2, 4<<20) }

// database is the samples on disk. One goroutine writes, others read.
type database struct {
	name   string // random, made with the file
	first  uint64 // the least ID of this start
	path   string
	limits Limits

	write  *sql.DB
	read   *sql.DB
	conn   *sql.Conn // the only one of write
	insert *sql.Stmt
	nic    *sql.Stmt
	turn   int       // appends since the last prune
	held   time.Time // when a reader last kept the log from being emptied
}

var (
	errForeign = errors.New("it is something else's")
	errNewer   = errors.New("it was made by a newer sluice-guest")
	errHeld    = errors.New("somebody reads the database without end, so that its log cannot be emptied")
)

// openDatabase opens or makes the database, in WAL mode. With
// synchronous=NORMAL every commit is with the kernel when it returns, so that
// kill -9 loses nothing of it; the disk has it at the next checkpoint, and
// losing power before that loses the newest samples, never the database.
func openDatabase(path string, l Limits) (*database, error) {
	d := &database{path: path, limits: l}
	query := url.Values{ // the driver sets those of _pragma first: a page's size cannot change in WAL mode
		"_busy_timeout": {"50"}, "_journal_mode": {"WAL"}, "_synchronous": {"NORMAL"},
		"_pragma": {
			fmt.Sprintf("page_size(%d)", pageSize), fmt.Sprintf("max_page_count(%d)", (l.MaxSize-l.maxLog())/pageSize),
			fmt.Sprintf("wal_autocheckpoint(%d)", checkpoint), fmt.Sprintf("journal_size_limit(%d)", l.maxLog()/2),
			"cache_size(-256)", "temp_store(MEMORY)",
		},
	}
	var err error
	if d.write, err = openSQLite(path, query); err != nil {
		return nil, err
	}
	if err := d.begin(); err != nil {
		d.close()
		return nil, err
	}
	if d.read, err = openReadOnly(path); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func openSQLite(path string, query url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func openReadOnly(path string) (*sql.DB, error) {
	return openSQLite(path, url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(500)", "query_only(1)", "cache_size(-256)"}})
}

// whose returns an error if the file is anything but a collector's database or
// nothing yet. Asking changes nothing in it.
func whose(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errForeign
	case info.Size() == 0:
		return nil
	}
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer db.Close()
	var app, version, tables int
	err = db.QueryRow("SELECT * FROM pragma_application_id, pragma_user_version, (SELECT count(*) FROM sqlite_schema)").Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return err
	case app != applicationID && tables > 0:
		return errForeign
	case version > schemaVersion:
		return errNewer
	}
	return nil
}

// begin checks that the file is whole, makes what it lacks, and counts the start.
func (d *database) begin() (err error) {
	ctx := context.Background()
	if d.conn, err = d.write.Conn(ctx); err != nil {
		return err
	}
	var check string
	if err := d.conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&check); err != nil {
		return err
	}
	if check != "ok" {
		return &corrupt{check}
	}
	var tables int
	if err := d.conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	err = d.transaction(func() error {
		if tables == 0 {
			text := fmt.Sprintf("%s PRAGMA application_id=%d; PRAGMA user_version=%d; INSERT INTO collector VALUES (?, 0)", schema, applicationID, schemaVersion)
			if _, err := d.conn.ExecContext(ctx, text, rand.Text()); err != nil {
				return err
			}
		}
		var starts uint64
		if err := d.conn.QueryRowContext(ctx, "UPDATE collector SET starts = starts + 1 RETURNING name, starts").Scan(&d.name, &starts); err != nil {
			return err
		}
		d.first = starts<<startBits + 1
		return nil
	})
	if err != nil {
		return err
	}
	if d.insert, err = d.conn.PrepareContext(ctx, "INSERT INTO sample VALUES (?, ?, ?)"); err != nil {
		return err
	}
	d.nic, err = d.conn.PrepareContext(ctx, "INSERT INTO nic VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
	return err
}

// transaction does all of it or nothing.
func (d *database) transaction(do func() error) error {
	ctx := context.Background()
	if _, err := d.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = d.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		d.conn.ExecContext(ctx, "ROLLBACK") // an error has often done that already
	}
	return err
}

// append writes the samples, all or none.
func (d *database) append(samples []sluice.Sample) error {
	if err := d.bound(); err != nil {
		return err
	}
	return d.transaction(func() error {
		for _, s := range samples {
			if _, err := d.insert.Exec(s.ID, s.At.UnixMilli(), int64(s.Span)); err != nil {
				return err
			}
			for i, n := range s.NICs[:min(len(s.NICs), maxNICs)] {
				_, err := d.nic.Exec(s.ID<<placeBits+uint64(i), n.Name, n.MAC, n.Tx.Bytes, n.Tx.Packets, n.Tx.Dropped, n.Rx.Bytes, n.Rx.Packets, n.Rx.Dropped)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// since returns at most limit samples with IDs above after, oldest first.
func (d *database) since(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	return since(ctx, d.read, d.name, after, limit)
}

func since(ctx context.Context, db *sql.DB, name string, after uint64, limit int) (sluice.Samples, error) {
	got := sluice.Samples{Database: name, Samples: []sluice.Sample{}}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return got, err
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(ctx, "SELECT id, at_ms, span_ns FROM sample WHERE id > ? ORDER BY id LIMIT ?", after, limit+1)
	if err != nil {
		return got, err
	}
	defer rows.Close()
	for rows.Next() {
		var s sluice.Sample
		var at int64
		if err := rows.Scan(&s.ID, &at, &s.Span); err != nil {
			return got, err
		}
		s.At = time.UnixMilli(at).UTC()
		s.NICs = []sluice.NICUsage{}
		got.Samples = append(got.Samples, s)
	}
	if err := rows.Err(); err != nil {
		return got, err
	}
	if len(got.Samples) > limit {
		got.Samples, got.More = got.Samples[:limit], true
	}
	if len(got.Samples) == 0 {
		return got, nil
	}
	return got, addNICs(ctx, tx, &got)
}

// addNICs fills in the interfaces, and leaves out the last samples when the
// answer would be too long with them.
func addNICs(ctx context.Context, tx *sql.Tx, got *sluice.Samples) error {
	all := got.Samples
	rows, err := tx.QueryContext(ctx, "SELECT * FROM nic WHERE id >= ? AND id < ? ORDER BY id", all[0].ID<<placeBits, (all[len(all)-1].ID+1)<<placeBits)
	if err != nil {
		return err
	}
	defer rows.Close()
	i, total := 0, 0
	for rows.Next() {
		var id, own uint64
		var n sluice.NICUsage
		err := rows.Scan(&own, &id, &n.Name, &n.MAC, &n.Tx.Bytes, &n.Tx.Packets, &n.Tx.Dropped, &n.Rx.Bytes, &n.Rx.Packets, &n.Rx.Dropped)
		if err != nil {
			return err
		}
		for i < len(all) && all[i].ID < id {
			i++
		}
		if total++; total > maxTotal && i > 0 {
			got.Samples, got.More = all[:i], true
			break
		}
		if i < len(all) && all[i].ID == id {
			all[i].NICs = append(all[i].NICs, n)
		}
	}
	return rows.Err()
}

// close lets go of the files; the log goes into the database.
func (d *database) close() {
	if d.read != nil {
		d.read.Close()
	}
	for _, s := range []*sql.Stmt{d.insert, d.nic} {
		if s != nil {
			s.Close() // or SQLite keeps the log
		}
	}
	if d.conn != nil {
		d.conn.Close()
	}
	d.write.Close()
}

type corrupt struct{ check string }

func (c *corrupt) Error() string { return fmt.Sprintf("it is corrupt: %.200s", c.check) }

// The result codes of SQLite that decide what to do (sqlite.org/rescode.html).
const (
	sqliteBusy    = 5
	sqliteIOErr   = 10
	sqliteCorrupt = 11
	sqliteFull    = 13
	sqliteNotADB  = 26
)

// resultCode is SQLite's primary result code, 0 if err is not SQLite's.
func resultCode(err error) int {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

func isCorrupt(err error) bool {
	c := (*corrupt)(nil)
	code := resultCode(err)
	return errors.As(err, &c) || code == sqliteCorrupt || code == sqliteNotADB
}

// size is a file's, 0 if there is none.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
