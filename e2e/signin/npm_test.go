package signin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/ports"
)

// skipNode, set to anything, skips the tests that need Node.js and npm.
const skipNode = "GATEHOUSE_SKIP_NODE"

// installed has the packages of the lock file installed once.
var installed = sync.OnceValue(func() error {
	const dir = "oidcprovider"
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	stamp := filepath.Join(dir, "node_modules", ".installed")
	if done, err := os.ReadFile(stamp); err == nil && bytes.Equal(done, lock) {
		return nil
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	return os.WriteFile(stamp, lock, 0o600)
})

// npmProvider is the package oidc-provider.
type npmProvider struct{ issuer string }

func (p npmProvider) discovery() string { return p.issuer + "/.well-known/openid-configuration" }

// startNPM starts it. One that is shaped like Google offers no pushed requests and no
// logout.
func startNPM(t *testing.T, google bool, clients ...any) npmProvider {
	t.Helper()
	if os.Getenv(skipNode) != "" {
		t.Skipf("%s is set: not running the provider from npm", skipNode)
	}
	if err := installed(); err != nil {
		t.Fatalf("the provider from npm (set %s=1 to do without): %v", skipNode, err)
	}
	held, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Release)
	p := npmProvider{"http://" + held.Addr()}
	settings := coretest.JSON(t, map[string]any{"port": held.Port(), "issuer": p.issuer, "google": google, "clients": clients})
	var log coretest.Log
	command := exec.Command("node", "server.mjs")
	command.Dir, command.Env, command.Stderr = "oidcprovider", append(os.Environ(), "SETTINGS="+settings), &log
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "listening" {
			return p
		}
	}
	t.Fatalf("oidc-provider does not listen: %s", log.String())
	return p
}

// person is somebody with a browser, who signs in wherever a form asks for a name.
type person struct {
	t      *testing.T
	name   string
	client *http.Client
}

func newPerson(t *testing.T, name string) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &person{t, name, &http.Client{Timeout: time.Minute, Jar: jar, CheckRedirect: stay}}
}

var (
	action = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	prompt = regexp.MustCompile(`name="prompt" value="([^"]*)"`)
)

// visit goes on from an address until the browser is led to the client: by a redirect, or
// by a form that it would post.
func (p *person) visit(address, client string) (method string, to *url.URL, form url.Values) {
	p.t.Helper()
	method = http.MethodGet
	for range 20 {
		req, err := http.NewRequestWithContext(context.Background(), method, address, strings.NewReader(form.Encode()))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := p.client.Do(req)
		if err != nil {
			p.t.Fatal(err)
		}
		var page bytes.Buffer
		page.ReadFrom(response.Body)
		response.Body.Close()
		method, form = http.MethodGet, nil
		if to, err = response.Location(); err != nil {
			found := action.FindSubmatch(page.Bytes())
			if found == nil {
				p.t.Fatalf("%s responds with %d: %s", address, response.StatusCode, page.String())
			}
			if to, err = response.Request.URL.Parse(string(found[1])); err != nil {
				p.t.Fatal(err)
			}
			method, form = http.MethodPost, p.filledIn(page.String())
		}
		if strings.HasPrefix(to.String(), client) {
			return method, to, form
		}
		address = to.String()
	}
	p.t.Fatalf("the browser goes round and round: %s", address)
	return "", nil, nil
}

func (p *person) filledIn(page string) url.Values {
	form := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(field[1], strings.NewReplacer("&#x2F;", "/", "&amp;", "&", "&quot;", `"`).Replace(field[2]))
	}
	if found := prompt.FindStringSubmatch(page); found != nil {
		form.Set("prompt", found[1])
	}
	form.Set("login", p.name)
	form.Set("password", "any")
	return form
}
