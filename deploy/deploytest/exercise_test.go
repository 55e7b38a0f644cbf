package deploytest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/apisix"
	"gatehouse/dev/demo"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/fixture"
	"gatehouse/dev/kong"
	"gatehouse/dev/ory/orytest"
)

var (
	tempDir    string
	pluginsFor = sync.OnceValues(func() (fixture.Plugins, error) { return fixture.BuildPlugins("../..", tempDir) })
	backends   fixture.Shared[*demo.Demo]
)

func TestMain(m *testing.M) {
	os.Exit(fixture.Main(m, "deploytest", &tempDir, func() {
		if made := backends.Made(); made != nil {
			made.Stop()
		}
	}))
}

func built(t *testing.T) fixture.Plugins {
	t.Helper()
	p, err := pluginsFor()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// theDemo is the backends of all examples.
func theDemo(t *testing.T) *demo.Demo {
	t.Helper()
	servers := orytest.Binaries(t)
	return backends.Get(t, func(testing.TB) (*demo.Demo, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		return demo.Start(ctx, demo.Options{Binaries: servers})
	})
}

// here replaces the names in examples by where things are in the test. Files
// beside an example are put where it looks for them.
func here(t *testing.T, d *demo.Demo, folder string) *strings.Replacer {
	t.Helper()
	pairs := []string{
		"https://auth.example.com/", d.Hydra.Issuer(),
		"https://login.example.com/self-service/login/browser", d.LoginURL(),
		"https://api.example.com", demo.Audience,
		"http://kratos:4433", d.Kratos.PublicURL,
		"http://hydra:4444", d.Hydra.PublicURL,
		"http://hydra:4445", d.Hydra.AdminURL,
	}
	for _, name := range demo.Names {
		host := strings.TrimPrefix(d.UpstreamURL(name), "http://")
		_, port, _ := strings.Cut(host, ":")
		pairs = append(pairs,
			name+":8080", host,
			"serviceName: "+name+"\n          servicePort: 8080", "serviceName: 127.0.0.1\n          servicePort: "+port,
			"name: "+name+"\n          port: 8080", "name: 127.0.0.1\n          port: "+port,
			"host: "+name+"\n          port: 8080", "host: 127.0.0.1\n          port: "+port,
		)
	}
	etc := t.TempDir()
	names := strings.NewReplacer(append(pairs, "/etc/gatehouse", etc)...)
	for _, file := range []string{"gatehouse.yaml", "permissions.yaml"} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err == nil {
			must(os.WriteFile(filepath.Join(etc, file), []byte(names.Replace(string(text))), 0o600))
		}
	}
	return names
}

// TestExamplesRespondAsDocumented loads every example of every tool into the local
// gateway and makes the requests that it names.
func TestExamplesRespondAsDocumented(t *testing.T) {
	for g, tools := range map[gateway][]tool{forKong: kongTools, forAPISIX: apisixTools} {
		for _, e := range examplesFor(t, g) {
			for _, tool := range tools {
				t.Run(g.name+"/"+e.name+"/"+tool.file, func(t *testing.T) { e.exercise(t, g, tool) })
			}
		}
	}
}

func (e example) exercise(t *testing.T, g gateway, tool tool) {
	d := theDemo(t)
	folder := g.folder(e)
	text, err := os.ReadFile(filepath.Join(folder, tool.file))
	if err != nil {
		t.Fatal(err)
	}
	document := tool.native(t, here(t, d, folder).Replace(string(text)))
	var log coretest.Log
	address := start(t, g, document, &log)
	denied, allowed := 0, 0
	for _, text := range e.requestsOn(g) {
		request, err := parseRequest(text)
		if err != nil {
			t.Fatal(err)
		}
		if request.status < 300 {
			allowed++
		} else {
			denied++
		}
		request.check(t, d, g, address)
		if request.own {
			discover(t, d, address, request.path)
		}
	}
	if denied == 0 || allowed == 0 {
		t.Errorf("%d requests are allowed and %d denied; want some of both", allowed, denied)
	}
	if t.Failed() {
		t.Log(log.String())
	}
}

