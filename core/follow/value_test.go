package follow

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// made is a value of the content of a file, followed by hand.
type made struct {
	*follower[string]
	path    string
	changes []string
	before  func() // each reading
}

func newMade(t *testing.T, text string) *made {
	t.Helper()
	m := &made{path: filepath.Join(t.TempDir(), "file")}
	write(t, m.path, text)
	var last *string
	m.follower = &follower[string]{options: Options[string]{
		Now: time.Now,
		Make: func() (*string, []string, error) {
			if m.before != nil {
				m.before()
			}
			raw, err := os.ReadFile(m.path)
			switch text := string(raw); {
			case err != nil:
				return nil, []string{m.path}, errors.New("cannot be read")
			case strings.HasPrefix(text, "panic"):
				panic(text)
			case strings.HasPrefix(text, "bad"):
				return nil, []string{m.path}, errors.New(text)
			case last == nil || *last != text:
				last = &text
			}
			return last, []string{m.path}, nil
		},
		OnChange: func(err error, kept bool) {
			switch {
			case err == nil:
				m.changes = append(m.changes, "good")
			case kept:
				m.changes = append(m.changes, "kept: "+err.Error())
			default:
				m.changes = append(m.changes, "none: "+err.Error())
			}
		},
	}}
	m.state.Store(&State[string]{})
	m.load()
	m.stand()
	return m
}

// stand looks until what was written has stood still.
func (m *made) stand() {
	m.look()
	m.look()
}

func (m *made) value() string {
	if v := m.State().Value; v != nil {
		return *v
	}
	return ""
}

func TestValueIsThatOfTheLastGoodFiles(t *testing.T) {
	m := newMade(t, "one")
	for _, step := range []struct{ text, value, change string }{
		{"two", "two", "good"},
		{"bad", "two", "kept: bad"},
		{"bad", "two", ""}, // the same failure again
		{"bad too", "two", "kept: bad too"},
		{"panic with a secret", "two", "kept: panic while it was made (string)"},
		{"two", "two", "good"},
		{"two", "two", ""}, // touched
		{"three", "three", "good"},
	} {
		m.changes = nil
		write(t, m.path, step.text)
		m.stand()
		if got := strings.Join(m.changes, ", "); m.value() != step.value || got != step.change {
			t.Errorf("%s: value %q, changes %q; want %q, %q", step.text, m.value(), got, step.value, step.change)
		}
		if s := m.State(); (s.Err != nil) != !s.Since.IsZero() {
			t.Errorf("%s: %+v", step.text, s)
		}
	}
}

func TestValueThatWasNeverMadeHeals(t *testing.T) {
	m := newMade(t, "bad")
	if m.value() != "" || m.State().Err == nil || len(m.changes) != 1 {
		t.Fatalf("%q, %+v, %v", m.value(), m.State(), m.changes)
	}
	write(t, m.path, "good")
	m.stand()
	if m.value() != "good" {
		t.Errorf("%q, %v", m.value(), m.changes)
	}
}

// A file that is being written can read as a valid one that lacks its end.
func TestHalfWrittenFileMakesNoValue(t *testing.T) {
	m := newMade(t, "one")
	for _, text := range []string{"tw", "two", "two, compl"} {
		write(t, m.path, text)
		m.look()
		if m.value() != "one" {
			t.Fatalf("%q is made of %q", m.value(), text)
		}
	}
	write(t, m.path, "two, complete")
	m.stand()
	if m.value() != "two, complete" {
		t.Errorf("%q", m.value())
	}
}

func TestFileThatChangesWhileAValueIsMadeIsNotUsed(t *testing.T) {
	m := newMade(t, "one")
	write(t, m.path, "two")
	m.before = func() { write(t, m.path, "half") }
	m.stand()
	if m.value() != "one" {
		t.Fatalf("%q is made of a change that went on", m.value())
	}
	m.before = nil
	m.stand()
	if m.value() != "half" {
		t.Errorf("%q", m.value())
	}
}

// Reading can fail for a reason that no file shows, such as too many open files.
func TestFailureIsTriedAgainThoughNoFileChanges(t *testing.T) {
	m := newMade(t, "good")
	fails := true
	make := m.options.Make
	m.options.Make = func() (*string, []string, error) {
		if fails {
			return nil, []string{m.path}, errors.New("too many open files")
		}
		return make()
	}
	write(t, m.path, "better")
	m.stand()
	fails = false
	for range retryLooks {
		m.look()
	}
	if m.value() != "better" {
		t.Errorf("%q, %v", m.value(), m.State().Err)
	}
}

// A value that names another file is made of that one from then on.
func TestOtherFilesAreFollowedOnceTheyAreNamed(t *testing.T) {
	dir := t.TempDir()
	first, other := filepath.Join(dir, "first"), filepath.Join(dir, "other")
	write(t, first, first)
	write(t, other, "one")
	m := &follower[string]{options: Options[string]{Now: time.Now, Make: func() (*string, []string, error) {
		name, err := os.ReadFile(first)
		if err != nil {
			return nil, []string{first}, err
		}
		text, err := os.ReadFile(string(name))
		value := string(text)
		return &value, []string{first, string(name)}, err
	}}}
	m.state.Store(&State[string]{})
	m.load()
	write(t, first, other)
	m.look()
	m.look()
	if *m.State().Value != "one" {
		t.Fatalf("%q", *m.State().Value)
	}
	write(t, other, "two")
	m.look()
	m.look()
	m.look()
	if *m.State().Value != "two" {
		t.Errorf("%q: the other file is not followed", *m.State().Value)
	}
}

func TestFileWithItsOldSizeAndTimeIsAChange(t *testing.T) {
	m := newMade(t, "one")
	info, err := os.Stat(m.path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, m.path, "two")
	if err := os.Chtimes(m.path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	m.stand()
	if m.value() != "two" {
		t.Skip("this system tells no other time of a file")
	}
}
