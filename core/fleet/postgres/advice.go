package postgres

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

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
	idleInTransaction = "25P03"
	lockTimeout       = "55P03"
	starting          = "57P03"
	canceled          = "57014"
)

// Advise adds to an error of the database what to do about it.
func Advise(err error) error {
	if text := advice(err); text != "" {
		return fmt.Errorf("%w; %s", err, text)
	}
	return err
}

func advice(err error) string {
	var server *pgconn.PgError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var network *net.OpError
	switch {
	case err == nil:
	case errors.As(err, &server):
		return adviceOn(server)
	case errors.As(err, &authority):
		return "set postgres.ca_file to the certificate of the authority that has signed the server's"
	case errors.As(err, &name):
		return "set postgres.host or postgres.server_name to a name in the server's certificate"
	case errors.As(err, &invalid):
		return "renew the server's certificate, or mend the clock of this machine"
	case errors.As(err, &network) && network.Op == "remote error": // an alert of TLS
		return "the server does not take this side's certificate: set postgres.ssl_cert and postgres.ssl_cert_key to one that it trusts"
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrReadOnlyConnection):
		return "name the primary in postgres.host or postgres.standby_hosts, or set postgres.target_session_attrs"
	case strings.Contains(err.Error(), "server refused TLS"): // pgx has no name for it
		return "switch on ssl at the server; postgres.ssl asks for TLS, and nothing is sent without it"
	}
	return ""
}

func adviceOn(server *pgconn.PgError) string {
	switch server.Code {
	case invalidUser:
		return adviceOnLogin(server.Message)
	case invalidPassword:
		return wrongLogin
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
		return "this is a standby, or a server that takes no changes, as where its disk is full: name the primary in postgres.host, or make room"
	case starting:
		return "the server starts or stops; it is asked again"
	case canceled:
		return "raise statement_timeout of the role in PostgreSQL, or set it to 0: Gatehouse has a time limit of its own"
	case idleInTransaction:
		return "raise idle_in_transaction_session_timeout of the role in PostgreSQL"
	case lockTimeout:
		return "another transaction holds a lock on the table; end it, or try again"
	}
	return ""
}

const wrongLogin = "set user and password of the section postgres, or the connection URL, to those of a role that may log in"

// adviceOnLogin tells apart what has the same code.
func adviceOnLogin(message string) string {
	switch {
	case strings.Contains(message, "certificate"):
		return "set postgres.ssl_cert and postgres.ssl_cert_key to a certificate of the role"
	case strings.Contains(message, "no encryption"):
		return "set postgres.ssl if the server takes this role by TLS only; else " + wrongLogin
	}
	return wrongLogin
}

// isBroken reports whether a connection broke off.
func isBroken(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
