package database

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/config/fleet"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/setting"
	"gatehouse/dev/authority"
	"gatehouse/dev/postgrestest"
)

// section is a configuration's section postgres for a server, as a node reads it.
func section(t *testing.T, s *postgrestest.Server, change func(*fleet.Postgres)) postgres.Options {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p := fleet.Postgres{Host: host, User: "gatehouse_node", Password: "change-me-3", Database: "gatehouse", Schema: "gatehouse", SSL: true, SSLVerify: true, SessionAttrs: "primary", Timeout: 1, ConnectTimeout: 2, PoolSize: 2}
	fmt.Sscan(port, &p.Port)
	change(&p)
	o, err := p.Options()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestDatabaseIsReachedByTLSThatHoldsOrNotAtAll(t *testing.T) {
	s := migrated(t)
	ca, other := authority.New(t), authority.New(t)
	goodCert, goodKey := ca.Issue(t, "db.test", func(c *x509.Certificate) { c.DNSNames = []string{"db.test"} })
	pastCert, pastKey := ca.Issue(t, "db.test", func(c *x509.Certificate) {
		c.DNSNames, c.NotAfter = []string{"db.test"}, time.Now().Add(-time.Minute)
	})
	nodeCert, nodeKey := ca.Issue(t, "gatehouse_node", nil)
	eveCert, eveKey := ca.Issue(t, "eve", nil)
	strangeCert, strangeKey := other.Issue(t, "gatehouse_node", nil)
	byPassword, byCertificate := "hostssl all all all scram-sha-256", "hostssl all all all cert"
	good := func(p *fleet.Postgres) { p.CAFile, p.ServerName = ca.File, "db.test" }
	with := func(changes ...func(*fleet.Postgres)) func(*fleet.Postgres) {
		return func(p *fleet.Postgres) {
			good(p)
			for _, c := range changes {
				c(p)
			}
		}
	}
	shows := func(cert, key string) func(*fleet.Postgres) {
		return func(p *fleet.Postgres) { p.SSLCert, p.SSLCertKey = cert, key }
	}
	for _, of := range []struct {
		name      string
		server    func()
		change    func(*fleet.Postgres)
		want, say string // empty: the database is reached
	}{
		{"a server without TLS", nil, good, "server refused TLS", "switch on ssl at the server"},
		{"the right authority and name", func() { s.Protect(goodCert, goodKey, ca.File, byPassword) }, good, "", ""},
		{"another authority", nil, with(func(p *fleet.Postgres) { p.CAFile = other.File }), "unknown authority", "set postgres.ca_file"},
		{"the authorities of the system", nil, with(func(p *fleet.Postgres) { p.CAFile = "" }), "unknown authority", "set postgres.ca_file"},
		{"another name", nil, with(func(p *fleet.Postgres) { p.ServerName = "other.test" }), "not other.test", "postgres.server_name"},
		{"the host as the name", nil, with(func(p *fleet.Postgres) { p.ServerName = "" }), "127.0.0.1", "postgres.server_name"},
		{"no verification", nil, with(func(p *fleet.Postgres) { p.CAFile, p.ServerName, p.SSLVerify = "", "", false }), "", ""},
		{"no TLS where the server demands it", nil, func(p *fleet.Postgres) { p.SSL = false }, "no encryption", "set postgres.ssl"},
		{"a wrong password", nil, with(func(p *fleet.Postgres) { p.Password = "hunter2" }), "28P01", "set user and password"},
		{"the certificate of the role", func() { s.Protect(goodCert, goodKey, ca.File, byCertificate) }, with(shows(nodeCert, nodeKey)), "", ""},
		{"no certificate where one is demanded", nil, good, "certificate", "set postgres.ssl_cert"},
		{"a certificate of another name", nil, with(shows(eveCert, eveKey)), "certificate authentication failed", "set postgres.ssl_cert"},
		{"a certificate of another authority", nil, with(shows(strangeCert, strangeKey)), "", "set postgres.ssl_cert"},
		{"an expired certificate", func() { s.Protect(pastCert, pastKey, ca.File, byPassword) }, good, "expired", "renew the server's certificate"},
	} {
		if of.server != nil {
			of.server()
		}
		o := section(t, s, of.change)
		c, err := postgres.New(o)
		if err != nil {
			t.Fatal(err)
		}
		err = ask(c)
		c.Close()
		switch {
		case of.want == "" && of.say == "" && err != nil, of.say != "" && (err == nil || !strings.Contains(err.Error(), of.want) || !strings.Contains(err.Error(), of.say)):
			t.Errorf("%s: %v", of.name, err)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the error holds the password: %v", of.name, err)
		}
	}
}

func TestCertificateAndKeyThatDoNotFitAreAnErrorOfTheSettings(t *testing.T) {
	ca := authority.New(t)
	cert, key := ca.Issue(t, "a", nil)
	_, otherKey := ca.Issue(t, "b", nil)
	for _, of := range []struct{ cert, key, want string }{
		{cert, key, ""}, {cert, otherKey, "postgres.ssl_cert: "}, {cert, "/absent", "postgres.ssl_cert_key: open /absent"}, {"/absent", key, "postgres.ssl_cert: open /absent"}, {key, key, "postgres.ssl_cert: "},
	} {
		p := fleet.Postgres{Host: "db.test", SSL: true, SSLCert: of.cert, SSLCertKey: of.key}
		_, err := p.Options()
		var settings *setting.Error
		if of.want == "" && err != nil || of.want != "" && (!errors.As(err, &settings) || !strings.Contains(err.Error(), of.want)) {
			t.Errorf("%s, %s: %v", of.cert, of.key, err)
		}
	}
}

// What is rotated is in the configuration as files, and followed.
func TestPasswordAndCertificatesAreRotatedWithoutARestart(t *testing.T) {
	s := migrated(t)
	ca, next := authority.New(t), authority.New(t)
	issue := func(a *authority.Authority) (string, string) {
		return a.Issue(t, "db.test", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	}
	cert, key := issue(ca)
	s.Protect(cert, key, "", "hostssl all all all scram-sha-256")
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	password, trusted := write("password", []byte("change-me-3\n")), write("ca.pem", read(ca.File))
	n := startNodeWith(t, s, "password: $file://"+password+", ssl: true, ca_file: "+trusted, named)
	store := tables.NewStore(opened(t, postgres.Options{Connection: postgres.Connection{URL: s.DSN}}))
	push(t, store, "main", opening("/1"))
	eventually(t, "the first table is in force", func() bool { return n.opens("/1") })

	// The password changes in the database first: nodes go on with what they have, and say so.
	postgrestest.Exec(t, s.DSN, "ALTER ROLE gatehouse_node PASSWORD 'change-me-4'")
	s.Disconnect()
	push(t, store, "main", opening("/2"))
	eventually(t, "the log names the cause", func() bool { return strings.Contains(n.log.String(), "password authentication failed") })
	if !n.opens("/1") || n.opens("/2") {
		t.Error("the last good table is not in force")
	}
	write("password", []byte("change-me-4\n"))
	eventually(t, "the new password is in use", func() bool { return n.opens("/2") })

	// So does the authority of the server's certificate: for a while both are trusted.
	write("ca.pem", bytes.Join([][]byte{read(ca.File), read(next.File)}, nil))
	cert, key = issue(next)
	s.Protect(cert, key, "", "hostssl all all all scram-sha-256")
	s.Disconnect()
	push(t, store, "main", opening("/3"))
	eventually(t, "the new certificate is trusted", func() bool { return n.opens("/3") })
	if strings.Contains(n.log.String(), "change-me") {
		t.Error("a password is in the log")
	}
}
