package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/dev/ory"
)

// redirect is where Hydra sends the browser, to which nobody listens.
const redirect = "http://127.0.0.1:1/callback"

// GateOf are the settings of a gate that takes Hydra's tokens for the endpoint at a base URL.
// Its authorization server is the issuer without the slash at its end: Hydra responds with a
// redirect otherwise, and the SDK follows none to loopback.
func GateOf(hydra *ory.Hydra, base string) map[string]any {
	return map[string]any{
		"permission_table": Table,
		"mcp_max_body":     MaxBody,
		"introspection":    map[string]any{"introspection_endpoint": hydra.IntrospectionURL(), "issuer": hydra.Issuer(), "audience": []string{base + Path}},
		"resource_metadata": []any{
			map[string]any{"resource": base + Path, "authorization_servers": []string{hydra.PublicURL}, "scopes_supported": []string{"weather:read"}, "audience_required": true},
			map[string]any{"resource": base + "/other", "audience_required": true},
		},
	}
}

// person agrees at Hydra to what a client asks for.
type person struct {
	t       testing.TB
	hydra   *ory.Hydra
	browser ory.Browser
	// forResource: the consent heeds the resource that the client names.
	forResource bool
	// asked are the scopes and resources of each request.
	asked []string
}

// agree is what the SDK calls to have a person sign in.
func (p *person) agree(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", args.URL, nil)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	scopes := strings.Fields(query.Get("scope"))
	slices.Sort(scopes) // which the SDK has in any order
	p.asked = append(p.asked, strings.Join(scopes, " ")+" for "+query.Get("resource"))
	grant := ory.Grant{Subject: "ada", Scopes: scopes, ForResource: p.forResource}
	_, to, _, err := p.hydra.Visit(ctx, p.browser, args.URL, grant)
	if err != nil {
		return nil, err
	}
	back := to.Query()
	if back.Get("error") != "" {
		return nil, fmt.Errorf("%s: %s", back.Get("error"), back.Get("error_description"))
	}
	return &auth.AuthorizationResult{Code: back.Get("code"), State: back.Get("state"), Iss: back.Get("iss")}, nil
}

func newPerson(t testing.TB, hydra *ory.Hydra, forResource bool) *person {
	t.Helper()
	browser, err := ory.NewBrowser()
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, hydra: hydra, browser: browser, forResource: forResource}
}

// client is the SDK's, which signs in where it is refused and finds out by itself where.
func (p *person) client(base string) (*mcp.ClientSession, *responses, error) {
	p.t.Helper()
	registered, err := p.hydra.CreateClient(p.t.Context(), ory.Client{
		Public: true, Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"weather:read", "stations:delete"}, RedirectURIs: []string{redirect},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.connect(base, &auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: registered.ID, Issuer: p.hydra.Issuer()},
	})
}

// stranger is a client that nobody has registered: it finds where to register itself (RFC 7591), and
// signs in by the SDK. The SDK's own registration (v1.8.0) cannot read Hydra's response, whose
// jwks is an object.
func (p *person) stranger(base string) (*mcp.ClientSession, *responses, error) {
	p.t.Helper()
	var discovered struct {
		Endpoint string `json:"registration_endpoint"`
	}
	p.exchange("GET", p.hydra.PublicURL+"/.well-known/openid-configuration", "", &discovered)
	if discovered.Endpoint == "" {
		return nil, &responses{}, errors.New("nobody may register")
	}
	var registered struct {
		ID string `json:"client_id"`
	}
	status := p.exchange("POST", discovered.Endpoint, `{"redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_name":"agent","application_type":"native"}`, &registered)
	if status != http.StatusCreated {
		return nil, &responses{}, fmt.Errorf("the registration gets %d", status)
	}
	return p.connect(base, &auth.AuthorizationCodeHandlerConfig{PreregisteredClient: &oauthex.ClientCredentials{ClientID: registered.ID, Issuer: p.hydra.Issuer()}})
}

// exchange sends JSON and reads some.
func (p *person) exchange(method, url, body string, into any) (status int) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode < 300 {
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			p.t.Fatal(err)
		}
	}
	return response.StatusCode
}

