package sink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T, o FileOptions) *File {
	t.Helper()
	o.Now = time.Now
	f, err := NewFile(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, f *File, lines ...string) {
	t.Helper()
	var records [][]byte
	for _, line := range lines {
		records = append(records, []byte(line+"\n"))
	}
	if n, err := f.Write(t.Context(), records); err != nil || n != len(lines) {
		t.Fatalf("%d written: %v", n, err)
	}
}

func read(t *testing.T, paths ...string) (lines []string) {
	t.Helper()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	return lines
}

func TestAuditFileIsForThisUserAlone(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, FileOptions{Path: path, MaxSize: 10, MaxKept: 3})
	for range 3 {
		write(t, f, "0123456789")
	}
	for _, name := range append(Aside(path), path) {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestSymbolicLinkOrForeignFileIsNoAuditFile(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a symbolic link":         {func(path string) error { return os.Symlink(victim, path) }, "symbolic link"},
		"a link to nowhere":       {func(path string) error { return os.Symlink(filepath.Join(dir, "new"), path) }, "symbolic link"},
		"a hard link":             {func(path string) error { return os.Link(victim, path) }, "hard link"},
		"a pipe":                  {func(path string) error { return syscall.Mkfifo(path, 0o600) }, ""},
		"a directory":             {func(path string) error { return os.Mkdir(path, 0o700) }, "directory"},
		"a file that all read":    {func(path string) error { return os.WriteFile(path, nil, 0o644) }, "others may use"},
		"a file that a group may": {func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o660)) }, "others may use"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := tt.make(path); err != nil {
			t.Fatal(err)
		}
		if f, err := NewFile(FileOptions{Path: path}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	// Put there while it is in use, it is not written through either.
	path := filepath.Join(dir, "audit")
	f := open(t, FileOptions{Path: path})
	if err := errors.Join(os.Remove(path), os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(t.Context(), [][]byte{[]byte("x\n")}); err == nil {
		t.Error("a link is followed that was put there later")
	}
	if text, err := os.ReadFile(victim); err != nil || len(text) > 0 {
		t.Errorf("the victim holds %q, %v", text, err)
	}
}

// During a reload a gateway has two processes that write to one file.
func TestRotationUnderLoadLosesNothingThoughTwoProcessesWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var all sync.WaitGroup
	const writers, lines = 4, 1500
	for writer := range writers {
		f := open(t, FileOptions{Path: path, MaxSize: 4 << 10, MaxKept: 1 << 20})
		all.Go(func() {
			for i := range lines {
				if n, err := f.Write(context.Background(), [][]byte{fmt.Appendf(nil, "%d-%d\n", writer, i)}); n != 1 || err != nil {
					t.Errorf("%d, %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
	aside := Aside(path)
	seen := map[string]int{}
	for _, line := range read(t, append(aside, path)...) {
		seen[line]++
	}
	for writer := range writers {
		for i := range lines {
			if n := seen[fmt.Sprintf("%d-%d", writer, i)]; n != 1 {
				t.Fatalf("%d-%d is there %d times", writer, i, n)
			}
		}
	}
	if len(seen) != writers*lines || len(aside) < 5 {
		t.Errorf("%d lines in %d files", len(seen), len(aside))
	}
}

func TestFileThatAnotherProgramRotatesIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, FileOptions{Path: path})
	write(t, f, "a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "b")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, f, "c")
	if one, now := read(t, path+".1"), read(t, path); len(one) != 1 || one[0] != "a" || len(now) != 1 || now[0] != "c" {
		t.Errorf("%q, %q", one, now)
	}
}

func TestOnlyAsManyFilesAreKeptAsAreWanted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	other := filepath.Join(filepath.Dir(path), "audit-of-mine.jsonl")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, FileOptions{Path: path, MaxSize: 1, MaxKept: 2})
	for i := range 6 {
		write(t, f, strconv.Itoa(i))
	}
	if got := read(t, append(Aside(path), path)...); strings.Join(got, "") != "345" {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a file of somebody else is removed: %v", err)
	}
}

// /dev/full is a disk without room.
func TestFullDiskLosesRecordsAndTearsNoOther(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	f := &File{options: FileOptions{Path: "/dev/full"}, file: full}
	if n, err := f.Write(t.Context(), [][]byte{[]byte("a\n")}); n != 0 || !errors.Is(err, syscall.ENOSPC) || f.torn {
		t.Errorf("%d, %v, torn: %t", n, err, f.torn)
	}
	f.Close()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f = open(t, FileOptions{Path: path})
	write(t, f, "whole")
	if _, err := f.file.WriteString(`{"half":`); err != nil { // as a disk that fills up leaves it
		t.Fatal(err)
	}
	f.torn = true
	write(t, f, "next")
	if got := read(t, path); strings.Join(got, "|") != `whole|{"half":|next` || f.torn {
		t.Errorf("%q", got)
	}
}

var message = regexp.MustCompile(`^<86>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [!-~]+ gatehouse \d+ audit - (\{.*\})$`)

func TestSyslogMessagesAreThoseOfRFC5424(t *testing.T) {
	dir := t.TempDir()
	for _, network := range []string{"unixgram", "udp", "unix", "tcp"} {
		address := "127.0.0.1:0"
		if strings.HasPrefix(network, "unix") {
			address = filepath.Join(dir, network)
		}
		received := make(chan string, 100)
		var listening net.Addr
		if network == "tcp" || network == "unix" {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			listening = l.Addr()
			go acceptCounted(l, received)
		} else {
			c, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			listening = c.LocalAddr()
			go func() {
				for buffer := make([]byte, 1<<16); ; {
					n, _, err := c.ReadFrom(buffer)
					if err != nil {
						return
					}
					received <- string(buffer[:n])
				}
			}()
		}
		s := NewSyslog(SyslogOptions{Network: network, Address: listening.String(), Facility: 10, AppName: "gatehouse", Timeout: time.Second})
		if n, err := s.Write(t.Context(), [][]byte{[]byte("{\"a\":1}\n"), []byte("{\"b\":2}\n")}); n != 2 || err != nil {
			t.Fatalf("%s: %d, %v", network, n, err)
		}
		for _, want := range []string{`{"a":1}`, `{"b":2}`} {
			select {
			case got := <-received:
				if m := message.FindStringSubmatch(got); m == nil || m[1] != want {
					t.Errorf("%s: %q", network, got)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s: nothing comes", network)
			}
		}
		s.Close()
	}
}

// acceptCounted reads messages by their counts (RFC 6587 section 3.4.1).
func acceptCounted(l net.Listener, received chan<- string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for r := bufio.NewReader(c); ; {
				count, err := r.ReadString(' ')
				if err != nil {
					return
				}
				n, err := strconv.Atoi(strings.TrimSuffix(count, " "))
				if err != nil {
					received <- "no count: " + count
					return
				}
				text := make([]byte, n)
				if _, err := io.ReadFull(r, text); err != nil {
					return
				}
				received <- string(text)
			}
		}()
	}
}

func TestSyslogThatComesBackGetsWhatWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := NewSyslog(SyslogOptions{Network: "unix", Address: path, AppName: "gatehouse", Timeout: time.Second})
	done := make(chan error, 1)
	go func() { _, err := s.Write(t.Context(), [][]byte{[]byte("{}\n")}); done <- err }()
	time.Sleep(50 * time.Millisecond)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	received := make(chan string, 1)
	go acceptCounted(l, received)
	if got := <-received; !strings.HasSuffix(got, " {}") {
		t.Errorf("%q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	gone := NewSyslog(SyslogOptions{Network: "unix", Address: path + "-gone", AppName: "gatehouse", Timeout: time.Second})
	if n, err := gone.Write(ctx, [][]byte{[]byte("{}\n")}); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestStdoutOfAPipeGetsWholeLines(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := NewStdout(w)
	var records [][]byte
	for i := range 1000 {
		records = append(records, fmt.Appendf(nil, "%d %s\n", i, strings.Repeat("x", i%500)))
	}
	go s.Write(t.Context(), records)
	in := bufio.NewScanner(r)
	for i := range records {
		if !in.Scan() || in.Text()+"\n" != string(records[i]) {
			t.Fatalf("line %d is %q", i, in.Text())
		}
	}
}