// start runs the local gateway with the binary that the real one loads.
func start(t *testing.T, g gateway, document object, log *coretest.Log) (url string) {
	t.Helper()
	const secret = "INTROSPECTION_SECRET=a-secret"
	if g == forKong {
		k, err := kong.Start(kong.Options{
			Config: nativeFile(t, g, localKong(document)), PluginBinary: built(t).Kong, Listen: "127.0.0.1:0",
			Env: append(os.Environ(), secret), Log: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Stop)
		return k.URL()
	}
	a, err := apisix.Start(apisix.Options{
		Config: nativeFile(t, g, localAPISIX(document)), RunnerBinary: built(t).APISIX, Listen: "127.0.0.1:0",
		Env: []string{secret}, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Stop() })
	return a.URL()
}

// check makes the request and compares the response with what the example says.
func (y request) check(t *testing.T, d *demo.Demo, g gateway, address string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), y.method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = y.path // as it is: net/url would clean it
	subject := ""
	for _, name := range y.with {
		if toCall(request, name) {
			continue
		}
		known, ok := with(t, d)[name]
		if !ok {
			t.Fatalf("%q: %q is nothing a request can have", y.text, name)
		}
		known.set(request.Header)
		if known.subject != "" {
			subject = known.subject
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != y.status {
		t.Errorf("%q: status %d, %s", y.text, response.StatusCode, body)
		return
	}
	y.checkResponse(t, d, response, body, subject)
	// The local Kong has no cors plugin.
	if got := response.Header.Get("Access-Control-Allow-Origin"); g == forAPISIX && request.Header.Get("Origin") != "" && got != request.Header.Get("Origin") {
		t.Errorf("%q: the response is for the origin %q", y.text, got)
	}
}

func (y request) checkResponse(t *testing.T, d *demo.Demo, response *http.Response, body []byte, subject string) {
	t.Helper()
	var received upstream.Request
	served := json.Unmarshal(body, &received) == nil && received.Service != ""
	if want := y.status == http.StatusOK && y.method != http.MethodOptions && !y.own; served != want {
		t.Errorf("%q: the upstream was reached is %t, want %t", y.text, served, want)
	}
	if served {
		if got := strings.Join(received.Values("X-User-Id"), ", "); got != subject {
			t.Errorf("%q: the upstream received X-User-Id %q, want %q", y.text, got, subject)
		}
	}
	if y.status == http.StatusFound {
		location, err := url.Parse(response.Header.Get("Location"))
		if err != nil || !strings.HasPrefix(location.String(), d.LoginURL()+"?") {
			t.Errorf("%q: the browser is sent to %v (%v)", y.text, location, err)
		}
	}
}

// discover finds the authorization server as a client does that knows the URL of a
// resource alone: the 401 names the metadata, and these the issuer (RFC 9728
// section 5). The path is that of the metadata.
func discover(t *testing.T, d *demo.Demo, address, path string) {
	t.Helper()
	resource := strings.TrimPrefix(path, "/.well-known/oauth-protected-resource")
	call, err := http.NewRequestWithContext(t.Context(), "POST", address+resource, nil)
	if err != nil {
		t.Fatal(err)
	}
	toCall(call, "method tools/list")
	refused, err := http.DefaultClient.Do(call)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	_, named, _ := strings.Cut(refused.Header.Get("WWW-Authenticate"), `resource_metadata="`)
	named, _, _ = strings.Cut(named, `"`)
	if want := demo.Audience + path; named != want {
		t.Fatalf("the 401 names the metadata %q, want %q", named, want)
	}
	found, err := http.Get(address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Body.Close()
	var metadata struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
	}
	if err := json.NewDecoder(found.Body).Decode(&metadata); err != nil || found.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("the metadata are %s (%v)", found.Header.Get("Content-Type"), err)
	}
	if metadata.Resource != demo.Audience+resource || !slices.Equal(metadata.AuthorizationServers, []string{d.Hydra.Issuer()}) {
		t.Errorf("the metadata are %+v", metadata)
	}
}

// with are the credentials and other headers that requests name.
func with(t *testing.T, d *demo.Demo) map[string]struct {
	set     func(http.Header)
	subject string
} {
	type entry = struct {
		set     func(http.Header)
		subject string
	}
	header := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	cookie := func(value string) func(http.Header) { return header("Cookie", "ory_kratos_session="+value) }
	bearer := func(token string) func(http.Header) { return header("Authorization", "Bearer "+token) }
	c, agent := d.Credentials, agent.Get(t, func(testing.TB) (machine, error) { return newAgent(t.Context(), d) })
	return map[string]entry{
		"session cookie":           {cookie(c.Session.Cookie), d.Ada.ID},
		"viewer's session cookie":  {cookie(c.BobSession.Cookie), d.Bob.ID},
		"forged session cookie":    {cookie("MTIzNDU2"), ""},
		"session token":            {header("X-Session-Token", c.AppSession.Token), d.Ada.ID},
		"opaque token":             {bearer(c.Opaque.AccessToken), d.Ada.ID},
		"token for users only":     {bearer(c.UsersOnly.AccessToken), d.Ada.ID},
		"machine's token":          {bearer(c.MachineOpaque.AccessToken), d.Machine.ID},
		"refresh token":            {bearer(c.Opaque.RefreshToken), ""},
		"JWT":                      {bearer(c.JWT.AccessToken), d.Ada.ID},
		"ID token":                 {bearer(c.JWT.IDToken), ""},
		"token for the MCP server": {bearer(agent.token.AccessToken), agent.client.ID},
		"forged JWT":               {bearer(forged(c.JWT.AccessToken)), ""},
		"browser":                  {header("Accept", "text/html"), ""},
		"forged X-User-Id":         {header("X-User-Id", "root"), ""},
		"partner's key":            {header("apikey", "a-secret"), ""}, // which the local gateways do not check
		"from the application":     {header("Origin", "https://app.example.com"), ""},
		"preflight": {func(h http.Header) {
			h.Set("Origin", "https://app.example.com")
			h.Set("Access-Control-Request-Method", "GET")
			h.Set("Access-Control-Request-Headers", "authorization")
		}, ""},
	}
}

// forged is a JWT with another's signature.
func forged(token string) string {
	i := strings.LastIndexByte(token, '.')
	return token[:i+1] + strings.Repeat("A", len(token)-i-1)
}
