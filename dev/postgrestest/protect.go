package postgrestest

import (
	"fmt"
	"os"
	"path/filepath"
)

// Protect has the server speak TLS with a certificate; those who connect by TCP are known
// by the lines of pg_hba.conf. Certificates of clients are those that an authority has
// signed; empty: none counts.
func (s *Server) Protect(certFile, keyFile, clientAuthority string, lines ...string) {
	s.t.Helper()
	settings := map[string]string{"ssl_cert_file": certFile, "ssl_key_file": keyFile, "ssl_ca_file": clientAuthority}
	for name, file := range settings {
		place := ""
		if file != "" {
			text, err := os.ReadFile(file)
			check(s.t, err)
			place = filepath.Join(s.dir, name)
			check(s.t, os.WriteFile(place, text, 0o600))
			if s.as != nil {
				check(s.t, os.Chown(place, int(s.as.Credential.Uid), int(s.as.Credential.Gid)))
			}
		}
		Exec(s.t, s.DSN, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, place))
	}
	Exec(s.t, s.DSN, "ALTER SYSTEM SET ssl = on")
	s.AdmitBy(lines...)
}
