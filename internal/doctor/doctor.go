// Package doctor examines a gate where it runs: what its configuration names, asked as a
// node asks it; the gateway in front of it, asked as a client asks; and the gateway's
// admin API.
//
// It is safe in production. It reads and never changes: requests to the gateway are GET
// and OPTIONS, identity providers are asked about invented credentials, nothing is written
// to Redis or PostgreSQL, and every call has a time limit and a bounded response. No
// credential and no secret is in a finding.
package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse/core/config"
)

// Severity is how bad a finding is.
type Severity string

// Severities. An error lets somebody in, or keeps everybody out; a warning may, or will. A
// note is to be known. OK says that a check has found nothing.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
	OK      Severity = "ok"
)

// Finding is what one check found.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Subject is what was examined.
	Subject string `json:"subject"`
	// Text is what was found, Why what it means, Mend what to do. An OK has neither.
	Text string `json:"text"`
	Why  string `json:"why,omitempty"`
	Mend string `json:"mend,omitempty"`
}

// Check is one thing that is examined.
type Check struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	why  string
}

// Checks lists everything that is examined.
var Checks = []Check{
	{"provider", "identity providers respond to the gate, and take the gate's own credentials", "callers whose credentials it verifies get 503"},
	{"clock", "clocks of providers, Redis, PostgreSQL and the gateway go with that of this machine", "tokens end too early or too late, and new ones are refused"},
	{"redis", "Redis responds, is a master, and forgets nothing before its time", "nodes do not learn from each other what is revoked or known"},
	{"postgres", "PostgreSQL responds and has the schema that this program needs", "nodes do not get permission tables, revocations and API tokens"},
	{"gateway", "the gateway responds", "nothing else can be examined from outside"},
	{"gateway-version", "the gateway is of a version that fails closed", "an older one lets requests through while the plugin is down"},
	{"no-credential", "a request without a credential is refused", "the route is open"},
	{"invented-token", "an invented token is refused", "a token that nobody issued opens the route"},
	{"hidden-token", "an invented token behind many header lines is refused", "what the plugin does not see opens the route"},
	{"forged-header", "identity headers of a client do not reach the upstream", "a client can say who it is"},
	{"forwarded-header", "forwarded headers of a client are not believed", "a client can say where it comes from, or which path is decided on"},
	{"header-limit", "long tokens reach the gate", "the gateway refuses users with many roles before the gate sees them, with an error that names no cause"},
	{"preflight", "preflights of browsers are answered", "scripts of other origins cannot call the route"},
	{"admin", "the admin API of the gateway responds", "the gateway's configuration cannot be examined"},
	{"plugin", "the plugin is installed at the gateway", "routes with it do not load, or respond with 500"},
	{"routes", "what gatehouse check finds in the configuration that the gateway runs", "gatehouse check --rules says what each rule is about"},
}

func why(check string) string {
	return Checks[slices.IndexFunc(Checks, func(c Check) bool { return c.Name == check })].why
}

// Options say what is examined. What is not named is not.
type Options struct {
	// Config is the configuration of the gate; nil: none.
	Config *config.Config
	// URL is a route of the gateway that needs a credential; nil: none.
	URL *url.URL
	// Echo is a route of the gateway whose upstream writes the request's headers into the
	// response; nil: none. Authorization is sent to it, for one that needs a credential.
	Echo          *url.URL
	Authorization string
	// Kong and APISIX are the admin APIs, with their keys; nil: none.
	Kong, APISIX       *url.URL
	KongKey, APISIXKey string
	// Transport makes the calls to the gateway and its admin API.
	Transport http.RoundTripper
	// Timeout bounds each call.
	Timeout time.Duration
	// Now is the clock.
	Now func() time.Time
}

// examination is one run.
type examination struct {
	Options
	http  *http.Client
	found []Finding
	// clocks are the clocks that were reported, each once.
	clocks map[string]bool
}

// Examine runs every check that the options allow, one after the other: a doctor is no
// load test.
func Examine(ctx context.Context, o Options) []Finding {
	x := &examination{Options: o, clocks: map[string]bool{}, http: &http.Client{
		Transport: o.Transport, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if o.Config != nil {
		x.providers(ctx)
		x.redis(ctx)
		x.postgres(ctx)
	}
	x.gateway(ctx)
	if o.Kong != nil {
		x.kong(ctx)
	}
	if o.APISIX != nil {
		x.apisix(ctx)
	}
	return x.found
}

// ok notes a check that found nothing.
func (x *examination) ok(check, subject, format string, args ...any) {
	x.found = append(x.found, Finding{Check: check, Severity: OK, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

// add notes a finding.
func (x *examination) add(check string, s Severity, subject, mend, format string, args ...any) {
	x.found = append(x.found, Finding{check, s, subject, fmt.Sprintf(format, args...), why(check), mend})
}

// invented is a text that nobody has issued, with a word that says in a log where it
// comes from.
func invented() string { return "gatehouse-doctor-" + rand.Text() }

// Differences of clocks, as seconds. Times in HTTP have no fractions.
const (
	clockWarning = 5 * time.Second
	clockError   = 30 * time.Second
)

// clock compares a clock with this machine's, by what was read between two moments.
func (x *examination) clock(subject string, theirs, before, after time.Time) {
	if theirs.IsZero() || x.clocks[subject] {
		return
	}
	x.clocks[subject] = true
	ahead := time.Duration(0)
	switch {
	case theirs.After(after):
		ahead = theirs.Sub(after)
	case before.Sub(theirs) > time.Second:
		ahead = theirs.Add(time.Second).Sub(before)
	}
	text := fmt.Sprintf("its clock is %s ahead of this machine's", ahead.Round(time.Second))
	if ahead < 0 {
		text = fmt.Sprintf("its clock is %s behind this machine's", (-ahead).Round(time.Second))
	}
	mend := "synchronise the clocks of both machines by NTP; leeway bridges a few seconds for nbf and iat, and none for exp"
	switch distance := ahead.Abs(); {
	case distance > clockError:
		x.add("clock", Error, subject, mend, "%s", text)
	case distance > clockWarning:
		x.add("clock", Warning, subject, mend, "%s", text)
	default:
		x.ok("clock", subject, "differs by less than %s", clockWarning)
	}
}

// date is the time of a response (RFC 9110 section 6.6.1); zero: it has none.
func date(h http.Header) time.Time {
	t, _ := http.ParseTime(h.Get("Date"))
	return t
}
