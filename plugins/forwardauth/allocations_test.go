package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// A flood of requests without credentials must not cost the service more than good ones.
func TestRefusalWithoutACredentialTakesNoMoreAllocationsThanAnAdmission(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	bearer := r.bearer()
	eachDialect(t, func(t *testing.T, d *dialect) {
		admission, refusal := r.allocations(t, d, "200 OK", bearer), r.allocations(t, d, "401 Unauthorized")
		if refusal > admission {
			t.Errorf("%v allocations for a refusal, %v for an admission", refusal, admission)
		}
	})
}

// allocations are those of one auth request on a connection that stays. What else happens in
// the process, such as a collection that empties pools, only adds some: the fewest count.
func (r *rig) allocations(t *testing.T, d *dialect, status string, headers ...string) float64 {
	t.Helper()
	line := "GET /auth/" + d.name
	if d.own {
		line += "/private"
	}
	lines := slices.Concat([]string{line + " HTTP/1.1", "Host: gatehouse.test", "User-Agent: Mozilla/5.0", "Accept: application/json"}, forwarded(d, "GET", "/private"), headers)
	request, response, conn := []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"), make([]byte, 4<<10), r.dial(t)
	once := func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		size, err := conn.Read(response) // which is one write
		if err != nil || !bytes.HasPrefix(response[:size], []byte("HTTP/1.1 "+status)) {
			t.Fatalf("%q, %v", response[:size], err)
		}
	}
	once()
	fewest := testing.AllocsPerRun(100, once)
	for range 4 {
		fewest = min(fewest, testing.AllocsPerRun(100, once))
	}
	return fewest
}
