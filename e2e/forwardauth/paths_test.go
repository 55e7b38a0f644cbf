package forwardauth

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"gatehouse/core"
)

// pieces of targets that two readers may take for two things.
var pieces = []string{
	"public", "private", "a", "/", "/", "/", "..", ".", "%2e", "%2E%2e", ".%2e", "%2f", "%2F", "%5c", `\`, ";", ";x=1", "%3b", "..;", "%25", "%252e", "%252f",
	"%00", "%0a", "%0d%0a", "%09", "%20", "%7f", "%41", "%61", "%7e", "%2d", "é", "%c3%a9", "%C3%A9", "%c3", "%ff", "\xff", "\xc3", "%u002e", "%", "%2", "%zz",
	`"`, "|", "^", "{", "}", "<", ">", "`", "'", "*", "!", "$", "&", "(", ")", "+", ",", ":", "@", "=", "~", "[", "]", "%5b", "%3f", "%23", "%26",
	"?", "?x=/..", "#", "#/..", "//", "/./", "/../",
}

// target is a random one; most begin as a path does.
func target(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(20) > 0 {
		b.WriteByte('/')
	}
	for range 1 + r.IntN(7) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// admitted is the nth line of the log that lets a request pass. The log comes
// through a pipe, perhaps after the response.
func (b *bench) admitted(t *testing.T, nth int) string {
	t.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n := 0
		for line := range strings.Lines(b.service.log.String()) {
			if strings.Contains(line, "msg=allowed ") {
				n++
			}
			if n == nth {
				return line
			}
		}
	}
	t.Fatalf("the service has let fewer than %d requests pass", nth)
	return ""
}

// logged is a value as the log writes it.
func logged(value string) string {
	odd := func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }
	if value == "" || strings.ContainsFunc(value, odd) {
		return strconv.Quote(value)
	}
	return value
}

// TestTargetThatTheProxyAsksAboutIsNotTheOneItServes: every path is public
// here, so that whatever the service makes of a target, the proxy passes it on.
// What arrives must read as what was decided on.
func TestTargetThatTheProxyAsksAboutIsNotTheOneItServes(t *testing.T) {
	const tries = 1500
	eachProxyWith(t, "public: ['GET /.*']\n", func(t *testing.T, b *bench) {
		random := rand.New(rand.NewPCG(1, 2))
		arrived, before := 0, 1 // the proxy was awaited with a request
		for range tries {
			sent := target(random)
			_, got := b.send(t, "GET", sent)
			if got == nil {
				continue
			}
			arrived++
			served, err := core.Canonical(got.Target, core.PathOptions{})
			if decided := b.admitted(t, before+arrived); err != nil || !strings.Contains(decided, " path="+logged(served)+" host=") {
				t.Errorf("%q: served %q (%q), decided on %s: %v", sent, got.Target, served, decided, err)
			}
		}
		t.Logf("%d of %d arrived", arrived, tries)
		if arrived < tries/20 {
			t.Errorf("only %d of %d arrived", arrived, tries)
		}
	})
}
