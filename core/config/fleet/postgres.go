package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"

	"gatehouse/core/config/section"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/live"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Postgres is where the nodes of a fleet find what is the same for all. Its keys are
// those of Kong's configuration, without their pg_.
type Postgres struct {
	Host           string          `config:"host" required:"true" doc:"Host of the PostgreSQL server, or the folder of its unix socket."`
	Port           int             `config:"port" default:"5432" between:"1,65535" doc:"Port of the server."`
	StandbyHosts   []string        `config:"standby_hosts" doc:"Standbys of the server, each as HOST:PORT. They are tried in this order where the server does not respond or is not what target_session_attrs asks for: one of them may have been promoted."`
	SessionAttrs   string          `config:"target_session_attrs" default:"primary" one_of:"primary,read-write,any" doc:"What a server has to be, as of libpq: primary, read-write (a primary that takes changes), or any, for nodes that read from a standby. Standbys send no notifications, and take neither revocations nor last uses of API tokens."`
	User           string          `config:"user" required:"true" doc:"Role that logs in. It needs the rights of a node, which gatehouse db rights prints."`
	Password       setting.Secret  `config:"password" secret:"true" doc:"Password. Takes a literal value, $env://NAME or $file:///path."`
	Database       string          `config:"database" default:"gatehouse" doc:"Name of the database."`
	Schema         string          `config:"schema" default:"gatehouse" doc:"Schema that holds the tables, made by gatehouse db migrate."`
	SSL            bool            `config:"ssl" default:"false" doc:"Whether the server is reached by TLS."`
	SSLVerify      bool            `config:"ssl_verify" default:"true" doc:"Whether the certificate of the server is verified. Switch off in development only."`
	ServerName     string          `config:"server_name" doc:"Name in the certificate of the server, where it is not the host."`
	CAFile         string          `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities to trust instead of the system's."`
	SSLCert        string          `config:"ssl_cert" file:"true" doc:"Path of a PEM file with the client certificate of the role, and what it is signed by. Needs ssl_cert_key."`
	SSLCertKey     string          `config:"ssl_cert_key" file:"true" doc:"Path of a PEM file with the private key of ssl_cert."`
	Timeout        setting.Seconds `config:"timeout" default:"1" between:"0.01,30" doc:"Time limit of one use of the database, in seconds. After five failures in a row it is left alone for a second. Permission tables have ten times as long."`
	ConnectTimeout setting.Seconds `config:"connect_timeout" default:"2" between:"0.01,30" doc:"Time limit of a new connection, in seconds. No request waits longer than timeout for it."`
	PoolSize       int             `config:"pool_size" default:"8" between:"1,1000" doc:"Maximum number of connections of one process, beside one that listens for changes."`
	PollInterval   setting.Seconds `config:"poll_interval" default:"10" between:"0.1,3600" doc:"How often the database is asked for changes that no notification told of, in seconds. Behind a pooler that gives each transaction another connection there are no notifications, which the log says."`
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,30}$`)

// Check reports what no single tag can say.
func (p *Postgres) Check(v section.Validator) {
	if !schemaName.MatchString(p.Schema) {
		v.Add("postgres.schema", "want lower-case letters, digits and '_', at most 31, not first a digit")
	}
	nodes(v, "postgres.standby_hosts", p.StandbyHosts)
	if !p.SSL && (p.CAFile != "" || p.ServerName != "" || p.SSLCert != "") {
		v.Add("postgres.ssl", "is needed for ca_file, server_name and ssl_cert")
	}
	if (p.SSLCert == "") != (p.SSLCertKey == "") {
		v.Add("postgres.ssl_cert_key", "is needed beside ssl_cert, and only there")
	}
}

// Database finds or makes the one client of a section, and what identifies it; nil:
// there is no section.
func (b *Builder) Database(p *Postgres) (*postgres.Kept, shared.Key, error) {
	if p == nil {
		return nil, shared.Key{}, nil
	}
	options, files, err := p.read()
	if err != nil {
		return nil, shared.Key{}, err
	}
	key := shared.KeyOf("postgres", p, options.Password, files)
	kept, err := b.databases.Get(key, func() (*postgres.Kept, error) {
		if options.TLS, err = p.tls(files); err != nil {
			return nil, err
		}
		options.Log = b.options.Log
		client, err := postgres.New(options)
		if err != nil {
			return nil, section.At("postgres", err)
		}
		return postgres.Keep(client), nil
	})
	return kept, key, err
}

// Options are those of a client, for tools that make their own.
func (p *Postgres) Options() (postgres.Options, error) {
	options, files, err := p.read()
	if err == nil {
		options.TLS, err = p.tls(files)
	}
	return options, err
}

// tlsFiles are the texts of the files that a section names.
type tlsFiles struct{ CA, Cert, Key string }

// read resolves what a section refers to.
func (p *Postgres) read() (o postgres.Options, files tlsFiles, err error) {
	password, err := setting.Resolve(string(p.Password))
	if err != nil {
		return o, files, section.At("postgres.password", err)
	}
	o = postgres.Options{
		Connection: postgres.Connection{
			Servers: []postgres.Server{{Host: p.Host, Port: uint16(p.Port)}}, Session: p.SessionAttrs,
			User: p.User, Password: password, Database: p.Database, ConnectTimeout: p.ConnectTimeout.Duration(),
		},
		Schema: p.Schema, Timeout: p.Timeout.Duration(), Connections: p.PoolSize,
	}
	for i, text := range p.StandbyHosts {
		host, port, _ := net.SplitHostPort(text)
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return o, files, section.At(section.Item("postgres.standby_hosts", i), errors.New("want HOST:PORT"))
		}
		o.Servers = append(o.Servers, postgres.Server{Host: host, Port: uint16(number)})
	}
	for _, f := range []struct {
		path, file string
		text       *string
	}{{"ca_file", p.CAFile, &files.CA}, {"ssl_cert", p.SSLCert, &files.Cert}, {"ssl_cert_key", p.SSLCertKey, &files.Key}} {
		if *f.text, err = section.Authorities("postgres."+f.path, f.file); err != nil {
			return o, files, err
		}
	}
	return o, files, nil
}

// tls is how the server's certificate is verified, and what this side shows; nil: plain text.
func (p *Postgres) tls(files tlsFiles) (*tls.Config, error) {
	if !p.SSL {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.ServerName, InsecureSkipVerify: !p.SSLVerify}
	if files.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(files.CA)) {
			return nil, section.At("postgres.ca_file", fmt.Errorf("%s holds no PEM certificate", p.CAFile))
		}
	}
	if files.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(files.Cert), []byte(files.Key))
		if err != nil {
			return nil, section.At("postgres.ssl_cert", fmt.Errorf("%s and %s: %w", p.SSLCert, p.SSLCertKey, err))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// CheckTable reports what is wrong with the name of a table in the database.
func CheckTable(v section.Validator, path, name string, p *Postgres) {
	if name == "" {
		return
	}
	if err := tables.CheckName(name); err != nil {
		v.Add(path, "%v", err)
	}
	if p == nil {
		v.Add(path, "needs the section postgres, the database that holds the table")
	}
}

// Table is a permission table in the database, with the folder for its copy; empty: none
// is kept.
func (b *Builder) Table(p *Postgres, name, folder string) (TableSource, error) {
	database, key, err := b.Database(p)
	if err != nil {
		return TableSource{}, err
	}
	return TableSource{
		Key: shared.KeyOf("table of a database", key, name, folder),
		Open: func() (live.Source, error) {
			return tables.NewSource(tables.SourceOptions{
				Database: database, Name: name, Poll: p.PollInterval.Duration(), Folder: folder, Log: b.options.Log, Now: b.options.Now,
			}), nil
		},
	}, nil
}