// connect connects a client that signs in where it is refused.
func (p *person) connect(base string, config *auth.AuthorizationCodeHandlerConfig) (*mcp.ClientSession, *responses, error) {
	p.t.Helper()
	config.RedirectURL, config.AuthorizationCodeFetcher = redirect, p.agree
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		p.t.Fatal(err)
	}
	got := &responses{}
	client := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil)
	session, err := client.Connect(p.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: base + Path, HTTPClient: &http.Client{Transport: got}, MaxRetries: -1, OAuthHandler: handler,
	}, nil)
	if err == nil {
		p.t.Cleanup(func() { session.Close() })
	}
	return session, got, err
}

// statuses are those of what the client has got.
func (r *responses) statuses() (all []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, response := range r.all {
		all = append(all, response.StatusCode)
	}
	return all
}

// CheckSignIn has the client of the SDK, which knows the address of the endpoint alone, find
// Hydra, get a token for the resource, call a tool, be denied another, and step up to it.
func CheckSignIn(t *testing.T, base string, server *Server, hydra *ory.Hydra) {
	t.Helper()
	p := newPerson(t, hydra, true)
	session, got, err := p.client(base)
	if err != nil {
		t.Fatal(err)
	}
	metadata := `resource_metadata="` + base + "/.well-known/oauth-protected-resource" + Path + `"`
	first := got.all[0]
	if challenge := first.Header.Get("WWW-Authenticate"); first.StatusCode != http.StatusUnauthorized || !strings.Contains(challenge, metadata) {
		t.Errorf("the first call: %d, %s", first.StatusCode, challenge)
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: Weather}); err != nil || server.Ran(Weather) != 1 {
		t.Errorf("the tool of the first token: %v", err)
	}
	before := len(got.statuses())
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: DeleteAll}); err != nil || server.Ran(DeleteAll) != 1 {
		t.Errorf("the tool after the step-up: %v", err)
	}
	if statuses := got.statuses()[before:]; !slices.Equal(statuses, []int{403, 200}) {
		t.Errorf("the call with the step-up: %d", statuses)
	}
	if challenge := got.all[before].Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, `scope="stations:delete"`) || !strings.Contains(challenge, metadata) {
		t.Errorf("the denial: %s", challenge)
	}
	want := []string{"weather:read for " + base + Path, "stations:delete weather:read for " + base + Path}
	if !slices.Equal(p.asked, want) {
		t.Errorf("the client asks for %q, want %q", p.asked, want)
	}
}

// CheckRegistration has a client of which Hydra knows nothing register itself, sign in, call a
// tool, and be denied another whose scope it may not ask for. Where Hydra registers nobody, no
// such client gets in.
func CheckRegistration(t *testing.T, base string, server *Server, hydra *ory.Hydra, registers bool) {
	t.Helper()
	p := newPerson(t, hydra, true)
	session, got, err := p.stranger(base)
	if !registers {
		status := p.exchange("POST", hydra.PublicURL+"/oauth2/register", "{}", &struct{}{})
		if err == nil || len(p.asked) > 0 || status != http.StatusNotFound {
			t.Errorf("a client that nobody registers: %v, %d", err, status)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: Weather}); err != nil || server.Ran(Weather) != 1 {
		t.Errorf("the tool of a client that has registered itself: %v", err)
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: DeleteAll}); err == nil || server.Ran(DeleteAll) > 0 || got.last().StatusCode != http.StatusForbidden {
		t.Errorf("a tool whose scope the client may not ask for: %v, %d", err, got.statuses())
	}
}

// CheckTokenForNoResource signs in where the consent leaves the resource out, as Hydra itself
// does: the token is for nobody, and opens nothing.
func CheckTokenForNoResource(t *testing.T, base string, server *Server, hydra *ory.Hydra) {
	t.Helper()
	p := newPerson(t, hydra, false)
	_, got, err := p.client(base)
	if statuses := got.statuses(); err == nil || server.Ran(Weather) > 0 || !slices.Equal(statuses[:2], []int{401, 401}) {
		t.Errorf("a token for no resource: %v, %d", err, statuses)
	}
	if challenge := got.all[1].Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="invalid_token"`) || len(p.asked) != 1 {
		t.Errorf("a token for no resource: %s after %q", challenge, p.asked)
	}
}
