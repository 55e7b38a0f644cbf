package hosts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/cli"
	"gatehouse/internal/doctor"
)

// examined is what gatehouse doctor says that is not well, one finding on each line, and
// the names of the checks that found nothing.
func examined(t *testing.T, status int, args ...string) (findings []string, well map[string]int) {
	t.Helper()
	var out, errs bytes.Buffer
	got := cli.Main(append([]string{"doctor", "--output", "json"}, args...), strings.NewReader(""), &out, &errs)
	var report struct{ Findings []doctor.Finding }
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || got != status {
		t.Fatalf("status %d, want %d: %v\n%s%s", got, status, err, out.String(), errs.String())
	}
	well = map[string]int{}
	for _, f := range report.Findings {
		if f.Severity == doctor.OK {
			well[f.Check]++
			continue
		}
		findings = append(findings, fmt.Sprintf("%s %s: %s", f.Severity, f.Check, f.Text))
	}
	return findings, well
}

// saved is a configuration in a file.
func saved(t *testing.T, config map[string]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(path, []byte(asJSON(t, config)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDoctorFindsRealGatewaysAndProvidersWell(t *testing.T) {
	p := startProviders(t)
	config := p.config(t, "shop")
	config["permission_table"] = "{authenticated: [GET /me], public: [GET /echo]}"
	config["upstream_headers"] = map[string]any{"X-User-Id": "sub", "X-User-Email": "email"}
	expected := map[string][]string{
		"kong": {
			"note header-limit: a token of 7168 bytes reaches the gate, one of 12288 does not", "note preflight: a preflight gets 403",
			"note forwarded-header: the upstream gets what the client wrote into Forwarded, X-Forwarded-For, before what the gateway adds",
		},
		"apisix": {
			"note header-limit: a token of 7168 bytes reaches the gate, one of 12288 does not", "note preflight: a preflight gets 403",
			"warning forwarded-header: the upstream gets of the client: X-Forwarded-Prefix",
			"note forwarded-header: the upstream gets what the client wrote into X-Forwarded-For, before what the gateway adds",
		},
	}
	for host, want := range expected {
		t.Run(host, func(t *testing.T) {
			onHost(t, host, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
				status := map[bool]int{true: 1}[host == "apisix"]
				findings, well := examined(t, status, "--config", saved(t, config), "--url", h.base+"/me", "--echo", h.base+"/echo")
				if !slices.Equal(findings, want) {
					t.Errorf("found\n%s\nwant\n%s", strings.Join(findings, "\n"), strings.Join(want, "\n"))
				}
				for _, check := range []string{"provider", "clock", "gateway", "no-credential", "invented-token", "hidden-token", "forged-header", "forwarded-header"} {
					if well[check] == 0 {
						t.Errorf("%s: found nothing well", check)
					}
				}
				if well["provider"] != 3 {
					t.Errorf("%d providers are well, want 3", well["provider"])
				}
			})
		})
	}
	checkBrokenProviders(t, p, config)
}

func checkBrokenProviders(t *testing.T, p *providers, good map[string]any) {
	nobody := "http://127.0.0.1:1"
	section := func(name string, change func(map[string]any)) map[string]any {
		config, changed := maps.Clone(good), maps.Clone(good[name].(map[string]any))
		change(changed)
		config[name] = changed
		return config
	}
	for name, c := range map[string]struct {
		config map[string]any
		want   string
	}{
		"Kratos is away":                     {section("session", func(s map[string]any) { s["kratos_url"] = nobody }), "connection refused"},
		"the URL of Kratos is that of Hydra": {section("session", func(s map[string]any) { s["kratos_url"] = p.Issuer() }), "404"},
		"Hydra is away":                      {section("introspection", func(s map[string]any) { s["introspection_endpoint"] = nobody + "/admin/oauth2/introspect" }), "connection refused"},
		"tokens are introspected at a page":  {section("introspection", func(s map[string]any) { s["introspection_endpoint"] = p.Issuer() + "/health/ready" }), "error provider"},
		"the issuer is not what its server is": {section("jwt", func(s map[string]any) {
			s["issuers"] = []any{map[string]any{"issuer": p.relay, "audience": []string{audience}}}
		}), "error provider"},
	} {
		findings, _ := examined(t, 1, "--config", saved(t, c.config))
		if all := strings.Join(findings, "\n"); !strings.Contains(all, "error provider") || !strings.Contains(all, c.want) {
			t.Errorf("%s: found\n%s\nwant %s", name, all, c.want)
		}
	}
}
