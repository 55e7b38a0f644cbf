package forwardauth

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"go.yaml.in/yaml/v3"

	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/oidcprovider"
	"gatehouse/dev/ports"
	"gatehouse/e2e/vector"
)

// composed is deploy/traefik/compose.yaml without containers: the same command line,
// settings, labels and services, at addresses of this machine.
type composed struct {
	site    string // base URL, for browsers
	listen  string // host:port of Traefik
	foo     *upstream.Server
	bar     *upstream.Server
	service *process
}

// composeFile is what is read of a compose file.
type composeFile struct {
	Name     string
	Services map[string]struct {
		Command  []string
		Labels   []string
		Networks yaml.Node
	}
}

// networksOf are the names of the networks of a service, as Docker calls them.
func (f composeFile) networksOf(service string) (names []string) {
	list := f.Services[service].Networks
	for i, node := range list.Content {
		if list.Kind == yaml.SequenceNode || i%2 == 0 {
			names = append(names, f.Name+"_"+node.Value)
		}
	}
	return names
}

// replaced reads a file of deploy/traefik and writes it with other addresses.
func replaced(t *testing.T, dir, file string, pairs ...string) {
	t.Helper()
	text, err := shipped("traefik/"+file, pairs...)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// address is a loopback address of a container's own, at which it has the port that
// its labels name.
func address() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
}

func compose(t *testing.T) *composed {
	t.Helper()
	traefik, err := named(t, "traefik").find()
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := ports.Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	c := &composed{listen: addresses[0], site: strings.Replace("http://"+addresses[0], "127.0.0.1", "localhost", 1)}
	provider := oidcprovider.Start(t, oidcprovider.Options{Google: true, Clients: []any{map[string]any{
		"client_id": "replace-me.apps.googleusercontent.com", "client_secret": "a secret of a client",
		"redirect_uris": []string{c.site + "/rbac/callback"}, "grant_types": []string{"authorization_code"},
	}}})
	dir, at := t.TempDir(), map[string]string{}
	for _, name := range []string{"forwardauth", "foo", "bar"} {
		at[name] = address()
	}
	if c.foo, err = upstream.Start("foo", at["foo"]+":8080"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.foo.Close)
	if c.bar, err = upstream.Start("bar", at["bar"]+":8080"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.bar.Close)

	replaced(t, dir, "forwardauth.yaml", "0.0.0.0:4180", at["forwardauth"]+":4180", "172.30.44.2", "127.0.0.0/8", "/etc/gatehouse", dir)
	replaced(t, dir, "gatehouse.yaml", "https://accounts.google.com", provider.Issuer, "http://localhost:8000", c.site)
	binary, err := binaryFor()
	if err != nil {
		t.Fatal(err)
	}
	if c.service, err = startProcess("gatehouse-forwardauth", dir, at["forwardauth"]+":4180", "/usr/bin/env",
		"GOOGLE_CLIENT_SECRET=a secret of a client", "SESSION_SECRET="+strings.Repeat("s", 32), binary, "-verbose", "-config", filepath.Join(dir, "forwardauth.yaml")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.service.stop)
	c.startTraefik(t, traefik, dir, addresses[1], at)
	return c
}

// The variables of the compose file are empty unless somebody sets them: no session may be
// encrypted with a secret that everybody knows.
func TestServiceOfTheComposeFileDoesNotStartWithoutSecrets(t *testing.T) {
	dir := t.TempDir()
	replaced(t, dir, "forwardauth.yaml", "/etc/gatehouse", dir)
	replaced(t, dir, "gatehouse.yaml")
	if _, err := shipped("traefik/compose.yaml", "GOOGLE_CLIENT_SECRET: ${GOOGLE_CLIENT_SECRET:-}\n", "", "SESSION_SECRET: ${SESSION_SECRET:-}\n", ""); err != nil {
		t.Error(err)
	}
	binary, err := binaryFor()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ client, session, says string }{
		{"", strings.Repeat("s", 32), "GOOGLE_CLIENT_SECRET"}, {"x", "", "SESSION_SECRET"}, {"x", "too short", "has 9 bytes; want at least 32"},
	} {
		check := exec.Command(binary, "-check", "-config", filepath.Join(dir, "forwardauth.yaml"))
		check.Env = []string{"GOOGLE_CLIENT_SECRET=" + c.client, "SESSION_SECRET=" + c.session}
		if out, err := check.CombinedOutput(); err == nil || !strings.Contains(string(out), c.says) {
			t.Errorf("%+v: %v, %s", c, err, out)
		}
	}
}

