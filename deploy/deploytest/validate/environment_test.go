package validate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"gatehouse/dev/ports"
)

// environment runs the services of a compose file as processes: their commands, files,
// environment, order and health checks are the compose file's; in place of the
// images stand the programs in them, and the local gateways in place of the real
// ones. Names and ports of containers become ports of this machine.
type environment struct {
	t        *testing.T
	project  *types.Project
	started  map[string]bool
	dir      string // for the data of all
	programs map[string]string
	ports    map[string]int // by "service:port"
	postgres *syscall.Credential
	running  map[string]*exec.Cmd // by the service's name
}

// containerPorts are the ports that are named.
var containerPorts = []string{
	"postgres:5432", "kratos:4433", "kratos:4434", "hydra:4444", "hydra:4445", "site:4455", "kong:8000", "apisix:9080",
	"kong-1:8000", "kong-2:8000", "apisix-1:9080", "apisix-2:9080", "redis-1:6379", "redis-2:6379", "sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379",
	"hello:8080", "world:8080", "users:8080", "products:8080", "orders:8080",
	"forwardauth:4180", "forwardauth:9464", "forwardauth:8000", "forwardauth:8081",
}

func newEnvironment(t *testing.T, file string) *environment {
	t.Helper()
	s := &environment{t: t, project: resolve(t, file), started: map[string]bool{}, programs: programs(t), ports: map[string]int{}, running: map[string]*exec.Cmd{}}
	var err error
	if s.dir, err = os.MkdirTemp("", "gatehouse-compose-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	must(t, os.Chmod(s.dir, 0o755))
	for _, name := range containerPorts {
		address := "127.0.0.1:0"
		if host, port, _ := strings.Cut(name, ":"); vectors && len(s.project.Services[host].Ports) > 0 {
			address = "127.0.0.1:" + port // where the vectors look for the backends
		}
		h, err := ports.Hold(address)
		must(t, err)
		t.Cleanup(h.Release)
		s.ports[name] = h.Port()
	}
	return s
}

// programs are what is in the images.
func programs(t *testing.T) map[string]string {
	t.Helper()
	// Debian keeps the servers of each version in a folder of its own.
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	t.Setenv("PATH", strings.Join(append([]string{os.Getenv("PATH"), "/usr/sbin"}, debian...), ":"))
	for _, name := range []string{"initdb", "postgres", "psql", "pg_isready", "nginx", "haproxy", "redis-server", "redis-cli"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is missing: apt-get install postgresql nginx haproxy redis", name)
		}
	}
	if testing.Short() {
		t.Skip("builds Kratos and Hydra, which takes minutes the first time")
	}
	ensure := exec.Command("go", "run", "./ory/ensure")
	ensure.Dir, ensure.Stderr = filepath.Join(deploy, "..", "dev"), os.Stderr
	out, err := ensure.Output()
	must(t, err)
	paths := strings.Fields(string(out))
	p := map[string]string{"kratos": paths[0], "hydra": paths[1]}
	for _, i := range images {
		p[i.file] = i.build(t)
	}
	return p
}

// network is the service in whose network one is: its own, as a rule.
func network(service types.ServiceConfig) string {
	if owner, ok := strings.CutPrefix(service.NetworkMode, "service:"); ok {
		return owner
	}
	return service.Name
}

