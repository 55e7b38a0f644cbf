package tables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/permission/tablefile"
)

// Store is where the tables are.
type Store struct{ db *postgres.Client }

// NewStore uses a database.
func NewStore(db *postgres.Client) *Store { return &Store{db} }

const rows = "permission_table_versions"

// ErrNone is wrapped by the error about a table or a version that is not there.
var ErrNone = errors.New("is not in the database")

// UnreadableError says that a version is in the database and cannot be used.
type UnreadableError struct {
	Version *Version // without its files
	Err     error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("version %d of table %s cannot be used: %v", e.Version.Number, e.Version.Name, e.Err)
}
func (e *UnreadableError) Unwrap() error { return e.Err }

// columns are read in this order by scan.
const columns = `version, format, digest, base, coalesce(restores, 0) AS restored, author, db_role, reason, program, pushed_at, file_names, bytes`

// Newest is the newest version of a table. Of the version that the caller has, which may
// be nil, it returns no files.
func (s *Store) Newest(ctx context.Context, name string, has *Version) (*Version, error) {
	if has == nil {
		has = &Version{}
	}
	return s.read(ctx, `SELECT `+columns+`, (version, digest) IS DISTINCT FROM ($2::bigint, $3::bytea) AS wanted, file_texts
		FROM `+s.db.In(rows)+` WHERE name = $1 ORDER BY version DESC LIMIT 1`,
		fmt.Errorf("table %s %w; push it with gatehouse push --name %s", name, ErrNone, name), name, has.Number, has.Digest[:])
}

// Version is a version of a table.
func (s *Store) Version(ctx context.Context, name string, number int64) (*Version, error) {
	return s.read(ctx, `SELECT `+columns+`, true AS wanted, file_texts FROM `+s.db.In(rows)+` WHERE name = $1 AND version = $2`,
		fmt.Errorf("version %d of table %s %w; gatehouse history --name %s lists those that are", number, name, ErrNone, name), name, number)
}

// History lists the newest versions of a table, without their files.
func (s *Store) History(ctx context.Context, name string, limit int) (all []*Version, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, `SELECT `+columns+`, false, NULL::bytea[] FROM `+s.db.In(rows)+` WHERE name = $1 ORDER BY version DESC LIMIT $2`, name, limit)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Version, error) { return scan(row, name) })
		return err
	})
	return all, err
}

// read reads one version. One that cannot be used is an *UnreadableError.
func (s *Store) read(ctx context.Context, sql string, none error, name string, args ...any) (v *Version, err error) {
	bounded := fmt.Sprintf(`SELECT version, format, digest, base, restored, author, db_role, reason, program, pushed_at, file_names, bytes, wanted,
		CASE WHEN wanted AND format <= %d AND bytes <= %d THEN file_texts END FROM (%s) v`, format, MaxSize, sql)
	err = s.db.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		v, err = scan(q.QueryRow(ctx, bounded, append([]any{name}, args...)...), name)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, none
	}
	return v, err
}

// scan reads a row of columns, whether the files are wanted, and the files.
func scan(row pgx.Row, name string) (*Version, error) {
	v := &Version{Name: name}
	var of, bytes int64
	var digest []byte
	var names []string
	var texts [][]byte
	var wanted bool
	err := row.Scan(&v.Number, &of, &digest, &v.Base, &v.Restores, &v.Author, &v.Role, &v.Reason, &v.Program, &v.At, &names, &bytes, &wanted, &texts)
	if err != nil {
		return nil, err
	}
	copy(v.Digest[:], digest)
	switch {
	case !wanted:
		return v, nil
	case of > format:
		return nil, &UnreadableError{v, fmt.Errorf("it has format %d, written by gatehouse %s, and this program reads format %d at most; upgrade this program", of, v.Program, format)}
	case bytes > MaxSize:
		return nil, &UnreadableError{v, fmt.Errorf("its files have %d bytes, want %d at most", bytes, MaxSize)}
	case len(texts) != len(names):
		return nil, &UnreadableError{v, fmt.Errorf("it has %d files and %d names", len(texts), len(names))}
	}
	whole := *v
	for i := range names {
		whole.Files = append(whole.Files, tablefile.Text{Name: names[i], Content: texts[i]})
	}
	if err := whole.check(); err != nil {
		return nil, &UnreadableError{v, err}
	}
	return &whole, nil
}

// MovedError says that somebody else has pushed meanwhile.
type MovedError struct {
	Name string
	Base int64
	// Newest is what there is now, without its files; nil: nothing.
	Newest *Version
}

func (e *MovedError) Error() string {
	if e.Newest == nil {
		return fmt.Sprintf("table %s has no version yet, so %d is no base; leave --base out", e.Name, e.Base)
	}
	n := e.Newest
	return fmt.Sprintf("table %s is at version %d, pushed by %s at %s (%s), and your base is %d; nothing was pushed. See gatehouse diff --name %s %d %d, bring both changes together, and push with --base %d",
		e.Name, n.Number, n.Author, n.At.UTC().Format(time.RFC3339), n.Reason, e.Base, e.Name, e.Base, n.Number, n.Number)
}

// Push writes the next version of a table: the one after v.Base, which must be the
// newest. Of v it takes the name, the files, base, restores, author, reason and program.
func (s *Store) Push(ctx context.Context, v Version) (*Version, error) {
	if err := CheckName(v.Name); err != nil {
		return nil, err
	}
	v.Digest = DigestOf(v.Files)
	if err := v.check(); err != nil {
		return nil, err
	}
	var names []string
	var texts [][]byte
	for _, f := range v.Files {
		if err := CheckFileName(f.Name); err != nil {
			return nil, err
		}
		names, texts = append(names, f.Name), append(texts, f.Content)
	}
	v.Number = v.Base + 1
	var restores *int64
	if v.Restores > 0 {
		restores = &v.Restores
	}
	err := s.db.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO `+s.db.In(rows)+` (name, version, format, digest, file_names, file_texts, base, restores, author, reason, program)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING db_role, pushed_at`,
			v.Name, v.Number, format, v.Digest[:], names, texts, v.Base, restores, v.Author, v.Reason, v.Program).Scan(&v.Role, &v.At)
	})
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server) && server.Code == "23505": // unique_violation
		return nil, s.moved(ctx, v.Name, v.Base)
	case err != nil && server == nil:
		return nil, fmt.Errorf("%w; whether the table was pushed is not known: see gatehouse history --name %s", err, v.Name)
	case err != nil:
		return nil, err
	}
	return &v, nil
}

// moved says what there is instead of a base.
func (s *Store) moved(ctx context.Context, name string, base int64) error {
	newest, err := s.History(ctx, name, 1)
	if err != nil {
		return err
	}
	moved := &MovedError{Name: name, Base: base}
	if len(newest) > 0 {
		moved.Newest = newest[0]
	}
	return moved
}
