package forwardauth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/demo/upstream"
	"gatehouse/internal/cli"
)

// snippet is what gatehouse snippet writes for a proxy and a gate.
func snippet(proxy string, gate map[string]any, dir string) (string, error) {
	text, err := yaml.Marshal(gate)
	path := filepath.Join(dir, "snippet.yaml")
	if err := errors.Join(err, os.WriteFile(path, text, 0o600)); err != nil {
		return "", err
	}
	var out, complaint strings.Builder
	if cli.Main([]string{"snippet", proxy, "--config", path}, strings.NewReader(""), &out, &complaint) != 0 {
		return "", errors.New(complaint.String())
	}
	return out.String(), nil
}

var haproxyNames = regexp.MustCompile(`(lua\.gatehouse \S+ )\S+`)

// withSnippet is a proxy whose header lists are written for a gate.
func withSnippet(p proxy, gate map[string]any) proxy {
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		lists, err2 := snippet(p.name, gate, s.dir)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		switch p.name {
		case "nginx":
			err = s.write("gatehouse_headers.conf", lists)
		case "caddy":
			err = s.write("gatehouse_headers.caddy", lists)
		case "haproxy":
			text, err := os.ReadFile(filepath.Join(s.dir, "haproxy.cfg"))
			names := strings.TrimPrefix(haproxyNames.FindString(lists), haproxyNames.FindStringSubmatch(lists)[1])
			return args, errors.Join(err, s.write("haproxy.cfg", haproxyNames.ReplaceAllString(string(text), "${1}"+names)))
		case "traefik":
			err = setTraefikHeaders(s, lists)
		}
		return args, err
	}
	return p
}

// setTraefikHeaders puts the list into the middleware of the endpoint.
func setTraefikHeaders(s site, lists string) error {
	var dynamic struct {
		HTTP struct {
			Middlewares map[string]map[string]map[string]any
			Routers     map[string]any
			Services    map[string]any
		}
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "dynamic.yml"))
	if err := errors.Join(err, yaml.Unmarshal(text, &dynamic)); err != nil {
		return err
	}
	middleware := dynamic.HTTP.Middlewares[s.routes[0].endpoint]["forwardAuth"]
	delete(middleware, "authResponseHeaders")
	if err := yaml.Unmarshal([]byte(lists), &middleware); err != nil {
		return err
	}
	text, err = yaml.Marshal(dynamic)
	return errors.Join(err, s.write("dynamic.yml", string(text)))
}

// behindEachSnippet runs each proxy with the lists that the command writes for a gate, in
// front of a service, and hands over a token that the gate accepts.
func behindEachSnippet(t *testing.T, gate map[string]any, test func(t *testing.T, b *bench, token string)) {
	t.Helper()
	asked := map[string]any{"permission_table": benchTable, "jwt": map[string]any{"issuers": []any{map[string]any{"issuer": "https://issuer.test/", "audience": []any{"a"}}}}}
	for name, value := range gate {
		asked[name] = value
	}
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			foo, err := upstream.Start("foo", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(foo.Close)
			b := &bench{foo: foo, gate: gate}
			b.start(t, withSnippet(p, asked), benchTable, foo.Addr().String())
			test(t, b, b.issuer.Token(nil))
		})
	}
}

// TestHeaderListsOfASnippet runs each proxy with the lists that the command writes,
// for a gate with other headers than the examples and hidden credentials.
func TestHeaderListsOfASnippet(t *testing.T) {
	gate := map[string]any{
		"upstream_headers": map[string]any{"Remote-User": "sub", "X-Tenant": "absent"},
		"strip_headers":    []any{"X-Old-User"},
		"hide_credentials": true,
		"token_cookie":     "jwt-token",
		"token_headers":    []any{map[string]any{"name": "X-Assertion"}},
	}
	behindEachSnippet(t, gate, func(t *testing.T, b *bench, token string) {
		for what, c := range map[string]struct {
			target, user, cookie string
			lines                []string
		}{
			"public, forged":    {"/public", "", "theme=dark", []string{"Cookie: theme=dark"}},
			"token in a header": {"/private", "user-1", "theme=dark", []string{"Authorization: Bearer " + token, "Cookie: theme=dark"}},
			"token in a cookie": {"/private", "user-1", "theme=dark", []string{"Cookie: jwt-token=" + token + "; theme=dark"}},
			"token elsewhere":   {"/private", "user-1", "theme=dark", []string{"X-Assertion: " + token, "Cookie: theme=dark"}},
			"only that cookie":  {"/private", "user-1", "", []string{"Cookie: jwt-token=" + token}},
		} {
			response, got := b.send(t, "GET", c.target, append(c.lines, "Remote-User: root", "X-Tenant: root", "X-Old-User: root")...)
			if got == nil {
				t.Fatalf("%s: status %d", what, response.Status)
			}
			for header, want := range map[string]string{"Remote-User": c.user, "X-Tenant": "", "X-Old-User": "", "X-Assertion": "", "Authorization": "", "Cookie": c.cookie} {
				var lines []string
				if want != "" {
					lines = []string{want}
				}
				if values := got.Values(header); !slices.Equal(values, lines) {
					t.Errorf("%s: the upstream received %s", what, fmt.Sprintf("%s %q, want %q", header, values, lines))
				}
			}
		}
	})
}
