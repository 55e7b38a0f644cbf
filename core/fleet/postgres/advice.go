package postgres

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Codes of PostgreSQL's errors (appendix A of its documentation).
const (
	invalidPassword   = "28P01"
	invalidUser       = "28000"
	undefinedDatabase = "3D000"
	invalidSchema     = "3F000"
	noRight           = "42501"
	undefinedTable    = "42P01"
	undefinedColumn   = "42703"
	undefinedFunction = "42883"
	tooMany           = "53300"
	diskFull          = "53100"
	readOnly          = "25006"
	starting          = "57P03"
)

// Advise adds to an error of the database what to do about it.
func Advise(err error) error {
	var server *pgconn.PgError
	if err == nil || !errors.As(err, &server) {
		return err
	}
	if text := advice(server.Code); text != "" {
		return fmt.Errorf("%w; %s", err, text)
	}
	return err
}

func advice(code string) string {
	switch code {
	case invalidPassword, invalidUser:
		return "set user and password of the section postgres, or the connection URL, to those of a role that may log in"
	case undefinedDatabase:
		return "create the database, or name another one in postgres.database"
	case noRight:
		return "give the role its rights: gatehouse db rights prints the statements"
	case undefinedTable, invalidSchema, undefinedColumn, undefinedFunction:
		return "run gatehouse db migrate, or name the schema in postgres.schema"
	case tooMany:
		return "raise max_connections of PostgreSQL, or lower postgres.pool_size on the nodes"
	case diskFull:
		return "make room for the database"
	case readOnly:
		return "this is a standby: name the primary in postgres.host"
	case starting:
		return "the server starts or stops; it is asked again"
	}
	return ""
}

// isBroken reports whether a connection broke off.
func isBroken(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
