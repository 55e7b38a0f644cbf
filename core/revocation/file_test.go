package revocation_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/revocation"
)

// node is a process that keeps its list in a directory.
type node struct {
	*bench
	log *bytes.Buffer
}

func start(t *testing.T, dir string, change func(*revocation.Options)) *node {
	t.Helper()
	n := &node{log: &bytes.Buffer{}}
	n.bench = setup(t, func(o *revocation.Options) {
		o.Dir, o.Log = dir, slog.New(slog.NewTextHandler(n.log, nil))
		if change != nil {
			change(o)
		}
	})
	return n
}

func fed(o *revocation.Options) { o.Fed = true }

func (n *node) publish(values ...string) {
	n.t.Helper()
	for _, value := range values {
		if err := n.Publish(n.t.Context(), revocation.Event{Kind: revocation.Subject, Value: value}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// knows reports which of the values are revoked.
func (n *node) knows(values ...string) {
	n.t.Helper()
	all := map[string]bool{}
	for _, e := range n.All() {
		all[e.Value] = true
	}
	for _, v := range values {
		if !all[v] {
			n.t.Errorf("%s is not revoked; the list has %v\n%s", v, all, n.log)
		}
	}
	if len(all) != len(values) {
		n.t.Errorf("the list has %v, want %v", all, values)
	}
}

// accepts reports whether a local credential passes, or what is said instead.
func (n *node) accepts() error {
	_, err := n.guarded(&issuer{principal: n.alice(nil)}, true).AuthenticateToken(n.t.Context(), credential)
	return err
}

func TestRestartedProcessKnowsWhatWasRevoked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := start(t, dir, nil)
	if err := first.accepts(); err != nil {
		t.Errorf("at first: %v", err)
	}
	first.publish("bob", "carol")
	second := start(t, dir, nil)
	second.knows("bob", "carol")
	if err := second.accepts(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]os.FileMode{"revocations.json": 0o600, "revocations.lock": 0o600, "": 0o700} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

// While Redis is away a node that starts goes on with the list on its disk.
func TestNodeThatStartsWithoutItsFeedGoesOnWithTheListOnDisk(t *testing.T) {
	dir := t.TempDir()
	before := start(t, dir, fed)
	if err := before.accepts(); err == nil || !strings.Contains(err.Error(), "without_list") {
		t.Errorf("without any list: %v", err)
	}
	before.revoke(revocation.Subject, "bob", "")
	before.Current()
	before.Keep()
	after := start(t, dir, fed)
	after.knows("bob")
	if err := after.accepts(); err != nil {
		t.Error(err)
	}
	after.clock.Advance(25 * time.Hour)
	if err := after.accepts(); err == nil {
		t.Error("accepted although the list has heard of nothing for longer than events are kept")
	}
	if err := start(t, t.TempDir(), fed).accepts(); err == nil {
		t.Error("accepted without any list")
	}
}

func TestListOnDiskThatIsOlderThanTheRetentionIsAsNone(t *testing.T) {
	dir := t.TempDir()
	before := start(t, dir, fed)
	before.Current()
	before.Keep()
	after := start(t, dir, func(o *revocation.Options) {
		o.Fed = true
		now := o.Now
		o.Now = func() time.Time { return now().Add(25 * time.Hour) }
	})
	if err := after.accepts(); err == nil {
		t.Error("accepted")
	}
}

// A list that was being filled when its process ended does not count for a whole one.
func TestListThatNeverWasCompleteIsNotOneAfterARestart(t *testing.T) {
	dir := t.TempDir()
	before := start(t, dir, fed)
	before.revoke(revocation.Subject, "bob", "")
	before.Keep()
	after := start(t, dir, fed)
	after.knows("bob")
	if err := after.accepts(); err == nil {
		t.Error("accepted")
	}
}

func TestProcessesOfANodeNeverLoseEachOthersEvents(t *testing.T) {
	dir := t.TempDir()
	old, fresh := start(t, dir, nil), start(t, dir, nil)
	old.publish("bob")
	fresh.publish("carol")
	old.publish("dave")
	fresh.Keep()
	fresh.knows("bob", "carol", "dave")
	old.Keep()
	old.knows("bob", "carol", "dave")
	start(t, dir, nil).knows("bob", "carol", "dave")
}

// Processes in the true sense: the test runs itself.
func TestProcessesThatWriteAtTheSameTimeLoseNothing(t *testing.T) {
	dir := t.TempDir()
	if dir := os.Getenv("REVOCATION_TEST_DIR"); dir != "" {
		n := start(t, dir, nil)
		for i := range 20 {
			n.publish(fmt.Sprintf("%d-%d", os.Getpid(), i))
		}
		return
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c := exec.Command(os.Args[0], "-test.run=^TestProcessesThatWriteAtTheSameTimeLoseNothing$")
			c.Env = append(os.Environ(), "REVOCATION_TEST_DIR="+dir)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	all.Wait()
	if n := len(start(t, dir, nil).All()); n != 80 {
		t.Errorf("%d events of 80 are kept", n)
	}
}

const fileName = "revocations.json"

// What is on disk counts for nothing unless it is as this program writes it. A process
// with a list of its own writes it anew, but leaves alone what a newer version wrote.
func TestListOnDiskThatCannotBeUsedIsAsNoneAndSaid(t *testing.T) {
	replace := func(old, new string) func(string) error {
		return func(path string) error {
			text, err := os.ReadFile(path)
			if err == nil && !bytes.Contains(text, []byte(old)) {
				err = fmt.Errorf("%s is not in the file", old)
			}
			return errors.Join(err, os.WriteFile(path, bytes.Replace(text, []byte(old), []byte(new), 1), 0o600))
		}
	}
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, c := range map[string]struct {
		change func(path string) error
		said   string
		kept   bool // not written anew
	}{
		"empty":           {write(""), "does not begin as a list of revocations", false},
		"no JSON":         {write("hello\n"), "does not begin as a list of revocations", false},
		"another's JSON":  {write("{\"version\":1}\n{}\n"), "does not begin as a list of revocations", false},
		"one name other":  {replace("bob", "rob"), "its digest is another", false},
		"an event less":   {replace(`"kind":"subject"`, `"kind":"session"`), "its digest is another", false},
		"a version older": {replace(`"version":1`, `"version":0`), "has the version 0", false},
		"a version newer": {replace(`"version":1`, `"version":2`), "newer version (2; this one knows 1)", true},
		"cut": {func(path string) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.Truncate(path, info.Size()-40))
		}, "its digest is another", false},
		"more at the end": {func(path string) error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, append(text, text...), 0o600))
		}, "its digest is another", false},
		"writable by others": {func(path string) error { return os.Chmod(path, 0o622) }, "others can write to", false},
		"of another user":    {func(path string) error { return os.Chown(path, 65534, 65534) }, "belongs to the user 65534", false},
		"a symbolic link": {func(path string) error {
			return errors.Join(os.Rename(path, path+".elsewhere"), os.Symlink(path+".elsewhere", path))
		}, "too many levels of symbolic links", false},
		"a directory": {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "is no regular file", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName)
			running := start(t, dir, nil)
			running.publish("bob")
			if err := c.change(path); errors.Is(err, os.ErrPermission) {
				t.Skip("only root can give a file away")
			} else if err != nil {
				t.Fatal(err)
			}
			broken, _ := os.ReadFile(path)
			for _, change := range []func(*revocation.Options){nil, fed} {
				n := start(t, dir, change)
				if err := n.accepts(); err == nil || !strings.Contains(err.Error(), "without_list") {
					t.Errorf("a local credential: %v", err)
				}
				if !strings.Contains(n.log.String(), c.said) {
					t.Errorf("the log does not say %q:\n%s", c.said, n.log)
				}
				n.knows()
				if change == nil {
					if err := n.Publish(t.Context(), n.event(revocation.Subject, "carol", "")); err == nil {
						t.Error("an event counts as kept")
					}
				}
			}
			if now, _ := os.ReadFile(path); !bytes.Equal(now, broken) {
				t.Error("a process without a list has changed the file")
			}
			err := running.Publish(t.Context(), running.event(revocation.Subject, "dave", ""))
			if (err != nil) != c.kept {
				t.Errorf("a process with a list: %v", err)
			}
			running.knows("bob", "dave")
			if !c.kept {
				start(t, dir, nil).knows("bob", "dave")
			}
		})
	}
}

