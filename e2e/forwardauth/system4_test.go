package forwardauth

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
	"gatehouse/e2e/vector"
)

// composed is deploy/traefik/compose.yaml without containers: the same
// settings, labels and services, at addresses of this machine.
type composed struct {
	*demo.Demo
	foo     *upstream.Server
	traefik string // base URL
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

func compose(t *testing.T) *composed {
	t.Helper()
	binaries := orytest.Binaries(t) // skips the test where that is configured
	traefik, err := named(t, "traefik").find()
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := ports.Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	ask, listen, dir := addresses[0], addresses[1], t.TempDir()
	c := &composed{traefik: "http://" + listen}
	if c.Demo, err = demo.Start(t.Context(), demo.Options{Binaries: binaries, Gateways: []demo.Gateway{{Name: "Traefik", URL: c.traefik}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if c.foo, err = upstream.Start("foo", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.foo.Close)

	replaced(t, dir, "forwardauth.yaml", "0.0.0.0:4180", ask, "172.30.44.2", "127.0.0.1", "/etc/gatehouse", dir)
	replaced(t, dir, "gatehouse.yaml", "http://kratos:4433", c.Kratos.PublicURL, "http://127.0.0.1:4455/login", c.LoginURL(), "/etc/gatehouse", dir)
	replaced(t, dir, "permissions.yaml")
	c.labels(t, dir, ask)
	replaced(t, dir, "traefik.yml", `":8000"`, atOnce(listen))

	binary, err := binaryFor()
	if err != nil {
		t.Fatal(err)
	}
	service, err := startProcess("gatehouse-forwardauth", dir, ask, binary, "-config", filepath.Join(dir, "forwardauth.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.stop)
	proxy, err := startProcess("traefik", dir, listen, traefik, "--configFile="+filepath.Join(dir, "traefik.yml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.stop)
	for status := 404; status == 404; { // until Traefik has read its routers
		response, _ := c.send(t, "/foo/public")
		status = response.Status
	}
	return c
}

// labels turns the labels of the containers into dynamic.yml, as Traefik reads
// them: a label is a path in its configuration.
func (c *composed) labels(t *testing.T, dir, ask string) {
	t.Helper()
	text, err := shipped("traefik/compose.yaml", "forwardauth:4180", ask)
	var file struct {
		Services map[string]struct{ Labels []string }
	}
	if err = errors.Join(err, yaml.Unmarshal([]byte(text), &file)); err != nil {
		t.Fatal(err)
	}
	dynamic := map[string]any{}
	for _, service := range file.Services {
		for _, label := range service.Labels {
			key, value, _ := strings.Cut(label, "=")
			if path, ok := strings.CutPrefix(key, "traefik.http."); ok {
				put(dynamic, strings.Split(path, "."), c.labelValue(path, value))
			}
		}
	}
	out, err := yaml.Marshal(map[string]any{"http": dynamic})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "dynamic.yml"), out, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// labelValue is the value of a label by its type. The port of a container is
// where the upstream of the test listens.
func (c *composed) labelValue(path, value string) any {
	switch last := path[strings.LastIndexByte(path, '.')+1:]; last {
	case "authResponseHeaders", "middlewares", "entryPoints":
		return strings.Split(value, ",")
	case "trustForwardHeader":
		return value == "true"
	case "port":
		return "http://" + c.foo.Addr().String()
	}
	return value
}

// put sets a value at a path. In labels a service has one server with a port,
// in files a list of servers with URLs.
func put(in map[string]any, path []string, value any) {
	if len(path) == 2 && path[0] == "server" && path[1] == "port" {
		in["servers"] = []any{map[string]any{"url": value}}
		return
	}
	if len(path) == 1 {
		in[path[0]] = value
		return
	}
	inner, ok := in[path[0]].(map[string]any)
	if !ok {
		inner = map[string]any{}
		in[path[0]] = inner
	}
	put(inner, path[1:], value)
}

func (c *composed) send(t *testing.T, target string, lines ...string) (vector.Response, *upstream.Request) {
	t.Helper()
	c.foo.Forget()
	address := strings.TrimPrefix(c.traefik, "http://")
	request := "GET " + target + " HTTP/1.1\r\nHost: " + address + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
	response, err := vector.Send(t.Context(), address, []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	if received := c.foo.Received(); len(received) > 0 {
		return response, &received[0]
	}
	return response, nil
}

// TestForwardAuthBehindTraefik is system 4: Traefik asks before each request to
// the service foo, people sign in, and foo learns who they are from
// X-Auth-User. The provider is the demo's site with Kratos in place of Google.
func TestForwardAuthBehindTraefik(t *testing.T) {
	c := compose(t)

	t.Log("a visitor in a browser signs in and is back")
	b := browsertest.New(t)
	b.Open(c.traefik + "/foo?page=1")
	b.WaitHeading("Sign in")
	b.Fill("identifier", c.Ada.Email)
	b.Fill("password", c.Ada.Password)
	b.Press("method", "password")
	b.WaitText("/foo?page=1")
	b.WaitText("X-Auth-User: " + c.Ada.ID)
	b.Screenshot("traefik-foo")

	t.Log("foo learns who called, from Gatehouse alone")
	session := "Cookie: ory_kratos_session=" + c.Credentials.BobSession.Cookie
	_, got := c.send(t, "/foo/items/1", session, "X-Auth-User: "+c.Ada.ID, "X_Auth_User: "+c.Ada.ID, "X-User-Roles: admin")
	if got == nil {
		t.Fatal("Bob is refused")
	}
	for name, value := range map[string]string{"X-Auth-User": c.Bob.ID, "X-User-Email": c.Bob.Email, "X-User-Roles": "viewer"} {
		if lines := alike(got, name); len(lines) != 1 || !slices.Equal(got.Values(name), []string{value}) {
			t.Errorf("foo received %q, want exactly %s: %s", lines, name, value)
		}
	}

	t.Log("the public page needs no sign-in")
	if _, got := c.send(t, "/foo/public", "X-Auth-User: "+c.Ada.ID); got == nil || len(alike(got, "X-Auth-User")) > 0 {
		t.Errorf("foo received %v", got)
	}

	t.Log("programs get a 401, and what no rule covers a 403")
	for what, c2 := range map[string]struct {
		target, line string
		status       int
	}{
		"no session":        {"/foo", "Accept: */*", 401},
		"made up session":   {"/foo", "Cookie: ory_kratos_session=x", 401},
		"made up user":      {"/foo", "X-Auth-User: " + c.Ada.ID, 401},
		"another page":      {"/foo/else", session, 403},
		"another container": {"/auth/traefik", session, 404},
	} {
		if response, got := c.send(t, c2.target, c2.line); got != nil || response.Status != c2.status {
			t.Errorf("%s: status %d, foo received %v", what, response.Status, got)
		}
	}
}
