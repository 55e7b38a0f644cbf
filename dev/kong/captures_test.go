package kong

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// meantDifferences are captured requests that the local gateway treats
// differently on purpose: "<base> <name>" and why. Each must still differ.
var meantDifferences = map[string]string{}

// TestRealKongDidTheSame replays what a real Kong was sent, through the real
// plugin binary, and wants the same response and the same upstream request.
func TestRealKongDidTheSame(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "probe"), probeConfig)
	captures := readCaptures(t)
	if len(captures) != 315 {
		t.Fatalf("%d captures, want 315", len(captures))
	}
	norm := newNormalizer(g, up)
	unused := map[string]bool{}
	for key := range meantDifferences {
		unused[key] = true
	}
	for _, c := range captures {
		got := g.send(t, string(c.Client))
		differences := compareReply(norm, c, got)
		differences = append(differences, compareUpstream(norm, c, up.received(t))...)
		key := c.Base + " " + c.Name
		delete(unused, key)
		switch reason, meant := meantDifferences[key]; {
		case meant && len(differences) == 0:
			t.Errorf("%s: listed as a meant difference (%s) but there is none", key, reason)
		case !meant && len(differences) > 0:
			t.Errorf("%s: %q\n%s", key, clip(string(c.Client)), strings.Join(differences, "\n"))
		}
	}
	for key := range unused {
		t.Errorf("%s: listed as a meant difference but not captured", key)
	}
}

func clip(s string) string { return s[:min(len(s), 200)] }

// normalizer takes out what differs between any two runs.
type normalizer struct{ replace *strings.Replacer }

var (
	requestID = regexp.MustCompile(`[0-9a-f]{32}`)
	latencies = regexp.MustCompile(`^(X-Kong-[A-Za-z]+-Latency|Date): .*`)
)

func newNormalizer(g *testGateway, up *echo) normalizer {
	_, port, _ := strings.Cut(g.server.Addr().String(), ":")
	return normalizer{strings.NewReplacer(
		"Host: 127.0.0.1:19090", "Host: UPSTREAM", "Host: 127.0.0.1:"+up.port(), "Host: UPSTREAM",
		"X-Forwarded-Port: 18000", "X-Forwarded-Port: PORT", "X-Forwarded-Port: "+port, "X-Forwarded-Port: PORT",
		"kong/3.9.3", "NAME", serverName, "NAME",
	)}
}

func (n normalizer) text(s string) string {
	return requestID.ReplaceAllString(n.replace.Replace(s), "ID")
}

func (n normalizer) lines(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = latencies.ReplaceAllString(n.text(line), "$1: VARIES")
	}
	return out
}

// latin1 undoes that the captures' lines are Latin-1 text, in which a byte that
// is no UTF-8 became U+FFFD.
func latin1(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		var b []byte
		for _, r := range line {
			if r == utf8.RuneError {
				b = append(b, string(utf8.RuneError)...)
			} else {
				b = append(b, byte(r))
			}
		}
		out[i] = string(b)
	}
	return out
}

// replaceInvalid writes U+FFFD for each byte that is no UTF-8.
func replaceInvalid(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = string([]rune(line))
	}
	return out
}

func compareReply(n normalizer, c capture, got reply) []string {
	var diffs []string
	if got.status != c.Status {
		diffs = append(diffs, "status "+got.status+", want "+c.Status)
	}
	if c.Body == nil || strings.HasPrefix(string(c.Client), "HEAD ") && got.code() == "200" {
		return diffs // an upstream responded: its Date and length are its own
	}
	want, have := n.lines(c.Headers), n.lines(got.header)
	if len(c.Frames) > 0 { // the plugin's headers come in the order of a Lua table
		slices.Sort(want)
		slices.Sort(have)
	}
	if !slices.Equal(want, have) {
		diffs = append(diffs, "header "+strings.Join(have, " | ")+"\nwant   "+strings.Join(want, " | "))
	}
	if n.text(got.body) != n.text(*c.Body) {
		diffs = append(diffs, "body "+got.body+", want "+*c.Body)
	}
	return diffs
}

// pluginLines are set by the probe, in the random order of a Go map.
func pluginLine(line string) bool {
	line = strings.ToLower(line)
	return strings.HasPrefix(line, "x-user-id:") || strings.HasPrefix(line, "x-seen-path:")
}

func compareUpstream(n normalizer, c capture, got []string) []string {
	if strings.HasPrefix(string(c.Client), "HEAD ") && strings.Contains(c.Status, " 200 ") {
		if got == nil {
			return []string{"the upstream got nothing"}
		}
		return nil // the captures could not record what the upstream got
	}
	if (got == nil) != (c.Upstream == nil) {
		return []string{"upstream got " + strings.Join(got, " | ") + "\nwant         " + strings.Join(c.Upstream, " | ")}
	}
	if got == nil {
		return nil
	}
	want, have := n.lines(latin1(c.Upstream)), n.lines(replaceInvalid(got))
	if sameLines(want, have) {
		return nil
	}
	return []string{"upstream got " + strings.Join(have, " | ") + "\nwant         " + strings.Join(want, " | ")}
}

func sameLines(a, b []string) bool {
	split := func(lines []string) (fixed, loose []string) {
		for _, line := range lines {
			if pluginLine(line) {
				loose = append(loose, line)
			} else {
				fixed = append(fixed, line)
			}
		}
		slices.Sort(loose)
		return fixed, loose
	}
	fixedA, looseA := split(a)
	fixedB, looseB := split(b)
	return slices.Equal(fixedA, fixedB) && slices.Equal(looseA, looseB)
}
