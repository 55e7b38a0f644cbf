// Package oidcprovider runs the package oidc-provider of npm, a certified OpenID provider,
// for tests, and has people sign in there.
package oidcprovider

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/npm"
	"gatehouse/dev/ports"
)

//go:embed provider.mjs
var script []byte

// Options of a provider.
type Options struct {
	// Clients are its clients, as of OpenID Connect Dynamic Client Registration 1.0.
	Clients []any
	// Google shapes it like Google's: no pushed requests, no logout, no iss in responses,
	// max_age and prompt=login without effect, a refresh token for access_type=offline with
	// prompt=consent alone.
	Google bool
	// StepsUp has it do what acr_values ask for.
	StepsUp bool
	// AccessTokenSeconds is how long an access token lasts. Default 300.
	AccessTokenSeconds int
	// SecretJWT has it take client_secret_jwt.
	SecretJWT bool
	// BoundTo are the resources for which machines get tokens, bound by DPoP where they
	// prove a key, and to the certificate of clients that ask for it where there is TLS: JWTs for the first one, opaque tokens, which it introspects, for the rest.
	BoundTo []string
	// TLS has it listen by HTTPS and know clients by their certificate.
	TLS *TLS
}

// TLS are files of PEM: a certificate for 127.0.0.1 with its key, and who signs those of
// clients.
type TLS struct {
	CertFile    string `json:"cert"`
	KeyFile     string `json:"key"`
	ClientsFile string `json:"ca"`
}

// Provider is one that runs.
type Provider struct{ Issuer string }

// Discovery is the URL of its discovery document.
func (p Provider) Discovery() string { return p.Issuer + "/.well-known/openid-configuration" }

// Start runs it until the test ends.
func Start(t testing.TB, o Options) Provider {
	t.Helper()
	modules, node := npm.Modules(t)
	path := filepath.Join(modules, fmt.Sprintf("provider-%x.mjs", sha256.Sum256(script))) // beside its libraries
	if err := os.WriteFile(path, script, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Release)
	p := Provider{"http://" + held.Addr()}
	if o.TLS != nil {
		p.Issuer = "https://" + held.Addr()
	}
	settings, err := json.Marshal(map[string]any{
		"port": held.Port(), "issuer": p.Issuer, "clients": append([]any{}, o.Clients...), "google": o.Google, "stepsUp": o.StepsUp, "tls": o.TLS,
		"secretJWT": o.SecretJWT, "resources": o.BoundTo,
		"seconds": cmp.Or(o.AccessTokenSeconds, 300),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.run(t, exec.Command(node, path), string(settings))
	return p
}

func (p Provider) run(t testing.TB, command *exec.Cmd, settings string) {
	t.Helper()
	var log bytes.Buffer
	command.Env, command.Stderr = append(os.Environ(), "SETTINGS="+settings), &log
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("oidc-provider: %s", log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "listening" {
			go func() {
				for lines.Scan() { // so that it never waits for a reader
				}
			}()
			return
		}
	}
	t.Fatal("oidc-provider does not listen")
}

// Person is somebody with a browser, who signs in wherever a form asks for a name, and
// confirms what a form asks for.
type Person struct {
	t      testing.TB
	name   string
	client *http.Client
}

// NewPerson has a browser without any cookie.
func NewPerson(t testing.TB, name string) *Person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Person{t, name, &http.Client{Timeout: time.Minute, Jar: jar, CheckRedirect: stay}}
}

// Trust has the browser use a transport, such as one that knows an authority.
func (p *Person) Trust(transport http.RoundTripper) { p.client.Transport = transport }

var (
	action = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	prompt = regexp.MustCompile(`name="prompt" value="([^"]*)"`)
)

// Visit goes on from an address until the browser is led to a client, whose addresses
// begin so: by a redirect, or by a form that it would post.
func (p *Person) Visit(address, client string) (method string, to *url.URL, form url.Values) {
	p.t.Helper()
	method = http.MethodGet
	for range 20 {
		to, method, form = p.step(method, address, form)
		if strings.HasPrefix(to.String(), client) {
			return method, to, form
		}
		address = to.String()
	}
	p.t.Fatalf("the browser goes round and round: %s", address)
	return "", nil, nil
}

func (p *Person) step(method, address string, form url.Values) (to *url.URL, next string, filled url.Values) {
	p.t.Helper()
	status, page, to := p.fetch(method, address, form)
	if to != nil {
		return to, http.MethodGet, nil
	}
	found := action.FindStringSubmatch(page)
	if found == nil {
		p.t.Fatalf("%s responds with %d: %s", address, status, page)
	}
	base, err := url.Parse(address)
	if err == nil {
		to, err = base.Parse(html.UnescapeString(found[1]))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return to, http.MethodPost, p.filledIn(page)
}

func (p *Person) fetch(method, address string, form url.Values) (status int, page string, to *url.URL) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		p.t.Fatal(err)
	}
	to, _ = response.Location()
	return response.StatusCode, body.String(), to
}

func (p *Person) filledIn(page string) url.Values {
	form := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	if found := prompt.FindStringSubmatch(page); found != nil {
		form.Set("prompt", found[1])
	}
	form.Set("login", p.name)
	form.Set("password", "any")
	return form
}

// SignOut ends the session of the browser at the provider, which then tells its clients.
func (p *Person) SignOut(at Provider) {
	p.t.Helper()
	to, method, form := p.step(http.MethodGet, at.Issuer+"/session/end", nil)
	form.Set("logout", "yes")
	p.fetch(method, to.String(), form)
}
