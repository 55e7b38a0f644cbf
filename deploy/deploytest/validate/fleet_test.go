package validate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"

	"gatehouse/core/config/fleet"
)

// makeFleetSecrets makes those of the fleet by its script, and sets the variables as
// docker compose does from .env.
func makeFleetSecrets(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	script := exec.Command(filepath.Join(deploy, "fleet/secrets.sh"), dir)
	if out, err := script.CombinedOutput(); err != nil {
		return fmt.Errorf("secrets.sh: %w: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return os.Setenv("FLEET_SECRETS", filepath.Join(dir, "secrets"))
}

// No password of the fleet is in the repository: without secrets.sh it does not start.
func TestFleetDoesNotStartWithoutSecretsOfItsOwn(t *testing.T) {
	load := func(env []string) error {
		options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "fleet/compose.yaml")}, cli.WithEnv(env), cli.WithInterpolation(true))
		must(t, err)
		_, err = options.LoadProject(t.Context())
		return err
	}
	var all []string
	for _, name := range []string{"POSTGRES_PASSWORD", "KRATOS_SECRETS_COOKIE", "KRATOS_SECRETS_CIPHER", "HYDRA_SECRETS_SYSTEM", "HYDRA_SECRETS_COOKIE"} {
		if len(os.Getenv(name)) < 32 {
			t.Errorf("secrets.sh makes no %s", name)
		}
		all = append(all, name+"=0123456789abcdef0123456789abcdef")
	}
	must(t, load(all))
	for i, missing := range all {
		name, _, _ := strings.Cut(missing, "=")
		if err := load(slices.Delete(slices.Clone(all), i, i+1)); err == nil || !strings.Contains(err.Error(), "run deploy/fleet/secrets.sh first") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for name, secret := range resolve(t, "fleet/compose.yaml").Secrets {
		text, err := os.ReadFile(secret.File)
		if err != nil || len(text) < 32 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	// What is there is kept: data was encrypted with it.
	dir := filepath.Dir(os.Getenv("FLEET_SECRETS"))
	before, err := os.ReadFile(filepath.Join(dir, ".env"))
	must(t, err)
	must(t, exec.Command(filepath.Join(deploy, "fleet/secrets.sh"), dir).Run())
	if after, err := os.ReadFile(filepath.Join(dir, ".env")); err != nil || string(after) != string(before) {
		t.Errorf("a second run replaces the secrets: %v", err)
	}
}

// The rights of the database's roles are those that the program prints.
func TestFleetRightsAreCurrent(t *testing.T) {
	i := slices.IndexFunc(images, func(i image) bool { return i.file == "fleet/Dockerfile" })
	want, err := exec.Command(images[i].build(t), "db", "rights").Output()
	must(t, err)
	if got, err := os.ReadFile(filepath.Join(deploy, "fleet/rights.sql")); err != nil || string(got) != string(want) {
		t.Errorf("renew deploy/fleet/rights.sql: gatehouse db rights > deploy/fleet/rights.sql\n%s", want)
	}
}

// The user of the nodes has the rights that the description of redis.username lists,
// and no others.
func TestFleetGivesRedisTheDocumentedRights(t *testing.T) {
	field, _ := reflect.TypeFor[fleet.Redis]().FieldByName("Username")
	_, after, _ := strings.Cut(field.Tag.Get("doc"), "The user needs ")
	list, _, found := strings.Cut(after, ". It also")
	if !found {
		t.Fatal("the description lists no rights")
	}
	var want []string
	for _, command := range regexp.MustCompile(`[A-Z]+( [A-Z]+)?`).FindAllString(list, -1) {
		want = append(want, "+"+strings.ReplaceAll(strings.ToLower(command), " ", "|"))
	}
	for name, service := range resolve(t, "fleet/compose.yaml").Services {
		if rights, ok := service.Environment["RIGHTS"]; ok && *rights != strings.Join(want, " ") {
			t.Errorf("%s: RIGHTS is %s, want %s", name, *rights, strings.Join(want, " "))
		}
	}
}

// tryFleet asks every node, and does what the README says.
func (s *environment) tryFleet(t *testing.T, c map[string]string) {
	try := func(what string) {
		t.Helper()
		for _, node := range []string{"kong-1:8000", "kong-2:8000", "apisix-1:9080", "apisix-2:9080"} {
			for _, try := range []struct {
				path, header, value string
				status              int
			}{
				{"/hello/public", "", "", 200},
				{"/users/123", "", "", 401},
				{"/users/123", "Authorization", "Bearer " + c["OPAQUE"], 200},
				{"/orders/1", "Cookie", "ory_kratos_session=" + c["BOB_COOKIE"], 403},
				{"/users/123", "Authorization", "Bearer " + c["REFRESH"], 401},
			} {
				if status, _ := get(t, fmt.Sprintf("http://127.0.0.1:%d%s", s.ports[node], try.path), try.header, try.value); status != try.status {
					t.Errorf("%s, %s: GET %s has status %d, want %d", what, node, try.path, status, try.status)
				}
			}
		}
	}
	try("at the start")
	s.tryFoo(t, c["COOKIE"])
	if keys := s.redis(t, "redis-1", "--scan"); strings.Count(keys, "gatehouse:credential:") < 3 {
		t.Errorf("the nodes share nothing; Redis holds\n%s", keys)
	}
	replicated := ""
	for end := time.Now().Add(startLimit); strings.Count(replicated, "gatehouse:credential:") < 3 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		replicated = s.redis(t, "redis-2", "--scan")
	}
	if strings.Count(replicated, "gatehouse:credential:") < 3 {
		t.Errorf("the replica holds\n%s\n%s", replicated, s.redis(t, "redis-2", "info", "replication"))
	}
	for _, name := range []string{"kong-1", "apisix-1", "forwardauth"} {
		if log, _ := os.ReadFile(filepath.Join(s.dir, name+".log")); strings.Contains(string(log), "Redis refuses") {
			t.Errorf("%s: %s", name, log)
		}
	}
	s.runREADME(t, filepath.Join(deploy, "fleet/README.md"))
}

// redis runs redis-cli as the operator.
func (s *environment) redis(t *testing.T, server string, args ...string) string {
	t.Helper()
	password, err := os.ReadFile(s.project.Secrets["redis_password"].File)
	must(t, err)
	cmd := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(s.ports[server+":6379"])}, args...)...)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+string(password))
	out, err := cmd.CombinedOutput()
	if err != nil && args[0] != "shutdown" {
		t.Errorf("redis-cli %v: %v: %s", args, err, out)
	}
	return string(out)
}
