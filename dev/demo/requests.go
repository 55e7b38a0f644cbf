package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"gatehouse/dev/demo/upstream"
)

// Request is one request that the demo shows, with the response that it should get.
type Request struct {
	Title  string
	Method string
	Path   string
	// Header holds values in which $NAME stands for a credential.
	Header map[string]string
	Status int
	// Received is what the upstream must receive, by header; an empty value
	// means that the header must not arrive.
	Received map[string]string
	// Responded is what the response's headers must hold, in part.
	Responded map[string]string
	// Body is what the gate itself responds, in part: the upstream receives nothing.
	Body string

	credentials map[string]string
}

// secrets are the credentials of the demo by the names that the shown
// requests use for them.
func (d *Demo) secrets() map[string]string {
	c := d.Credentials
	return map[string]string{
		"COOKIE": c.Session.Cookie, "BOB_COOKIE": c.BobSession.Cookie, "SESSION_TOKEN": c.AppSession.Token,
		"OPAQUE": c.Opaque.AccessToken, "JWT": c.JWT.AccessToken, "MACHINE": c.MachineOpaque.AccessToken, "REFRESH": c.Opaque.RefreshToken,
	}
}

// Environment is a shell script that sets the credentials and the gateways.
func (d *Demo) Environment() string {
	lines := []string{}
	for name, value := range d.secrets() {
		lines = append(lines, fmt.Sprintf("%s='%s'", name, value))
	}
	for _, g := range d.options.Gateways {
		lines = append(lines, fmt.Sprintf("%s='%s'", strings.ToUpper(g.Name), g.URL))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

// Requests are the requests of the demo, in the order in which they explain it.
func (d *Demo) Requests() []Request {
	ada, roles := d.Ada.ID, "editor"
	cookie := map[string]string{"Cookie": "ory_kratos_session=$COOKIE"}
	bearer := func(name string) map[string]string { return map[string]string{"Authorization": "Bearer $" + name} }
	requests := []Request{
		{Title: "public: anybody", Path: "/hello/public", Status: 200, Received: map[string]string{"X-User-Id": ""}},
		{Title: "public: a forged identity header does not arrive", Path: "/hello/public", Header: map[string]string{"X-User-Id": "root", "x_user_id": "root"}, Status: 200, Received: map[string]string{"X-User-Id": "", "X_User_Id": ""}},
		{Title: "no credential: 401", Path: "/users/123", Status: 401, Responded: map[string]string{"WWW-Authenticate": `resource_metadata="` + UsersMetadataURL + `"`}},
		{Title: "the metadata that the 401 names: where to get a token", Path: UsersMetadataPath, Status: 200, Responded: map[string]string{"Content-Type": "application/json"}, Body: `"resource":"` + UsersResource + `","authorization_servers":["http`},
		{Title: "a browser without a session: to the login page and back", Path: "/hello", Header: map[string]string{"Accept": "text/html"}, Status: 302, Responded: map[string]string{"Location": d.LoginURL() + "?return_to="}},
		{Title: "Kratos session cookie", Path: "/hello", Header: cookie, Status: 200, Received: map[string]string{"X-User-Id": ada, "X-User-Roles": roles, "X-User-Email": d.Ada.Email, "X-User-Tenant": "acme", "X-Auth-Kind": "session"}},
		{Title: "Kratos session token of an application", Path: "/world", Header: map[string]string{"X-Session-Token": "$SESSION_TOKEN"}, Status: 200, Received: map[string]string{"X-User-Id": ada, "X-Auth-Kind": "session"}},
		{Title: "opaque token, introspected at Hydra", Path: "/users/123", Header: bearer("OPAQUE"), Status: 200, Received: map[string]string{"X-User-Id": ada, "X-User-Tenant": "acme", "X-Auth-Kind": "introspection"}},
		{Title: "JWT, verified with Hydra's keys", Path: "/products/7", Header: bearer("JWT"), Status: 200, Received: map[string]string{"X-User-Id": ada, "X-Auth-Kind": "jwt"}},
		{Title: "the same JWT in a cookie", Path: "/products/7", Header: map[string]string{"Cookie": "jwt-token=$JWT"}, Status: 200, Received: map[string]string{"X-User-Id": ada, "X-Auth-Kind": "jwt"}},
		{Title: "a machine's token, by its scopes", Path: "/orders/1", Header: bearer("MACHINE"), Status: 200, Received: map[string]string{"X-User-Id": d.Machine.ID, "X-User-Permissions": "orders:read,products:read,users:read"}},
		{Title: "a scope that is missing: 403", Method: "POST", Path: "/users", Header: bearer("MACHINE"), Status: 403, Responded: map[string]string{"WWW-Authenticate": `error="insufficient_scope"`}},
		{Title: "a role that is missing: 403", Path: "/orders/1", Header: map[string]string{"Cookie": "ory_kratos_session=$BOB_COOKIE"}, Status: 403},
		{Title: "many activities in one permission, by regex", Path: "/users/api/v1/roles/editor/users", Header: cookie, Status: 200, Received: map[string]string{"X-User-Id": ada}},
		{Title: "a second factor is needed: 401", Method: "POST", Path: "/orders/1/cancel", Header: cookie, Status: 401, Responded: map[string]string{"WWW-Authenticate": `error="insufficient_user_authentication"`}},
		{Title: "a refresh token is no access token: 401", Path: "/users/123", Header: bearer("REFRESH"), Status: 401, Responded: map[string]string{"WWW-Authenticate": `error="invalid_token"`}},
		{Title: "two credentials: 400", Path: "/users/123", Header: map[string]string{"Authorization": "Bearer $OPAQUE", "X-Session-Token": "$SESSION_TOKEN"}, Status: 400},
		{Title: "a path with two readings: 400", Path: "/users/%2e%2e/hello", Header: cookie, Status: 400},
		{Title: "nothing covers the call: 403", Path: "/users/123/secrets", Header: cookie, Status: 403},
	}
	for i := range requests {
		requests[i].credentials = d.secrets()
		if requests[i].Method == "" {
			requests[i].Method = http.MethodGet
		}
	}
	return requests
}

// Curl is the request as a shell command.
func (t Request) Curl(base string) string {
	command := "curl -i --path-as-is"
	if t.Method != http.MethodGet {
		command += " -X " + t.Method
	}
	for _, name := range sortedNames(t.Header) {
		command += fmt.Sprintf(" -H \"%s: %s\"", name, t.Header[name])
	}
	return command + " " + base + t.Path
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Got is what came of a request.
type Got struct {
	Status int
	Header http.Header
	Body   []byte
	// Received is nil when the upstream received nothing.
	Received *upstream.Request
}

// Do makes the request at a gateway.
func (t Request) Do(ctx context.Context, g Gateway) (Got, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, t.Method, g.URL, nil)
	if err != nil {
		return Got{}, err
	}
	req.URL.Opaque = t.Path // as it is: net/url would clean it
	for name, value := range t.Header {
		for credential, secret := range t.credentials {
			value = strings.ReplaceAll(value, "$"+credential, secret)
		}
		req.Header[name] = []string{value}
	}
	response, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return Got{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return Got{}, err
	}
	got := Got{Status: response.StatusCode, Header: response.Header, Body: body}
	var received upstream.Request
	if json.Unmarshal(body, &received) == nil && received.Service != "" {
		got.Received = &received
	}
	return got, nil
}

// Check compares a response with what it should be.
func (t Request) Check(got Got) error {
	if got.Status != t.Status {
		return fmt.Errorf("status %d, want %d: %s", got.Status, t.Status, got.Body)
	}
	if (got.Received != nil) != (t.Status == http.StatusOK && t.Body == "") {
		return fmt.Errorf("the upstream received %v", got.Received)
	}
	if !strings.Contains(string(got.Body), t.Body) {
		return fmt.Errorf("body %s, want %s in it", got.Body, t.Body)
	}
	for name, want := range t.Received {
		values := strings.Join(got.Received.Values(name), " | ")
		if values != want {
			return fmt.Errorf("the upstream received %s: %q, want %q", name, values, want)
		}
	}
	for name, want := range t.Responded {
		if value := got.Header.Get(name); !strings.Contains(value, want) {
			return fmt.Errorf("responded with %s: %q, want %q in it", name, value, want)
		}
	}
	return nil
}

// Summary is what a person looks at first: the status, what the upstream
// received about the caller, or what the client got.
func (g Got) Summary(indent string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s-> %d %s\n", indent, g.Status, http.StatusText(g.Status))
	for _, name := range []string{"Location", "WWW-Authenticate"} {
		if value := g.Header.Get(name); value != "" {
			fmt.Fprintf(&b, "%s   %s: %s\n", indent, name, value)
		}
	}
	if g.Received == nil {
		return b.String()
	}
	fmt.Fprintf(&b, "%s   upstream %s received %s %s\n", indent, g.Received.Service, g.Received.Method, g.Received.Target)
	for _, line := range g.Received.Headers {
		if lower := strings.ToLower(line); strings.HasPrefix(lower, "x-user") || strings.HasPrefix(lower, "x-auth") {
			fmt.Fprintf(&b, "%s     %s\n", indent, line)
		}
	}
	return b.String()
}
