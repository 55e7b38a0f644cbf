package signinimport_test

import (
	"strings"
	"testing"

	"gatehouse/core/config"
	"gatehouse/internal/signinimport"
)

// FuzzImport has what is made load, or makes nothing.
func FuzzImport(f *testing.F) {
	for _, text := range []string{
		kongBase, apisixBase, proxyBase, kongBase + "roles_required: [\"a b\", '\"']\nclaims_forbidden: [\"\\n\"]\ndomains: [\"\\\\\"]", apisixBase + "required_scopes: ['a,b', '']", proxyBase + "skip_auth_routes: ['GET=^/(a|b)$', '=', '!=']",
		"services: [{name: s, plugins: [{name: openid-connect, config: {issuer: 'https://i', client_id: [c], redirect_uri: ['https://a/b']}}]}]",
		"OAUTH2_PROXY_PROVIDER=oidc\nOAUTH2_PROXY_EMAIL_DOMAINS=*,.x", "--provider=oidc\n--email-domain=*", "providers: [{provider: oidc, clientID: c, oidcConfig: {issuerURL: 'https://i'}}]", "a = [1, {b = 2}]",
	} {
		f.Add(text)
	}
	o := signinimport.Options{RedirectURI: "https://app.example.com/callback"}
	f.Fuzz(func(t *testing.T, text string) {
		var drafts []*signinimport.Draft
		made := func(d *signinimport.Draft, err error) {
			if err == nil {
				drafts = append(drafts, d)
			}
		}
		if plugins, err := signinimport.Plugins([]byte(text)); err == nil {
			for _, p := range plugins[:min(3, len(plugins))] {
				made(signinimport.Kong(p.Values, o))
				made(signinimport.APISIX(p.Values, o))
			}
		}
		if values, err := signinimport.ReadOAuth2Proxy([]byte(text)); err == nil {
			made(signinimport.OAuth2Proxy(values, o))
		}
		for _, d := range drafts {
			made, err := d.YAML("Made.")
			if err != nil {
				continue // it is said, and nothing is written
			}
			if c, err := config.Load(made); err != nil || c.Login != nil && !strings.Contains(string(made), "$env://SESSION_SECRET") {
				t.Fatalf("%v\n%s", err, made)
			}
		}
	})
}
