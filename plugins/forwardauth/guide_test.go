package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/host"
)

var (
	shownFile  = regexp.MustCompile("(?s)```yaml\n# ([a-z]+\\.yaml)\n(.*?)```")
	shownCurls = regexp.MustCompile("(?s)```text\n(curl .*?)```")
	curlHeader = regexp.MustCompile(`-H "([^:"]+): ([^"]*)"`)
	curlURL    = regexp.MustCompile(`http://127\.0\.0\.1:4180(/\S*)`)
)

// TestAuthRequestsInTheGuideGetTheResponsesShown starts the service with the
// files that the guide and the repository's main README show.
func TestAuthRequestsInTheGuideGetTheResponsesShown(t *testing.T) {
	guide := readDoc(t, "README.md")
	etc := t.TempDir()
	for _, m := range shownFile.FindAllStringSubmatch(readDoc(t, "../../README.md")+guide, -1) {
		text := strings.NewReplacer("/etc/gatehouse", etc, ":4180", ":0", "https://auth.example.com/", "http://127.0.0.1:1/").Replace(m[2])
		if err := os.WriteFile(filepath.Join(etc, m[1]), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := serveFiles(t, filepath.Join(etc, "forwardauth.yaml"))
	count := 0
	for _, block := range shownCurls.FindAllStringSubmatch(guide, -1) {
		for usage := range strings.SplitSeq(block[1], "\n\n") {
			count++
			checkCurl(t, address, usage)
		}
	}
	if count < 2 {
		t.Errorf("the guide shows %d auth requests", count)
	}
}

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// serveFiles starts the service with its files and returns its address.
func serveFiles(t *testing.T, path string) string {
	t.Helper()
	s, err := newService(path, host.New(slog.New(slog.DiscardHandler)).Gates)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listeners) }()
	t.Cleanup(func() { cancel(); <-done })
	return listeners[0].Addr().String()
}

// checkCurl sends one request and compares the status and headers shown.
func checkCurl(t *testing.T, address, usage string) {
	t.Helper()
	command, shown, ok := strings.Cut(usage, "-> ")
	if !ok {
		t.Fatalf("no response is shown for %s", usage)
	}
	r, err := http.NewRequest(http.MethodGet, "http://"+address+curlURL.FindStringSubmatch(command)[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range curlHeader.FindAllStringSubmatch(command, -1) {
		r.Header.Set(m[1], m[2])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	lines := strings.Split(strings.TrimSpace(shown), "\n")
	if response.Status != lines[0] {
		t.Errorf("%sgot %s, the guide says %s", command, response.Status, lines[0])
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if got := response.Header.Get(name); got != value {
			t.Errorf("%s%s is %q, the guide says %q", command, name, got, value)
		}
	}
}