// An operator mends a node without a restart.
func TestListBeginsAnewWhenItsFileIsMovedAway(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, dir, nil)
	n.Keep()
	n.Keep()
	if err := n.accepts(); err == nil {
		t.Error("accepted")
	}
	if said := strings.Count(n.log.String(), "move the file away"); said != 1 {
		t.Errorf("said %d times:\n%s", said, n.log)
	}
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	n.Keep()
	if err := n.accepts(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	n.publish("bob")
}

func TestDirectoryThatOthersCanWriteToIsRefused(t *testing.T) {
	parent := t.TempDir()
	open, regular, given := filepath.Join(parent, "open"), filepath.Join(parent, "file"), filepath.Join(parent, "given")
	err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o770), os.WriteFile(regular, nil, 0o600), os.Mkdir(given, 0o700))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		open:                            "others can write to the directory " + open + " (mode 0770); want 0700",
		regular:                         regular + " is no directory",
		filepath.Join(parent, "x", "y"): "create the directory, for this user alone",
	}
	if os.Chown(given, 65534, 65534) == nil {
		cases[given] = "belongs to the user 65534"
	}
	for dir, want := range cases {
		if _, err := revocation.Open(revocation.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A full disk, say.
func TestEventThatCannotBeWrittenIsNotAcknowledged(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, nil)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	err := n.Publish(t.Context(), revocation.Event{Kind: revocation.Subject, Value: "bob"})
	if err == nil || !strings.Contains(err.Error(), "could not be kept on disk") {
		t.Errorf("%v", err)
	}
	n.knows("bob")
}
