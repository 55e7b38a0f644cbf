package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/e2e/vector"
)

const forgedID = "11111111222222223333333344444444"

// TestDenialIsFoundInTheLogByWhatTheClientReads: the id in the body leads to one
// line, and is not what the client sent.
func TestDenialIsFoundInTheLogByWhatTheClientReads(t *testing.T) {
	s := shared.get(t)
	for name, url := range s.gatewayURLs() {
		log := s.logs[name].Name()
		awaitLines(t, url, log)
		id := denied(t, url)
		lines := denials(t, log, id, 10*time.Second)
		if len(lines) != 1 || !strings.Contains(lines[0], "reason=no_credential") || !strings.Contains(lines[0], "path=/users") {
			t.Errorf("%s: the log has %d lines for the id: %q", name, len(lines), lines)
		}
		if text := read(t, log); strings.Contains(text, forgedID) {
			t.Errorf("%s: the log holds the client's id", name)
		}
	}
}

// awaitLines waits until refusals without a credential have lines again. There is a
// number of them a second, which a load of another test may have taken.
func awaitLines(t *testing.T, url, log string) {
	t.Helper()
	eventually(t, "a refusal without a credential has a line in "+log, func() bool {
		return len(denials(t, log, denied(t, url), time.Second)) > 0
	})
}

// denied is the id that the body of a denial tells.
func denied(t *testing.T, url string) string {
	t.Helper()
	request := fmt.Sprintf("GET /users HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nX-Request-Id: %s\r\nX-Kong-Request-Id: %s\r\n\r\n", address(url), forgedID, forgedID)
	response, err := vector.Send(t.Context(), address(url), []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	var problem struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(response.Body, &problem); err != nil || response.Status != 401 || len(problem.RequestID) != 32 {
		t.Fatalf("%s: %d %s, %v", url, response.Status, response.Body, err)
	}
	return problem.RequestID
}

// denials are the log's lines for one request. They come through a pipe.
func denials(t *testing.T, log, id string, wait time.Duration) []string {
	t.Helper()
	for deadline := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		var found []string
		for line := range strings.Lines(read(t, log)) {
			if strings.Contains(line, "msg=denied") && strings.Contains(line, "request_id="+id) {
				found = append(found, line)
			}
		}
		if len(found) > 0 || time.Now().After(deadline) {
			return found
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
