package config

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation/receive"
)

const sharedSecret = "a-shared-secret-of-thirty-three-b"

// told is a configuration with sessions, which somebody may revoke.
func told(t *testing.T, kratos, endpoints string) string {
	return fmt.Sprintf(`
session: {kratos_url: %q, cache_ttl: 600}
revocation: {}
state_dir: %s
revocation_endpoints: {%s}
permission_table: "authenticated: [GET /me]"
`, kratos, t.TempDir(), endpoints)
}

func TestEventThatAnEndpointTakesIsInForceAtOnce(t *testing.T) {
	kratos := coretest.NewFakeKratos(t)
	clock := coretest.NewClock()
	kratos.Know("st", coretest.FakeSession{Document: coretest.SessionDocument(clock, map[string]any{"issued_at": clock.Now().Add(-1e9).Format("2006-01-02T15:04:05Z")})})
	b := NewBuilder(BuilderOptions{Now: clock.Now})
	raw := told(t, kratos.URL, "admin: {secret: "+sharedSecret+"}")
	gate, err := b.Gate([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	me := func(g *core.Gate) int {
		d := g.Check(t.Context(), &core.Request{Method: "GET", Target: "/me", Header: []core.Header{{Name: "X-Session-Token", Value: "st"}}})
		if d.Outcome == core.Allow {
			return 200
		}
		return d.Status
	}
	if got := me(gate); got != 200 {
		t.Fatalf("before: %d", got)
	}
	body := `{"kind": "subject", "value": "ada"}`
	d := gate.Check(t.Context(), &core.Request{
		Method: "POST", Target: "/revocations", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + sharedSecret}, {Name: "Content-Type", Value: "application/json"}},
		AskBody: func(int) ([]byte, error) { return []byte(body), nil },
	})
	if d.Status != 204 {
		t.Fatalf("%d %s", d.Status, d.Body)
	}
	if got := me(gate); got != 401 {
		t.Errorf("after: %d", got)
	}
	if got := b.RevocationMessages()[receive.Counted{Source: "admin", Result: receive.Kept}]; got != 1 {
		t.Errorf("%d messages are counted", got)
	}
	if again, err := b.Gate([]byte(raw)); err != nil || again != gate {
		t.Errorf("the same configuration makes another gate: %v", err)
	}
}