// here replaces what a service's text names by what it is in the test: the other
// services, what is published, its own ports and its files.
func (s *environment) here(service types.ServiceConfig, text string) string {
	pairs := []string{"/run/nginx.pid", s.dir + "/nginx.pid"}
	names := slices.Sorted(maps.Keys(s.ports))
	for _, name := range names {
		host, container, _ := strings.Cut(name, ":")
		port := strconv.Itoa(s.ports[name])
		pairs = append(pairs, name, "127.0.0.1:"+port, host+" "+container, "127.0.0.1 "+port) // as Redis writes it
		if host == network(service) {
			pairs = append(pairs, "127.0.0.1:"+container, "127.0.0.1:"+port, "/dev/tcp/127.0.0.1/"+container, "/dev/tcp/127.0.0.1/"+port,
				"=:"+container, "=127.0.0.1:"+port, "listen "+container+";", "listen 127.0.0.1:"+port+";", "bind :"+container, "bind 127.0.0.1:"+port,
				"port "+container+"\n", "bind 127.0.0.1\nport "+port+"\n", "-p "+container, "-p "+port)
		}
	}
	for _, name := range names { // what is published, unless it is one's own
		host, container, _ := strings.Cut(name, ":")
		for _, published := range s.project.Services[host].Ports {
			if port := strconv.Itoa(s.ports[name]); strconv.Itoa(int(published.Target)) == container {
				pairs = append(pairs, "127.0.0.1:"+published.Published, "127.0.0.1:"+port, "/dev/tcp/127.0.0.1/"+published.Published, "/dev/tcp/127.0.0.1/"+port)
			}
		}
	}
	pairs = append(pairs, "announce-ip $1", "announce-ip 127.0.0.1", "host: postgres\n  port: 5432", "host: 127.0.0.1\n  port: "+strconv.Itoa(s.ports["postgres:5432"]))
	for _, secret := range service.Secrets {
		pairs = append(pairs, secret.Target, s.project.Secrets[secret.Source].File)
	}
	for _, v := range service.Volumes {
		pairs = append(pairs, v.Target, s.mounted(service, v))
	}
	// A folder of files is where each of them is.
	for _, v := range service.Volumes {
		if v.Type == types.VolumeTypeBind {
			pairs = append(pairs, path.Dir(v.Target)+"/", s.files(service)+"/")
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// files is where the files are that a service mounts.
func (s *environment) files(service types.ServiceConfig) string {
	return filepath.Join(s.dir, "files", service.Name)
}

// mounted is where a volume is.
func (s *environment) mounted(service types.ServiceConfig, v types.ServiceVolumeConfig) string {
	if v.Type == types.VolumeTypeBind {
		return filepath.Join(s.files(service), path.Base(v.Target))
	}
	return filepath.Join(s.dir, "volumes", v.Source)
}

// mount puts a service's files where they are looked for, with their names
// replaced as well.
func (s *environment) mount(service types.ServiceConfig) {
	for _, v := range service.Volumes {
		to := s.mounted(service, v)
		must(s.t, os.MkdirAll(filepath.Dir(to), 0o755))
		if v.Type != types.VolumeTypeBind {
			must(s.t, os.MkdirAll(to, 0o755))
			continue
		}
		text, err := os.ReadFile(v.Source)
		must(s.t, err)
		must(s.t, os.WriteFile(to, []byte(s.here(service, string(text))), 0o644))
	}
}

// command is what the image would run.
func (s *environment) command(service types.ServiceConfig) []string {
	image, _, _ := strings.Cut(service.Image, ":")
	var args []string
	for _, a := range service.Command {
		args = append(args, s.here(service, a))
	}
	listen := func(container string) string {
		return "--listen=127.0.0.1:" + strconv.Itoa(s.ports[service.Name+":"+container])
	}
	if len(service.Entrypoint) > 0 {
		var program []string
		for _, a := range service.Entrypoint {
			program = append(program, s.here(service, a))
		}
		return append(program, args...)
	}
	switch image {
	case "oryd/kratos":
		return append([]string{s.programs["kratos"]}, args...)
	case "oryd/hydra":
		return append([]string{s.programs["hydra"]}, args...)
	case "gatehouse-demo":
		return append([]string{s.programs["backends/Dockerfile"], "demo"}, args...)
	case "kong-gatehouse":
		config := s.here(service, *service.Environment["KONG_DECLARATIVE_CONFIG"])
		return []string{s.programs["backends/Dockerfile"], "kong", "--config", config, "--plugin", s.programs["kong/Dockerfile"], listen("8000")}
	case "apisix-gatehouse":
		settings, config := s.here(service, "/usr/local/apisix/conf/config.yaml"), s.here(service, "/usr/local/apisix/conf/apisix.yaml")
		return []string{s.programs["backends/Dockerfile"], "apisix", "--settings", settings, "--config", config, "--runner", s.programs["apisix/Dockerfile"], listen("9080")}
	case "gatehouse-forwardauth":
		return append([]string{s.programs["forwardauth/Dockerfile"], "-config", s.here(service, "/etc/gatehouse/forwardauth.yaml")}, args...)
	case "nginx":
		return []string{"nginx", "-p", s.dir, "-c", s.here(service, "/etc/nginx/nginx.conf"), "-e", "stderr", "-g", "daemon off;"}
	case "haproxy":
		return []string{"haproxy", "-f", s.here(service, "/usr/local/etc/haproxy/haproxy.cfg")}
	case "postgres":
		return s.preparePostgres(service)
	}
	s.t.Fatalf("the image %s stands for no program", service.Image)
	return nil
}

// preparePostgres makes the database's files, as the image's entry point does.
// PostgreSQL refuses to run as root.
func (s *environment) preparePostgres(service types.ServiceConfig) []string {
	data := filepath.Join(s.dir, "postgres")
	must(s.t, os.Mkdir(data, 0o700))
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		must(s.t, err)
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		must(s.t, os.Chown(data, uid, gid))
		s.postgres = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	password := filepath.Join(data + ".password")
	must(s.t, os.WriteFile(password, []byte(*service.Environment["POSTGRES_PASSWORD"]), 0o644))
	initdb := exec.Command("initdb", "--pgdata="+data, "--auth=scram-sha-256", "--pwfile="+password, "--username="+*service.Environment["POSTGRES_USER"])
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: s.postgres}, data
	if out, err := initdb.CombinedOutput(); err != nil {
		s.t.Fatalf("initdb: %v\n%s", err, out)
	}
	return []string{"postgres", "-D", data, "-p", strconv.Itoa(s.ports["postgres:5432"]), "-k", data, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"}
}

// environment is the service's, and what its image would have.
func (s *environment) environment(service types.ServiceConfig) []string {
	env := []string{"PATH=" + filepath.Dir(s.programs["fleet/Dockerfile"]) + ":" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + os.TempDir()}
	for name, value := range service.Environment {
		if value != nil {
			env = append(env, name+"="+s.here(service, *value))
		}
	}
	// The ports of the images' own defaults.
	public, admin := map[string]string{"kratos": "kratos:4433", "hydra": "hydra:4444"}[service.Name], map[string]string{"kratos": "kratos:4434", "hydra": "hydra:4445"}[service.Name]
	if public != "" {
		env = append(env, "SERVE_PUBLIC_PORT="+strconv.Itoa(s.ports[public]), "SERVE_ADMIN_PORT="+strconv.Itoa(s.ports[admin]), "SERVE_PUBLIC_HOST=127.0.0.1", "SERVE_ADMIN_HOST=127.0.0.1")
	}
	if service.Name == "postgres" {
		env = append(env, "PGPORT="+strconv.Itoa(s.ports["postgres:5432"]), "PGPASSWORD="+*service.Environment["POSTGRES_PASSWORD"])
	}
	return env
}

// up starts everything in the order of the compose file.
func (s *environment) up() {
	for _, name := range s.project.ServiceNames() {
		s.start(name)
	}
}

// start starts a service after those that it waits for.
func (s *environment) start(name string) {
	if s.started[name] {
		return
	}
	s.started[name] = true
	service := s.project.Services[name]
	for _, needed := range slices.Sorted(maps.Keys(service.DependsOn)) {
		s.start(needed)
	}
	s.mount(service)
	s.run(service)
}

// join starts what another compose file has beside the services that run
// already; until the end of t.
func (s *environment) join(t *testing.T, file string) *environment {
	joined := *s
	joined.t, joined.project, joined.started = t, resolve(t, file), maps.Clone(s.started)
	joined.up()
	return &joined
}

// vectors is whether to replay the end-to-end vectors as well, as make e2e-compose
// does in containers. It takes the ports of the compose file, which may be in use.
var vectors = os.Getenv("GATEHOUSE_VECTORS") != ""

func replayVectors(t *testing.T) {
	replay := exec.Command("go", "test", "-count=1", "-run", "TestVectorsExternal", ".")
	replay.Dir = filepath.Join(deploy, "..", "e2e")
	replay.Env = append(os.Environ(), "KONG_URL=http://127.0.0.1:8000", "APISIX_URL=http://127.0.0.1:9080")
	out, err := replay.CombinedOutput()
	if err != nil {
		t.Errorf("the vectors: %v\n%s", err, out)
	}
	t.Logf("the vectors: %s", out)
}

const startLimit = 3 * time.Minute // for one service on a busy machine

func (s *environment) run(service types.ServiceConfig) {
	s.t.Helper()
	command := s.command(service)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	log, err := os.Create(filepath.Join(s.dir, service.Name+".log"))
	must(s.t, err)
	p := exec.Command(command[0], command[1:]...)
	p.Env, p.Stdout, p.Stderr, p.Dir = s.environment(service), log, log, s.dir
	if service.WorkingDir != "" {
		p.Dir = s.files(service)
	}
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if service.Name == "postgres" {
		p.SysProcAttr.Credential = s.postgres
	}
	must(s.t, p.Start())
	s.running[service.Name] = p
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	s.t.Cleanup(func() { s.stop(p, log) })
	if runsToItsEnd(service) {
		select {
		case err := <-ended:
			if err != nil {
				s.fail(service.Name, err)
			}
		case <-ctx.Done():
			s.fail(service.Name, ctx.Err())
		}
		return
	}
	for s.healthy(service) != nil {
		select {
		case err := <-ended:
			s.fail(service.Name, fmt.Errorf("ended: %w", err))
		case <-ctx.Done():
			s.fail(service.Name, s.healthy(service))
		case <-time.After(100 * time.Millisecond):
		}
	}
	if service.Name == "postgres" {
		s.initialisePostgres(service)
	}
}

func (s *environment) stop(p *exec.Cmd, log io.Closer) {
	group := -p.Process.Pid
	_ = signalAll(p.Process.Pid, syscall.SIGCONT) // a README may end while it is paused
	_ = syscall.Kill(group, syscall.SIGTERM)
	for range 50 {
		if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	log.Close()
}

func (s *environment) fail(name string, err error) {
	s.t.Helper()
	text, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
	s.t.Fatalf("%s: %v\n%s", name, err, text)
}

// initialisePostgres runs what the image would on an empty database: it makes that of
// the user, and runs the files.
func (s *environment) initialisePostgres(service types.ServiceConfig) {
	create := exec.Command("psql", "--host=127.0.0.1", "--username=gatehouse", "--dbname=postgres", "--command=CREATE DATABASE gatehouse")
	create.Env = s.environment(service)
	if out, err := create.CombinedOutput(); err != nil {
		s.fail("postgres", fmt.Errorf("%w: %s", err, out))
	}
	for _, v := range service.Volumes {
		if !strings.HasSuffix(v.Target, ".sql") {
			continue
		}
		psql := exec.Command("psql", "--host=127.0.0.1", "--username=gatehouse", "--dbname=postgres", "--file="+s.mounted(service, v), "--set=ON_ERROR_STOP=1")
		psql.Env = s.environment(service)
		if out, err := psql.CombinedOutput(); err != nil {
			s.fail("postgres", fmt.Errorf("%w: %s", err, out))
		}
	}
}

// healthy runs the service's own health check.
func (s *environment) healthy(service types.ServiceConfig) error {
	test := service.HealthCheck.Test
	if test[0] != "CMD" {
		s.t.Fatalf("%s: the health check is not CMD", service.Name)
	}
	var args []string
	for _, a := range test[1:] {
		args = append(args, s.here(service, a))
	}
	switch args[0] {
	case "wget": // Alpine's
		args = []string{"curl", "--fail", "--silent", "--output", os.DevNull, args[len(args)-1]}
	case "kratos", "hydra":
		args[0] = s.programs[args[0]]
	case "/usr/local/bin/gatehouse-dev":
		args[0] = s.programs["backends/Dockerfile"]
	case "pg_isready":
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--dbname=hydra" }) // made right after
	}
	check := exec.Command(args[0], args[1:]...)
	check.Env = s.environment(service)
	if out, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// credentials are what the seed wrote for people.
func (s *environment) credentials() map[string]string {
	text, err := os.ReadFile(filepath.Join(s.dir, "volumes", "demo", "credentials.env"))
	must(s.t, err)
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.Trim(value, "'")
	}
	return values
}

// get makes one request with one header and returns the response's status and body.
func get(t *testing.T, url, header, value string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	if header != "" {
		request.Header.Set(header, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(body)
}

// TestComposeRunsWithoutContainers starts every service of both gateways' compose
// files as processes and tries the gateways with what the seed made; then those
// of the proxies that the machine has.
func TestComposeRunsWithoutContainers(t *testing.T) {
	s := newEnvironment(t, "compose.yaml")
	s.up()
	c := s.credentials()
	for gateway, port := range map[string]int{"kong": s.ports["kong:8000"], "apisix": s.ports["apisix:9080"]} {
		for _, try := range []struct {
			name, path, header, value string
			status                    int
		}{
			{"public", "/hello/public", "", "", 200},
			{"no credential", "/users/123", "", "", 401},
			{"a browser", "/hello", "Accept", "text/html", 302},
			{"a session", "/hello", "Cookie", "ory_kratos_session=" + c["COOKIE"], 200},
			{"an opaque token", "/users/123", "Authorization", "Bearer " + c["OPAQUE"], 200},
			{"a JWT", "/products/7", "Authorization", "Bearer " + c["JWT"], 200},
			{"a token without memory", "/live/users/1", "Authorization", "Bearer " + c["OPAQUE"], 200},
			{"a role that is missing", "/orders/1", "Cookie", "ory_kratos_session=" + c["BOB_COOKIE"], 403},
			{"a refresh token", "/users/123", "Authorization", "Bearer " + c["REFRESH"], 401},
		} {
			if status, _ := get(t, fmt.Sprintf("http://127.0.0.1:%d%s", port, try.path), try.header, try.value); status != try.status {
				t.Errorf("%s, %s: status %d, want %d", gateway, try.name, status, try.status)
			}
		}
	}
	for _, proxy := range []string{"nginx", "haproxy"} {
		t.Run(proxy, func(t *testing.T) { s.join(t, proxy+"/compose.yaml").tryFoo(t, c["COOKIE"]) })
	}
	t.Run("fleet", func(t *testing.T) { s.join(t, "fleet/compose.yaml").tryFleet(t, c) })
	if vectors {
		replayVectors(t)
	}
	// The seed may run again, with another set of credentials.
	s.run(s.project.Services["seed"])
	if again := s.credentials(); again["OPAQUE"] == c["OPAQUE"] || again["OPAQUE"] == "" {
		t.Error("a second run of the seed makes no fresh credentials")
	}
}

// tryFoo asks for foo through the proxy in front of it.
func (s *environment) tryFoo(t *testing.T, cookie string) {
	for _, try := range []struct {
		name, path, header, value string
		status                    int
		receives                  string
	}{
		{"public", "/foo/public", "", "", 200, "foo"},
		{"forged", "/foo/public", "X-Auth-User", "forged", 200, "foo"},
		{"no credential", "/foo", "", "", 401, ""},
		{"a browser", "/foo", "Accept", "text/html", 302, ""},
		{"a session", "/foo", "Cookie", "ory_kratos_session=" + cookie, 200, "X-Auth-User"},
		{"what nothing covers", "/foo/other/page", "Cookie", "ory_kratos_session=" + cookie, 403, ""},
	} {
		status, body := get(t, fmt.Sprintf("http://127.0.0.1:%d%s", s.ports["forwardauth:8000"], try.path), try.header, try.value)
		if status != try.status || !strings.Contains(strings.ToLower(body), strings.ToLower(try.receives)) || strings.Contains(body, "forged") {
			t.Errorf("%s: status %d, want %d; %s", try.name, status, try.status, body)
		}
	}
}
