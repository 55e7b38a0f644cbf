package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/config"
)

// The files that `gatehouse-dev demo --write` makes are for real gateways. The
// local ones load them, which checks Kong's against the schema in the plugin's
// dump; these tests hold them against what the real ones check beside that.

// strictly decodes YAML into a struct that knows every attribute in use.
func strictly(t *testing.T, text []byte, to any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		t.Fatal(err)
	}
}

// kongFile has the attributes of Kong 3.9's declarative format that the
// generated file uses (kong/db/schema/entities, kong/db/declarative).
type kongFile struct {
	FormatVersion string `yaml:"_format_version"`
	Services      []struct {
		Name   string
		URL    string
		Routes []struct {
			Name      string
			Paths     []string
			StripPath *bool `yaml:"strip_path"`
		}
		Plugins []struct {
			Name   string
			Config map[string]any
		}
	}
}

var kongName = regexp.MustCompile(`^[0-9a-zA-Z.\-_~]+$`)

func TestKongFileIsValidForKong(t *testing.T) {
	text, err := shared.get(t).KongYAML()
	if err != nil {
		t.Fatal(err)
	}
	var file kongFile
	strictly(t, text, &file)
	if file.FormatVersion != "3.0" {
		t.Errorf("_format_version %q: Kong 3 reads up to 3.0", file.FormatVersion)
	}
	names := map[string]bool{}
	for _, s := range file.Services {
		if u, err := url.Parse(s.URL); err != nil || u.Scheme != "http" || u.Path != "" || u.Port() == "" {
			t.Errorf("service %s: url %q", s.Name, s.URL)
		}
		if !kongName.MatchString(s.Name) || names["service "+s.Name] {
			t.Errorf("service name %q", s.Name)
		}
		names["service "+s.Name] = true
		for _, r := range s.Routes {
			if !kongName.MatchString(r.Name) || names["route "+r.Name] {
				t.Errorf("route name %q", r.Name)
			}
			names["route "+r.Name] = true
			if r.StripPath == nil || *r.StripPath {
				t.Errorf("route %s: strip_path is Kong's default, true: the upstream would be served another path than the one decided on", r.Name)
			}
			for _, p := range r.Paths {
				if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") {
					t.Errorf("route %s: path %q", r.Name, p)
				}
			}
		}
		if len(s.Routes) == 0 || len(s.Plugins) != 1 || s.Plugins[0].Name != "gatehouse" {
			t.Errorf("service %s is not guarded", s.Name)
			continue
		}
		loads(t, s.Name, s.Plugins[0].Config)
		for path, text := range emptyStrings("config", s.Plugins[0].Config) {
			t.Errorf("service %s: %s is %q: Kong refuses empty strings", s.Name, path, text)
		}
	}
}

func loads(t *testing.T, name string, settings map[string]any) {
	t.Helper()
	raw, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(raw); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// emptyStrings finds "" anywhere in a configuration, by path.
func emptyStrings(path string, value any) map[string]string {
	found := map[string]string{}
	collect := func(path string, value any) {
		for p, text := range emptyStrings(path, value) {
			found[p] = text
		}
	}
	switch v := value.(type) {
	case string:
		if v == "" {
			found[path] = v
		}
	case []any:
		for _, item := range v {
			collect(path+"[]", item)
		}
	case map[string]any:
		for name, item := range v {
			collect(path+"."+name, item)
		}
	}
	return found
}

// apisixFile has the attributes of APISIX 3's schemas that the generated file
// uses (apisix/schema_def.lua, apisix/plugins/ext-plugin/init.lua).
type apisixFile struct {
	Routes []struct {
		ID      string
		URIs    []string `yaml:"uris"`
		Plugins struct {
			PreReq struct {
				Conf []struct{ Name, Value string }
			} `yaml:"ext-plugin-pre-req"`
		}
		Upstream struct {
			Type  string
			Nodes map[string]int
		}
	}
}

var (
	apisixID = regexp.MustCompile(`^[a-zA-Z0-9\-_.]{1,64}$`)
	// endFlag must be found in the last ten bytes, or APISIX waits for more.
	endFlag = regexp.MustCompile(`#END\s*$`)
	// envReference is replaced from the environment before the file is parsed.
	envReference = regexp.MustCompile(`\$\{\{`)
)

func TestAPISIXFileIsValidForAPISIX(t *testing.T) {
	text, err := shared.get(t).APISIXYAML()
	if err != nil {
		t.Fatal(err)
	}
	if !endFlag.Match(text[len(text)-10:]) {
		t.Error("the file does not end in #END")
	}
	if envReference.Match(text) {
		t.Error("the file refers to an environment variable")
	}
	var file apisixFile
	strictly(t, text, &file)
	ids, uris := map[string]bool{}, map[string]bool{}
	for _, r := range file.Routes {
		if !apisixID.MatchString(r.ID) || ids[r.ID] {
			t.Errorf("route id %q", r.ID)
		}
		ids[r.ID] = true
		for _, uri := range r.URIs {
			if !strings.HasPrefix(uri, "/") || strings.Contains(strings.TrimSuffix(uri, "*"), "*") || uris[uri] {
				t.Errorf("route %s: uri %q", r.ID, uri)
			}
			uris[uri] = true
		}
		for node, weight := range r.Upstream.Nodes {
			if _, port, err := net.SplitHostPort(node); err != nil || port == "" || weight != 1 || r.Upstream.Type != "roundrobin" {
				t.Errorf("route %s: upstream %+v", r.ID, r.Upstream)
			}
		}
		conf := r.Plugins.PreReq.Conf
		if len(r.URIs) == 0 || len(r.Upstream.Nodes) == 0 || len(conf) != 1 || conf[0].Name != "gatehouse" {
			t.Errorf("route %s is not guarded: %+v", r.ID, r)
			continue
		}
		if _, err := config.Load([]byte(conf[0].Value)); err != nil {
			t.Errorf("route %s: %v", r.ID, err)
		}
	}
	if len(file.Routes) == 0 {
		t.Error("there are no routes")
	}
}