func TestRevocationEndpointsThatCannotServeAreErrors(t *testing.T) {
	hook := func(more string) string {
		return "webhooks: [{name: kratos, path: /hooks/kratos, secret: " + sharedSecret + more + "}]"
	}
	logout := func(issuers string) string { return "back_channel_logout: {issuers: [" + issuers + "]}" }
	for endpoints, want := range map[string]string{
		"":                       "revocation_endpoints: has no endpoint",
		"admin: {}":              "revocation_endpoints.admin.secret: is required",
		"admin: {secret: short}": "revocation_endpoints.admin.secret: has 5 bytes; want at least 32",
		"admin: {secret: $env://GATEHOUSE_TEST_UNSET}":                            "revocation_endpoints.admin.secret: the environment variable GATEHOUSE_TEST_UNSET is not set",
		"admin: {secret: " + sharedSecret + ", path: /a/../b}":                    "revocation_endpoints.admin.path: must be a path such as",
		"admin: {secret: " + sharedSecret + ", path: /}":                          "revocation_endpoints.admin.path: must be a path such as",
		"admin: {secret: " + sharedSecret + ", previous_secret: short}":           "revocation_endpoints.admin.previous_secret: has 5 bytes",
		"admin: {secret: " + sharedSecret + ", path: /hooks/kratos}, " + hook(""): "revocation_endpoints.admin.path: is that of revocation_endpoints.webhooks[0].path",
		hook(", header: Content-Length"):                                          "revocation_endpoints.webhooks[0].header: is not the name of a header that can hold a secret",
		hook(", header: 'a b'"):                                                   "revocation_endpoints.webhooks[0].header: is not the name",
		hook(", kinds: [session, issuer]"):                                        "revocation_endpoints.webhooks[0].issuer: is needed where kinds has issuer",
		hook(", kinds: [everybody]"):                                              "revocation_endpoints.webhooks[0].kinds[0]: must be one of",
		"webhooks: [{path: /a, secret: " + sharedSecret + "}]":                    "revocation_endpoints.webhooks[0].name: is required",
		"webhooks: [{name: 'a b', path: /a, secret: " + sharedSecret + "}]":       "revocation_endpoints.webhooks[0].name: must be a name of letters",
		"webhooks: [{name: a, path: /a, secret: " + sharedSecret + "}, {name: a, path: /b, secret: " + sharedSecret + "}]": "revocation_endpoints.webhooks[1].name: is that of another webhook",
		"back_channel_logout: {}":                                                                                            "revocation_endpoints.back_channel_logout.issuers: is required",
		logout("{issuer: 'https://a.test'}"):                                                                                 "revocation_endpoints.back_channel_logout.issuers[0].client_ids: is required",
		logout("{issuer: 'https://a.test', client_ids: ['']}"):                                                               "revocation_endpoints.back_channel_logout.issuers[0].client_ids[0]: is empty",
		logout("{issuer: a, client_ids: [web]}"):                                                                             "revocation_endpoints.back_channel_logout.issuers[0].issuer: must be a complete http or https URL",
		logout("{issuer: 'https://*.test', client_ids: [web]}"):                                                              "revocation_endpoints.back_channel_logout.issuers[0].issuer: holds *",
		logout("{issuer: 'https://a.test', client_ids: [web], algorithms: [HS256]}"):                                         "revocation_endpoints.back_channel_logout.issuers[0].algorithms[0]: must be one of",
		logout("{issuer: 'https://a.test', client_ids: [web], jwks_uri: 'https://a.test', jwks_file: /absent}"):              "revocation_endpoints.back_channel_logout.issuers[0].jwks_file: cannot be set beside jwks_uri",
		logout("{issuer: a, client_ids: [web], jwks_file: /absent}"):                                                         "revocation_endpoints.back_channel_logout.issuers[0].jwks_file: open /absent",
		logout("{issuer: 'https://a.test', client_ids: [web]}, {issuer: 'https://a.test', client_ids: [web]}"):               "revocation_endpoints.back_channel_logout.issuers[1].issuer: is listed twice",
		"shared_signals: {transmitters: [{issuer: 'https://a.test', audience: [x]}], previous_secret: " + sharedSecret + "}": "revocation_endpoints.shared_signals.previous_secret: needs secret",
		"shared_signals: {transmitters: [{issuer: 'https://a.test'}]}":                                                       "revocation_endpoints.shared_signals.transmitters[0].audience: is required",
		"admin: {secret: " + sharedSecret + "}, http: {ca_file: /absent}":                                                    "revocation_endpoints.http.ca_file: open /absent",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte(told(t, "http://127.0.0.1:1", endpoints)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", endpoints, err, want)
		}
		if err != nil && strings.Contains(err.Error(), sharedSecret) {
			t.Errorf("%s: the error holds the secret: %v", endpoints, err)
		}
	}
	_, err := NewBuilder(BuilderOptions{}).Gate([]byte(`
session: {kratos_url: "http://127.0.0.1:1"}
revocation_endpoints: {admin: {secret: ` + sharedSecret + `}}
permission_table: "public: []"
`))
	if err == nil || !strings.Contains(err.Error(), "revocation_endpoints: needs revocation") {
		t.Errorf("without revocation: %v", err)
	}
}

func TestChangedSecretOfAnEndpointMakesAnotherGate(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	raw := told(t, "http://127.0.0.1:1", "admin: {secret: $env://GATEHOUSE_TEST_SECRET}")
	gates := map[*core.Gate]bool{}
	for _, secret := range []string{sharedSecret, sharedSecret, sharedSecret + "-next"} {
		t.Setenv("GATEHOUSE_TEST_SECRET", secret)
		gate, err := b.Gate([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		gates[gate] = true
	}
	if len(gates) != 2 {
		t.Errorf("%d gates, want 2", len(gates))
	}
}