// startTraefik starts it with the command line of its container. Docker tells it of the
// others.
func (c *composed) startTraefik(t *testing.T, binary, dir, ping string, at map[string]string) {
	t.Helper()
	// Docker resolves the names of services.
	text, err := shipped("traefik/compose.yaml", "http://forwardauth:4180", "http://"+at["forwardauth"]+":4180")
	var file composeFile
	if err = errors.Join(err, yaml.Unmarshal([]byte(text), &file)); err != nil {
		t.Fatal(err)
	}
	var containers []container
	for name, service := range file.Services {
		labels := map[string]string{}
		for _, label := range service.Labels {
			key, value, _ := strings.Cut(label, "=")
			labels[key] = value
		}
		networks := map[string]string{}
		for _, network := range file.networksOf(name) {
			networks[network] = at[name]
		}
		containers = append(containers, container{name, labels, networks})
	}
	args := slices.Clone(file.Services["traefik"].Command)
	listens := slices.Index(args, "--entryPoints.web.address=:8000")
	if listens < 0 {
		t.Fatalf("Traefik listens elsewhere: %q", args)
	}
	args[listens] = "--entryPoints.web.address=" + c.listen
	args = append(args, "--providers.docker.endpoint="+fakeDocker(t, containers...), "--entryPoints.traefik.address="+ping, "--entryPoints.web.transport.lifeCycle.graceTimeOut=1ms")
	proxy, err := startProcess("traefik", dir, c.listen, binary, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.stop)
	for end := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) { // until Traefik has read its routers
		if response, _ := c.send(t, "/foo/public"); response.Status == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no route to foo\n%s", proxy.log.String())
		}
	}
}

