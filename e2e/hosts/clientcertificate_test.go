package hosts

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"

	"gatehouse/core/coretest"
)

// A caller with a certificate of a trusted authority needs no token, on every host; one with
// a certificate of another authority, or with a header that says so, is nobody.
func TestCallerWithACertificateNeedsNoTokenOnAnyHost(t *testing.T) {
	clock := coretest.NewClock()
	idp := coretest.NewFakeIntrospection(t)
	root := coretest.NewAuthority(t, clock, "machines", nil)
	robot, human := root.Client("robot-7", nil).TLS(), root.Client("human", nil).TLS()
	stranger := coretest.NewAuthority(t, clock, "machines", nil).Client("robot-7", nil).TLS()
	idp.Know("good", map[string]any{"active": true, "sub": "ada", "exp": 4102444800})
	config := map[string]any{
		"introspection":      map[string]any{"introspection_endpoint": idp.URL, "insecure_any_audience": true},
		"mtls":               map[string]any{"ca_certificates": []string{root.File()}, "subjects": []any{map[string]any{"common_name": "robot-*"}}},
		"client_certificate": map[string]any{"with_token": "refuse"},
		"permission_table":   "authenticated: [GET /me]",
	}
	eachHost(t, config, filepath.Join(tempDir, "clientcertificates.log"), func(t *testing.T, h *running) {
		for what, c := range map[string]struct {
			shows []tls.Certificate
			token string
			want  int
		}{
			"certificate":                      {[]tls.Certificate{robot}, "", 200},
			"certificate that no rule matches": {[]tls.Certificate{human}, "", 401},
			"of another authority":             {[]tls.Certificate{stranger}, "", 401},
			"nothing":                          {nil, "", 401},
			"token":                            {nil, "good", 200},
			"both":                             {[]tls.Certificate{robot}, "good", 400},
		} {
			for round := range 2 { // the second time with what is remembered
				r, err := http.NewRequest("GET", "http://app.test/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.token != "" {
					r.Header.Set("Authorization", "Bearer "+c.token)
				}
				if got := h.withCertificate(t, r, c.shows); got != c.want {
					t.Errorf("%s, round %d: status %d, want %d", what, round, got, c.want)
				}
			}
		}
	})
}
