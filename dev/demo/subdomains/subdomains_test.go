package subdomains_test

import (
	"os"
	"strings"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/dev/demo"
	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/demo/subdomains"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
)

var (
	tempDir string
	plugins fixture.Shared[fixture.Plugins]
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "subdomains", &tempDir, func() {})) }

// TestOneSignInForApplicationsOnSubdomains runs the steps of the demo, and a browser.
func TestOneSignInForApplicationsOnSubdomains(t *testing.T) {
	built := plugins.Get(t, func(testing.TB) (fixture.Plugins, error) { return fixture.BuildPlugins("../../..", tempDir) })
	gateways := map[string]string{subdomains.Kong: built.Kong, subdomains.APISIX: built.APISIX}
	listen, options := map[string]string{}, demo.Options{Binaries: orytest.Binaries(t)}
	for name := range gateways {
		held, err := ports.Hold("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(held.Release)
		listen[name] = held.Addr()
		options.Sites = append(options.Sites, subdomains.Origins(name, listen[name])...)
	}
	d, err := demo.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	for name, plugin := range gateways {
		t.Run(name, func(t *testing.T) {
			var log coretest.Log
			s, err := subdomains.Start(t.Context(), subdomains.Options{
				Gateway: name, Plugin: plugin, Hydra: d.Hydra.HydraAPI, Listen: listen[name], Dir: t.TempDir(), Log: &log,
			})
			if err != nil {
				t.Fatal(err, log.String())
			}
			t.Cleanup(s.Stop)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(log.String())
				}
			})
			steps := 0
			err = s.Check(t.Context(), d.Ada.ID, func(step subdomains.Step) { steps++; t.Log(step.Title, step.Status) })
			if err != nil || steps < 40 {
				t.Fatalf("after %d steps: %v", steps, err)
			}
			inBrowser(t, d, s)
		})
	}
}

// inBrowser signs somebody in with a browser, in which the pages of both applications then
// call both APIs, and out.
func inBrowser(t *testing.T, d *demo.Demo, s *subdomains.Site) {
	b := browsertest.New(t)
	b.RunScripts()
	b.Open(s.URL("shop", "/"))
	b.WaitText("401 ")
	b.Follow("Sign in")
	b.WaitHeading("Sign in")
	b.Fill("identifier", d.Ada.Email)
	b.Fill("password", d.Ada.Password)
	b.Press("method", "password")
	b.Press("decision", "allow")
	b.WaitHeading("shop")
	b.WaitText("12 EUR")
	b.WaitText("Grace")
	b.Open(s.URL("staff", "/"))
	b.WaitHeading("staff")
	b.WaitText("Grace")
	b.WaitText("12 EUR")
	b.Screenshot("demo-subdomains-staff")
	b.Follow("Sign out")
	b.WaitHeading("Sign out?") // at the provider
	b.Click("button[type=submit]")
	b.WaitHeading("You are not signed in")
	for _, app := range []string{"shop", "staff"} {
		b.Open(s.URL(app, "/"))
		b.WaitHeading(app)
		b.WaitText("401 ")
	}
	for _, c := range b.Cookies(s.URL("staff", "/")) {
		if c.Name == "jwt-token" {
			t.Error("after the logout the browser keeps the cookie")
		}
	}
}

// TestDemoRunsTheConfigurationOfTheDocumentation: what a team copies is what runs here.
func TestDemoRunsTheConfigurationOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/set-ups.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gatehouse.yaml", "permissions.yaml"} {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```yaml\n"+string(file)+"```\n") {
			t.Errorf("no block of docs/set-ups.md is dev/demo/subdomains/%s", name)
		}
	}
}