func (c *composed) send(t *testing.T, target string, lines ...string) (vector.Response, *upstream.Request) {
	t.Helper()
	c.foo.Forget()
	request := "GET " + target + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(c.site, "http://") + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
	response, err := vector.Send(t.Context(), c.listen, []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	if received := c.foo.Received(); len(received) > 0 {
		return response, &received[0]
	}
	return response, nil
}

// cookies are those that a browser keeps for the site, by name.
func (c *composed) cookies(b *browsertest.Browser) map[string]*network.Cookie {
	found := map[string]*network.Cookie{}
	for _, cookie := range b.Cookies(c.site) {
		if strings.HasPrefix(cookie.Name, "__Host-gatehouse") {
			found[cookie.Name] = cookie
		}
	}
	return found
}

// checkKept wants the cookies of the sign-in as no script, no other site and no plain
// connection of another host gets them.
func checkKept(t *testing.T, cookies map[string]*network.Cookie) {
	t.Helper()
	attempts := 0
	for name, k := range cookies {
		if !k.HTTPOnly || !k.Secure || k.SameSite != "Lax" || k.Path != "/" || k.Domain != "localhost" {
			t.Errorf("the browser keeps %s with http-only %t, secure %t, same-site %s, path %s, domain %s", name, k.HTTPOnly, k.Secure, k.SameSite, k.Path, k.Domain)
		}
		if strings.HasPrefix(name, "__Host-gatehouse_signin_") {
			attempts++
			if k.Session || k.Expires > float64(time.Now().Add(5*time.Minute+time.Second).Unix()) {
				t.Errorf("the browser keeps an attempt until %f", k.Expires)
			}
		}
	}
	if session := cookies[sessionCookie]; session == nil || !session.Session || attempts != 1 {
		t.Errorf("the browser keeps %v", slices.Sorted(maps.Keys(cookies)))
	}
}

// signInAsAda fills in the forms of the provider.
func signInAsAda(b *browsertest.Browser) {
	b.Fill("login", "ada")
	b.Fill("password", "any")
	b.Click("button[type=submit]")
	b.WaitHeading("Authorize")
	b.Click("button[type=submit]")
}

// TestForwardAuthBehindTraefik is system 4: Traefik asks before each request to the
// services foo and bar, people sign in at a provider like Google, and the services learn
// who they are from X-Auth-User.
func TestForwardAuthBehindTraefik(t *testing.T) {
	c := compose(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.service.log.String())
		}
	})

	t.Log("a visitor in a browser signs in and is back")
	b := browsertest.New(t)
	b.Open(c.site + "/foo?page=1")
	signInAsAda(b)
	b.WaitText("/foo?page=1")
	b.WaitText("X-Auth-User: ada")
	b.WaitText("X-User-Email: ada@example.test")
	b.Screenshot("traefik-foo")
	kept := c.cookies(b)
	checkKept(t, kept)

	t.Log("the other application knows who it is, and the button leads back to the page")
	b.Open(c.site + "/bar")
	b.WaitText("X-Auth-User: ada")
	b.Back()
	b.WaitText("/foo?page=1")
	b.Back() // to the forms of the provider, which are over
	b.Open(c.site + "/foo?page=2")
	b.WaitText("/foo?page=2")

	t.Log("foo learns who called, from Gatehouse alone")
	session := "Cookie: " + sessionCookie + "=" + kept[sessionCookie].Value
	_, got := c.send(t, "/foo/items/1", session, "X-Auth-User: root", "X_Auth_User: root", "X-User-Email: root@example.test")
	if got == nil {
		t.Fatal("Ada is refused")
	}
	for name, value := range map[string]string{"X-Auth-User": "ada", "X-User-Email": "ada@example.test"} {
		if lines := alike(got, name); len(lines) != 1 || !slices.Equal(got.Values(name), []string{value}) {
			t.Errorf("foo received %q, want exactly %s: %s", lines, name, value)
		}
	}

	t.Log("the public page needs no sign-in")
	if _, got := c.send(t, "/foo/public", "X-Auth-User: root"); got == nil || len(alike(got, "X-Auth-User")) > 0 {
		t.Errorf("foo received %v", got)
	}

	t.Log("programs get a 401, and what no rule covers a 403")
	for what, c2 := range map[string]struct {
		target, line string
		status       int
	}{
		"no session":                   {"/foo", "Accept: */*", 401},
		"made up session":              {"/foo", "Cookie: " + sessionCookie + "=x", 401},
		"made up user":                 {"/foo", "X-Auth-User: ada", 401},
		"another page":                 {"/foo/else", session, 403},
		"the endpoint of Traefik":      {"/auth/traefik", session, 404},
		"beside the pages":             {"/rbac/login/", session, 404},
		"another spelling of the page": {"/RBAC/login", session, 404},
		"a program at the start":       {"/rbac/login", "Accept: */*", 401},
		"a callback without a start":   {"/rbac/callback?code=x&state=y", "Accept: text/html", 401},
	} {
		if response, got := c.send(t, c2.target, c2.line); got != nil || response.Status != c2.status {
			t.Errorf("%s: status %d, foo received %v", what, response.Status, got)
		}
	}

	t.Log("after the logout no copy of the cookie counts")
	b.Open(c.site + "/rbac/logout")
	b.WaitHeading("You are signed out")
	if left := c.cookies(b); len(left) > 0 {
		t.Errorf("the browser keeps %v", slices.Sorted(maps.Keys(left)))
	}
	if response, got := c.send(t, "/foo", session, "Accept: */*"); got != nil || response.Status != http.StatusUnauthorized {
		t.Errorf("a copy of the cookie: %d", response.Status)
	}

	t.Log("the start page leads to the other application, without forms where the provider still knows the browser")
	b.Open(c.site + "/rbac/login?return_to=%2Fbar")
	b.WaitText("X-Auth-User: ada")
	checkKept(t, c.cookies(b))

	t.Log("what is on no site of ours is no place to return to")
	b.Open(c.site + "/rbac/login?return_to=https%3A%2F%2Fevil.test%2F")
	b.WaitHeading("This sign-in link is not valid")
}
