package validate

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const deploy = "../.."

// found are the files of deploy whose names match, relative to it; at least so
// many, or the test looks in the wrong place.
func found(t *testing.T, pattern string, least int) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(deploy, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if matches, err := filepath.Match(pattern, d.Name()); err != nil || !matches {
			return err
		}
		name, err := filepath.Rel(deploy, path)
		all = append(all, filepath.ToSlash(name))
		return err
	}))
	if len(all) < least {
		t.Fatalf("found only %v by the name %s", all, pattern)
	}
	return all
}

func composeFiles(t *testing.T) []string {
	t.Helper()
	return found(t, "compose*.yaml", 12)
}

var resolved = map[string]*types.Project{} // by file; no test changes one, and none runs beside another

// resolve reads a compose file as docker compose does: includes, anchors,
// variables, defaults and the consistency of all references.
func resolve(t *testing.T, file string) *types.Project {
	t.Helper()
	if project, ok := resolved[file]; ok {
		return project
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, file)}, cli.WithOsEnv, cli.WithInterpolation(true), cli.WithConsistency(true), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	resolved[file] = project
	return project
}

// eachService runs a test for every service of every compose file.
func eachService(t *testing.T, check func(*testing.T, *types.Project, types.ServiceConfig)) {
	for _, file := range composeFiles(t) {
		project := resolve(t, file)
		if least := leastServices(file); len(project.Services) < least {
			t.Errorf("%s has only the services %v", file, project.ServiceNames())
		}
		for name, service := range project.Services {
			t.Run(file+"/"+name, func(t *testing.T) { check(t, project, service) })
		}
	}
}

// leastServices are fewer where the identity provider is elsewhere.
func leastServices(file string) int {
	if file == "traefik/compose.yaml" {
		return 4
	}
	return 10
}

// runsToItsEnd is whether a service is a step of the start and not a server.
func runsToItsEnd(s types.ServiceConfig) bool { return s.Restart == types.RestartPolicyOnFailure }

func TestComposeServersHaveHealthChecks(t *testing.T) {
	eachService(t, func(t *testing.T, _ *types.Project, s types.ServiceConfig) {
		if has := s.HealthCheck != nil && !s.HealthCheck.Disable; has == runsToItsEnd(s) {
			t.Errorf("has a health check is %t, runs to its end is %t", has, runsToItsEnd(s))
		}
	})
}

func TestComposeStartsInOrder(t *testing.T) {
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		for name, d := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if runsToItsEnd(p.Services[name]) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if d.Condition != want {
				t.Errorf("waits for %s to be %s, want %s", name, d.Condition, want)
			}
		}
	})
	// What must have happened before a gateway takes requests.
	backends := []string{"postgres", "kratos-migrate", "kratos", "hydra-migrate", "hydra", "seed", "site"}
	fleet := []string{"redis-1", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3", "roles", "migrate", "rights", "tables"}
	gateways := map[string][]string{
		"kong":     slices.Concat(backends, []string{"hello", "world", "users", "products", "orders"}),
		"apisix":   slices.Concat(backends, []string{"hello", "world", "users", "products", "orders"}),
		"kong-2":   slices.Concat(backends, fleet),
		"apisix-2": slices.Concat(backends, fleet),
		"traefik":  {"forwardauth"}, // finds foo when it starts
		"nginx":    slices.Concat(backends, []string{"forwardauth", "foo"}),
		"caddy":    slices.Concat(backends, []string{"forwardauth", "foo"}),
		"haproxy":  slices.Concat(backends, []string{"forwardauth", "foo"}),
		"envoy":    slices.Concat(backends, []string{"forwardauth", "foo"}),
	}
	seen := map[string]bool{}
	for _, file := range composeFiles(t) {
		p := resolve(t, file)
		for gateway, needed := range gateways {
			if _, ok := p.Services[gateway]; !ok {
				continue
			}
			seen[gateway] = true
			before := map[string]bool{}
			collect(p, gateway, before)
			for _, name := range needed {
				if !before[name] {
					t.Errorf("%s: %s starts without waiting for %s", file, gateway, name)
				}
			}
		}
	}
	if len(seen) != len(gateways) {
		t.Errorf("only %v are in compose files", seen)
	}
}

func collect(p *types.Project, name string, before map[string]bool) {
	for next := range p.Services[name].DependsOn {
		if !before[next] {
			before[next] = true
			collect(p, next, before)
		}
	}
}

// pinned is an image with its whole version. Those of Docker's official images
// (they have no slash) have the digest too, which Docker publishes in a
// repository: github.com/docker-library/repo-info.
var pinned = regexp.MustCompile(`^([a-z0-9.-]+(/[a-z0-9.-]+)+:v?\d+\.\d+\.\d+[a-z0-9.-]*|[a-z0-9-]+:v?\d+\.\d+[a-z0-9.-]*@sha256:[0-9a-f]{64})$`)

func TestComposeImagesArePinned(t *testing.T) {
	eachService(t, func(t *testing.T, _ *types.Project, s types.ServiceConfig) {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("the image %s is not pinned", s.Image)
		}
		if s.Build != nil {
			file := filepath.Join(s.Build.Context, s.Build.Dockerfile)
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
	})
}

const dockerSocket = "/var/run/docker.sock"

// A bind of a file that is missing would silently become a folder, and the
// users in the containers are not the one who checked the files out.
func TestComposeMountsExist(t *testing.T) {
	eachService(t, func(t *testing.T, _ *types.Project, s types.ServiceConfig) {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind || v.Source == dockerSocket {
				continue
			}
			if info, err := os.Stat(v.Source); err != nil || info.IsDir() || info.Mode().Perm()&0o004 == 0 || !v.ReadOnly {
				t.Errorf("%s: %v, read-only %t", v.Source, err, v.ReadOnly)
			}
		}
	})
}

// The admin APIs of Kratos, Hydra, Kong and APISIX need no credential or a
// known one: nobody else's machine may reach them.
func TestComposePublishesOnLoopbackAlone(t *testing.T) {
	var published []string
	eachService(t, func(t *testing.T, _ *types.Project, s types.ServiceConfig) {
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("port %s is published on %q", port.Published, port.HostIP)
			}
			published = append(published, port.Published)
		}
	})
	for _, admin := range []string{"8001", "9180", "2379", "5432"} {
		if slices.Contains(published, admin) {
			t.Errorf("port %s is published", admin)
		}
	}
	if !slices.Contains(published, "8000") || !slices.Contains(published, "9080") {
		t.Errorf("the gateways are not published: %v", published)
	}
}

func TestComposeGivesNoPrivileges(t *testing.T) {
	eachService(t, func(t *testing.T, _ *types.Project, s types.ServiceConfig) {
		if s.Privileged || s.NetworkMode == "host" || len(s.CapAdd) > 0 || s.User == "root" || s.User == "0" {
			t.Error("asks for more than it needs")
		}
		for _, v := range s.Volumes {
			// Traefik's labels are read through it; its compose file says what that means.
			if strings.Contains(v.Source, "docker.sock") && (s.Name != "traefik" || v.Source != dockerSocket || !v.ReadOnly) {
				t.Error("mounts Docker's socket")
			}
		}
	})
}
