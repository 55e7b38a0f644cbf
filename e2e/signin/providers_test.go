package signin

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
	"gatehouse/dev/authority"
	"gatehouse/dev/oidcprovider"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

const callback = "http://127.0.0.1:1/callback"

func provider(t *testing.T, o oidc.Options) *oidc.Provider {
	t.Helper()
	client, err := idp.New(idp.Options{Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	o.Client, o.RedirectURI = client, callback
	p, err := oidc.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signIn has a browser sign in and return to the gate.
func signIn(t *testing.T, p *oidc.Provider, d oidc.Demand, visit func(address string) (string, *url.URL, url.Values)) (*session.Session, error) {
	t.Helper()
	a := oidc.NewAttempt(d)
	address, err := p.AuthorizationURL(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	method, to, form := visit(address)
	text := to.RawQuery
	if method == http.MethodPost {
		text = form.Encode()
	}
	if posts := p.ResponseMode() == oidc.FormPost; posts != (method == http.MethodPost) {
		t.Errorf("response_mode %s is answered by %s", p.ResponseMode(), method)
	}
	response, err := oidc.ParseResponse(text)
	if err != nil {
		t.Fatal(err)
	}
	if response.State != a.State {
		t.Fatalf("state %q, want %q", response.State, a.State)
	}
	return p.SignIn(t.Context(), a, response)
}

// assertionKey is a key for private_key_jwt, as PEM and as the JWKS of the client.
func assertionKey(t *testing.T) (*clientauth.Key, map[string]any) {
	t.Helper()
	k := coretest.NewKey(t, "", "ES256")
	der, err := x509.MarshalECPrivateKey(k.Private.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := clientauth.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return parsed, map[string]any{"keys": []any{coretest.Merged(k.JWK(t), map[string]any{"kid": "gate"})}}
}

func checkSession(t *testing.T, name string, p *oidc.Provider, s *session.Session, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if s.Subject != "ada" || s.Issuer != p.Issuer() || s.IDToken == "" || s.AccessToken == "" || s.AuthenticatedAt.IsZero() || !s.TokenExpires.After(time.Now()) {
		t.Errorf("%s: %+v", name, s)
	}
	if s.RefreshToken == "" {
		t.Fatalf("%s: no refresh token", name)
	}
	renewed, err := p.Renew(t.Context(), s)
	if err != nil {
		t.Fatalf("%s: renewal: %v", name, err)
	}
	if renewed.AccessToken == s.AccessToken || renewed.Subject != "ada" {
		t.Errorf("%s: renewed %+v", name, renewed)
	}
	if renewed.RefreshToken == s.RefreshToken {
		t.Errorf("%s: the refresh token is not rotated", name)
	}
	if _, err := p.Renew(t.Context(), s); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("%s: a refresh token that is used twice: %v", name, err)
	}
}

func TestHydraSignsPeopleIn(t *testing.T) {
	h := orytest.Hydra(t, ory.HydraConfig{})
	key, jwks := assertionKey(t)
	for name, c := range map[string]struct {
		client ory.Client
		how    clientauth.Options
		mode   string
	}{
		"client_secret_basic":                     {ory.Client{}, clientauth.Options{}, oidc.Query},
		"client_secret_post by form_post":         {ory.Client{AuthMethod: clientauth.SecretPost}, clientauth.Options{Method: clientauth.SecretPost}, oidc.FormPost},
		"public client":                           {ory.Client{Public: true}, clientauth.Options{}, oidc.Query},
		"private_key_jwt with the token endpoint": {ory.Client{AuthMethod: clientauth.PrivateKeyJWT, JWKS: jwks}, clientauth.Options{Method: clientauth.PrivateKeyJWT, Key: key, Audience: clientauth.TokenEndpoint}, oidc.FormPost},
	} {
		c.client.Grants, c.client.Scopes = []string{"authorization_code", "refresh_token"}, []string{"openid", "offline", "email"}
		c.client.RedirectURIs = []string{callback}
		c.client.PostLogoutRedirectURIs = []string{"http://127.0.0.1:1/bye"}
		client, err := h.CreateClient(t.Context(), c.client)
		if err != nil {
			t.Fatal(err)
		}
		if c.how.Key == nil {
			c.how.Secret = client.Secret
		}
		p := provider(t, oidc.Options{
			Name: "hydra", Discovery: h.PublicURL + "/.well-known/openid-configuration", ClientID: client.ID, Authentication: c.how,
			Scopes: client.Scopes, ResponseMode: c.mode, UserInfo: true,
		})
		browser, err := ory.NewBrowser()
		if err != nil {
			t.Fatal(err)
		}
		visit := func(address string) (string, *url.URL, url.Values) {
			grant := ory.Grant{Subject: "ada", Scopes: client.Scopes, IDToken: map[string]any{"email": "ada@example.test"}}
			method, to, form, err := h.Visit(context.Background(), browser, address, grant)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return method, to, form
		}
		s, err := signIn(t, p, oidc.Demand{}, visit)
		checkSession(t, name, p, s, err)
		if s.ProviderSession == "" || s.Claims["email"] != "ada@example.test" {
			t.Errorf("%s: %+v", name, s)
		}
		logout, err := p.LogoutURL(t.Context(), s, "http://127.0.0.1:1/bye")
		if err != nil || !strings.HasPrefix(logout, h.PublicURL+"/oauth2/sessions/logout?") {
			t.Errorf("%s: logout at %q, %v", name, logout, err)
		}
	}
}

func npmClient(id, method string, changes map[string]any) map[string]any {
	return coretest.Merged(map[string]any{
		"client_id": id, "client_secret": "a secret of a test client, long enough", "redirect_uris": []string{callback},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": method,
		"post_logout_redirect_uris": []string{"http://127.0.0.1:1/bye"},
	}, changes)
}

func TestCertifiedProviderSignsPeopleIn(t *testing.T) {
	key, jwks := assertionKey(t)
	const secret = "a secret of a test client, long enough"
	clients := map[bool][]any{}
	cases := map[string]struct {
		google  bool
		changes map[string]any
		how     clientauth.Options
		mode    string
	}{
		"client_secret_basic":                {false, nil, clientauth.Options{Method: clientauth.SecretBasic, Secret: secret}, oidc.Query},
		"private_key_jwt with the issuer":    {false, map[string]any{"jwks": jwks, "client_secret": nil, "token_endpoint_auth_signing_alg": "ES256"}, clientauth.Options{Method: clientauth.PrivateKeyJWT, Key: key}, oidc.FormPost},
		"public client":                      {false, map[string]any{"client_secret": nil}, clientauth.Options{Method: clientauth.None}, oidc.FormPost},
		"shaped like Google, without pushed": {true, nil, clientauth.Options{Method: clientauth.SecretPost, Secret: secret}, oidc.Query},
	}
	for name, c := range cases {
		clients[c.google] = append(clients[c.google], npmClient(name, c.how.Method, c.changes))
	}
	servers := map[bool]oidcprovider.Provider{}
	for google, clients := range clients {
		servers[google] = oidcprovider.Start(t, oidcprovider.Options{Google: google, Clients: clients})
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := servers[c.google]
			o := oidc.Options{
				Name: "npm", Discovery: n.Discovery(), ClientID: name, Authentication: c.how, Scopes: []string{"openid", "email", "profile"},
				ResponseMode: c.mode, UserInfo: true, ACRLevels: map[string]string{"urn:test:two": "aal2"},
			}
			if o.PushedRequests = oidc.PushAlways; c.google {
				o.PushedRequests, o.Parameters = "", map[string]string{"access_type": "offline", "prompt": "consent"}
			}
			p := provider(t, o)
			ada := oidcprovider.NewPerson(t, "ada")
			visit := func(address string) (string, *url.URL, url.Values) {
				if pushed := strings.Contains(address, "request_uri="); pushed == c.google {
					t.Errorf("pushed: %v", pushed)
				}
				return ada.Visit(address, callback)
			}
			s, err := signIn(t, p, oidc.Demand{}, visit)
			checkSession(t, name, p, s, err)
			if s.Claims["email"] != "ada@example.test" || s.Claims["name"] != "ada" {
				t.Errorf("claims %v", s.Claims)
			}
			if strings.Count(s.AccessToken, ".") > 0 {
				t.Error("the access token is not opaque")
			}
			recent, err := signIn(t, p, oidc.Demand{MaxAge: -1}, visit)
			if err != nil || recent.AuthenticatedAt.Before(s.AuthenticatedAt) {
				t.Errorf("a new sign-in by prompt=login: %+v, %v", recent, err)
			}
			if _, err := signIn(t, p, oidc.Demand{AAL: "aal2"}, visit); err == nil || !errors.Is(err, core.ErrInvalid) {
				t.Errorf("a step-up that the provider does not do: %v", err)
			}
			logout, err := p.LogoutURL(t.Context(), s, "http://127.0.0.1:1/bye")
			if err != nil || (logout == "") != c.google {
				t.Errorf("logout at %q, %v", logout, err)
			}
			if !c.google {
				if _, to, _ := ada.Visit(logout, "http://127.0.0.1:1/"); to.Path != "/bye" {
					t.Errorf("the logout leads to %s", to)
				}
			}
		})
	}
}

// A provider that knows its client by the certificate of the connection (RFC 8705).
func TestCertifiedProviderKnowsTheGateByItsCertificate(t *testing.T) {
	ca := authority.New(t)
	o := oidcprovider.Options{TLS: &oidcprovider.TLS{ClientsFile: ca.File}}
	o.TLS.CertFile, o.TLS.KeyFile = ca.Issue(t, "provider", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	o.Clients = []any{npmClient("gate", clientauth.TLS, map[string]any{"client_secret": nil, "tls_client_auth_subject_dn": "CN=gate"})}
	n := oidcprovider.Start(t, o)
	withCertificate := func(from *authority.Authority, name string) *oidc.Provider {
		cert, key := from.Issue(t, name, nil)
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		client, err := idp.New(idp.Options{Timeout: 30 * time.Second, CAFile: ca.File, Certificate: &own})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		p, err := oidc.New(oidc.Options{
			Name: "npm", Discovery: n.Discovery(), ClientID: "gate", Authentication: clientauth.Options{Method: clientauth.TLS}, Client: client, RedirectURI: callback, UserInfo: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ada := oidcprovider.NewPerson(t, "ada")
	ada.Trust(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}})
	p := withCertificate(ca, "gate")
	s, err := signIn(t, p, oidc.Demand{}, func(address string) (string, *url.URL, url.Values) { return ada.Visit(address, callback) })
	checkSession(t, "the certificate of the client", p, s, err)
	for name, p := range map[string]*oidc.Provider{"of another client": withCertificate(ca, "other"), "of another authority": withCertificate(authority.New(t), "gate")} {
		if _, err := p.AuthorizationURL(t.Context(), oidc.NewAttempt(oidc.Demand{})); err == nil || !strings.Contains(err.Error(), "invalid_client") {
			t.Errorf("a certificate %s: %v", name, err)
		}
	}
}
