package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/core/config"
)

func examineConfig(t *testing.T, text string) string {
	t.Helper()
	c, err := config.Load([]byte(text + "\npermission_table: \"authenticated: [GET /]\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return notWell(Examine(context.Background(), Options{Config: c, Timeout: 10 * time.Second, Now: time.Now}))
}

// What real Kratos, Hydra, Redis and PostgreSQL are found to be is in e2e.
func TestProviderThatCannotBeUsedIsFound(t *testing.T) {
	fakes := http.NewServeMux()
	fakes.HandleFunc("/wants-credentials", func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != "right-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"active": false}`)
	})
	fakes.HandleFunc("/believes-all", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"active": true, "sub": "x", "aud": "a", "exp": %d}`, time.Now().Add(time.Hour).Unix())
	})
	fakes.HandleFunc("/op/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"issuer": "https://another.example.com", "authorization_endpoint": "https://x/a", "token_endpoint": "https://x/t"}`)
	})
	s := httptest.NewServer(fakes)
	defer s.Close()
	tls := httptest.NewTLSServer(fakes)
	defer tls.Close()
	introspection := func(url, settings string) string {
		return fmt.Sprintf("introspection: {introspection_endpoint: %q, audience: [a], introspection_endpoint_auth_method: client_secret_basic, client_id: gate%s}", url, settings)
	}
	signIn := fmt.Sprintf(`login: {oidc: {redirect_uri: "https://app.example.com/callback", session: {secret: ["0123456789abcdef0123456789abcdef"]}, providers: [{discovery: %q, issuer: "https://login.example.com", client_id: gate, client_secret: s}]}}`, s.URL+"/op/.well-known/openid-configuration")
	for name, c := range map[string]struct{ config, want string }{
		"the right secret":              {introspection(s.URL+"/wants-credentials", ", client_secret: right-secret"), ""},
		"a wrong secret":                {introspection(s.URL+"/wants-credentials", ", client_secret: wrong-secret"), "error provider: introspection"},
		"a server that believes all":    {introspection(s.URL+"/believes-all", ", client_secret: right-secret"), "error provider: an invented credential is accepted"},
		"a certificate of nobody known": {introspection(tls.URL+"/wants-credentials", ", client_secret: right-secret"), "certificate"},
		"another issuer":                {signIn, `error provider: the discovery document is of "https://another.example.com", and the setting issuer is "https://login.example.com"`},
	} {
		found := examineConfig(t, c.config)
		if !strings.Contains(found, c.want) || c.want == "" && found != "" || strings.Contains(found, "INCOMPLETE") || strings.Contains(found, "-secret") {
			t.Errorf("%s: found\n%s\nwant %s", name, found, c.want)
		}
	}
}
