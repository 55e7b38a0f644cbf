package deploytest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// example is one case: what it is, the services in it and what should come of
// requests to them.
type example struct {
	name string

	Title string
	When  string
	// Secret is whether THE-SECRET stands for a secret in the configuration.
	Secret bool
	// Cluster is whether Kubernetes gets one configuration for all namespaces.
	Cluster bool
	// Files is whether the configuration is in files beside the example.
	Files bool
	// Only is the gateway that the case is for, if not for both.
	Only string
	// Default is the configuration, on Kong, of whatever has none of its own.
	Default  yaml.Node
	Services []service
	// KongExtra and APISIXExtra are further entries of the native files.
	KongExtra   yaml.Node `yaml:"kong_extra"`
	APISIXExtra yaml.Node `yaml:"apisix_extra"`
	// Append is text at the end of a file, by GATEWAY/FILE.
	Append map[string]string
	// Requests are in the form of parseRequest.
	Requests       []string
	APISIXRequests []string `yaml:"apisix_requests"`
}

// service is HOST:8080 behind /NAME.
type service struct {
	Name string
	// Host is the name if it is left out.
	Host string
	// Paths are further paths of the route, without those below them.
	Paths []string
	// Config is Gatehouse's; without one there is no plugin.
	Config yaml.Node
	// Kong and APISIX are the gateways' own plugins beside Gatehouse.
	Kong   []yaml.Node
	APISIX yaml.Node
}

// examplesFor are the cases of one gateway.
func examplesFor(t *testing.T, g gateway) []example {
	t.Helper()
	return slices.DeleteFunc(loadExamples(t), func(e example) bool { return e.Only != "" && e.Only != g.name })
}

func loadExamples(t *testing.T) []example {
	t.Helper()
	paths, err := filepath.Glob("cases/*.yaml")
	if err != nil || len(paths) < 8 {
		t.Fatalf("found the cases %v (%v)", paths, err)
	}
	var all []example
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		e := example{name: strings.TrimSuffix(filepath.Base(path), ".yaml")}
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, e)
	}
	return all
}

// gateway is one of the two that examples are for.
type gateway struct{ name, native string }

var (
	forKong   = gateway{"kong", "kong.yml"}
	forAPISIX = gateway{"apisix", "apisix.yaml"}
)

func (g gateway) folder(e example) string { return filepath.Join("..", g.name, "examples", e.name) }

// requestsOn are the requests that the local gateway responds to.
func (e example) requestsOn(g gateway) []string {
	if g == forAPISIX {
		return slices.Concat(e.Requests, e.APISIXRequests)
	}
	return e.Requests
}

// request is one request and the status of its response.
type request struct {
	text         string
	method, path string
	with         []string // credentials and other headers, by their names
	status       int
	own          bool // whether Gatehouse itself responds and the upstream is not reached
}

const fromGatehouse = " from Gatehouse"

// parseRequest reads "METHOD PATH[, WITH]... -> STATUS[ from Gatehouse]".
func parseRequest(text string) (request, error) {
	head, status, ok := strings.Cut(text, " -> ")
	parts := strings.Split(head, ", ")
	method, path, ok2 := strings.Cut(parts[0], " ")
	t := request{text: text, method: method, path: path, with: parts[1:], own: strings.HasSuffix(status, fromGatehouse)}
	if _, err := fmt.Sscanf(status, "%d", &t.status); err != nil || !ok || !ok2 {
		return t, fmt.Errorf("%q is not METHOD PATH[, WITH]... -> STATUS[ from Gatehouse]", text)
	}
	return t, nil
}
