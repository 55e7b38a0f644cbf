package validate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	shellBlock = regexp.MustCompile("(?s)\n```sh\n(.*?)```")
	// A request of a README, and the status that it says the response has.
	shownStatus = regexp.MustCompile(`(?m)^curl (.*) # (\d{3})$`)
)

// dockerStub passes its arguments on to the test.
const dockerStub = `#!/bin/bash
input=
case " $* " in *" -T "*) input=$(cat);; esac
printf '%s\0' "$input" "$@" | curl --silent --show-error --fail-with-body --data-binary @- "$DOCKER"
`

// prelude is what the commands of a README need. A change counts on all nodes within
// a second; the machine of the test may be slower.
const prelude = `set -e
status() {
	{ set +x; } 2>/dev/null
	want=$1; shift
	for _ in $(seq 100); do
		got=$(command curl --silent --output /dev/null --write-out '%{http_code}' "$@") || true
		[ "$got" != "$want" ] || { set -x; return 0; }
		sleep 0.2
	done
	echo "status $got, want $want" >&2
	return 1
}
set -x
`

// runREADME runs the commands of a README, all in one shell. In place of docker stands
// what does with the processes what docker compose does with the containers.
func (s *environment) runREADME(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	must(t, err)
	script := prelude
	blocks := shellBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 3 {
		t.Fatalf("%s has only %d blocks of commands", file, len(blocks))
	}
	for _, block := range blocks {
		for line := range strings.Lines(block[1]) {
			if strings.HasPrefix(line, "curl ") && !shownStatus.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("no status is stated: %s", line)
			}
		}
		script += shownStatus.ReplaceAllString(block[1], "status $2 $1")
	}
	dir := t.TempDir()
	root, err := filepath.Abs(filepath.Join(deploy, ".."))
	must(t, err)
	must(t, os.Symlink(filepath.Join(root, "deploy"), filepath.Join(dir, "deploy")))
	must(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(dockerStub), 0o755))
	docker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var out string
		if err == nil {
			input, args, _ := strings.Cut(strings.TrimSuffix(string(body), "\x00"), "\x00")
			out, err = s.docker(dir, input, strings.Split(args, "\x00"))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, out)
	}))
	defer docker.Close()
	// A service that publishes nothing sees the ports that the machine publishes.
	bash := exec.Command("bash", "-c", s.here(s.project.Services["operator"], script))
	bash.Dir = dir
	bash.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "DOCKER="+docker.URL)
	if out, err := bash.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", file, err, out)
	}
}

// docker does what docker compose -f FILE would do, and returns what it prints.
func (s *environment) docker(dir, input string, args []string) (string, error) {
	if len(args) < 4 || !slices.Equal(args[:3], []string{"compose", "-f", "deploy/fleet/compose.yaml"}) {
		return "", fmt.Errorf("docker %q is not known", args)
	}
	verb, args := args[3], args[4:]
	switch verb {
	case "up": // as it is
		return "", nil
	case "cp":
		text, err := os.ReadFile(filepath.Join(s.dir, "volumes/demo/credentials.env"))
		if err != nil {
			return "", err
		}
		return "", os.WriteFile(filepath.Join(dir, "credentials.env"), text, 0o600)
	case "start":
		s.run(s.project.Services[args[0]])
		return "", nil
	case "run":
		return s.runOnce(input, args)
	}
	signal, known := map[string]syscall.Signal{"kill": syscall.SIGKILL, "pause": syscall.SIGSTOP, "unpause": syscall.SIGCONT}[verb]
	if !known {
		return "", fmt.Errorf("docker compose %s is not known", verb)
	}
	return "", signalAll(s.running[args[0]].Process.Pid, signal)
}

// runOnce is docker compose run [--rm] [-T] [-v FROM:TO:ro] SERVICE ARG..., and -T that it
// reads the input.
func (s *environment) runOnce(input string, args []string) (string, error) {
	files := []string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "--rm", "-T":
			args = args[1:]
		case "-v":
			from, to, _ := strings.Cut(strings.TrimSuffix(args[1], ":ro"), ":")
			files, args = append(files, to, from), args[2:]
		default:
			return "", fmt.Errorf("docker compose run %s is not known", args[0])
		}
	}
	service := s.project.Services[args[0]]
	service.Command = args[1:]
	words := s.command(service)
	for i, word := range words {
		words[i] = strings.NewReplacer(files...).Replace(word)
	}
	command := exec.Command(words[0], words[1:]...)
	command.Stdin = strings.NewReader(input)
	var out, log bytes.Buffer
	command.Env, command.Stdout, command.Stderr = s.environment(service), &out, &log
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", args, err, &out, &log)
	}
	return out.String(), nil
}

// The child has a group of its own and ends after its parent, as those of PostgreSQL do.
func TestServiceThatIsPausedIsStoppedWithItsChildren(t *testing.T) {
	p := exec.Command("bash", "-c", `exec 3> >(exec setsid cat > /dev/null); echo $!; read -r <&4`)
	out, err := p.StdoutPipe()
	must(t, err)
	from, to, err := os.Pipe()
	must(t, err)
	defer from.Close()
	defer to.Close()
	p.ExtraFiles = []*os.File{to, from} // 3 is replaced; 4 never has anything to read
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, p.Start())
	var child int
	_, err = fmt.Fscan(out, &child)
	must(t, err)
	go p.Wait()
	must(t, signalAll(p.Process.Pid, syscall.SIGSTOP))
	(&environment{t: t}).stop(p, out)
	for range 100 {
		if errors.Is(syscall.Kill(child, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = syscall.Kill(child, syscall.SIGKILL)
	t.Error("a child that was paused is left behind")
}

// signalAll reaches a process and those that it has started: those of PostgreSQL are not in its
// group.
func signalAll(pid int, signal syscall.Signal) error {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err := syscall.Kill(pid, signal); err != nil {
		return err
	}
	for _, child := range strings.Fields(string(children)) {
		var n int
		if _, err := fmt.Sscan(child, &n); err == nil {
			_ = signalAll(n, signal) // it may have ended
		}
	}
	return nil
}
