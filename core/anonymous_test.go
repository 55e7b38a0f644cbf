package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	. "gatehouse/core"
)

// openRule is a rule for calls that may be made without a name.
type openRule struct {
	rule
	anonymous        error // nil: allowed
	cookies, headers bool  // whether bad ones are ignored
}

func (r openRule) AllowsAnonymous(context.Context, *Call) error { return r.anonymous }
func (r openRule) IgnoresInvalid(_ *Call, explicit bool) bool {
	if explicit {
		return r.headers
	}
	return r.cookies
}

// openTo is a policy of one call.
type openTo struct{ access Access }

func (p openTo) Match(context.Context, *Call) Access { return p.access }
func (openTo) Permissions(*Principal) []string       { return nil }

func TestCallsThatMayBeMadeWithoutAName(t *testing.T) {
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	cookie := func(value string) []string { return []string{"Cookie", "ory_kratos_session=" + value} }
	stepUp := &StepUp{AAL: "aal2"}
	refused, cookies, all := openRule{}, openRule{cookies: true}, openRule{cookies: true, headers: true}
	for name, c := range map[string]struct {
		access  Access
		headers []string
		status  int // 0: allowed
		reason  string
		sub     string
	}{
		"nobody":                   {refused, nil, 0, "anonymous", ""},
		"somebody":                 {refused, bearer("good"), 0, "allowed", "ada"},
		"somebody by a cookie":     {refused, cookie("good"), 0, "allowed", "ada"},
		"a cookie without a value": {refused, cookie(""), 0, "anonymous", ""},

		"a bad token":            {refused, bearer("bad"), 401, "invalid_credential", ""},
		"an expired token":       {refused, bearer("expired"), 401, "invalid_credential", ""},
		"a bad cookie":           {refused, cookie("bad"), 401, "invalid_credential", ""},
		"another scheme":         {refused, []string{"Authorization", "Basic dTpw"}, 401, "no_credential", ""},
		"an empty header":        {refused, []string{"Authorization", ""}, 400, "bad_request", ""},
		"a repeated header":      {refused, append(bearer("good"), bearer("good")...), 400, "bad_request", ""},
		"two credentials":        {refused, append(bearer("good"), "X-Session-Token", "good"), 400, "bad_request", ""},
		"a bad token, a cookie":  {refused, append(bearer("bad"), cookie("good")...), 401, "invalid_credential", ""},
		"a malformed cookie":     {refused, cookie("a,b"), 401, "invalid_credential", ""},
		"the provider is down":   {refused, bearer("outage"), 503, "unavailable", ""},
		"a panic of the checker": {refused, bearer("panic"), 503, "unavailable", ""},

		"cookies ignored, a bad one":           {cookies, cookie("bad"), 0, "credential_ignored", ""},
		"cookies ignored, a malformed one":     {cookies, cookie("a,b"), 0, "credential_ignored", ""},
		"cookies ignored, a good one":          {cookies, cookie("good"), 0, "allowed", "ada"},
		"cookies ignored, a bad token":         {cookies, bearer("bad"), 401, "invalid_credential", ""},
		"cookies ignored, a token and a good":  {cookies, append(bearer("bad"), cookie("good")...), 401, "invalid_credential", ""},
		"cookies ignored, two credentials":     {cookies, append(bearer("good"), "X-Session-Token", "good"), 400, "bad_request", ""},
		"cookies ignored, another scheme":      {cookies, []string{"Authorization", "Basic dTpw"}, 401, "no_credential", ""},
		"cookies ignored, the provider's down": {cookies, cookie("outage"), 503, "unavailable", ""},

		"ignored, a bad token":            {all, bearer("bad"), 0, "credential_ignored", ""},
		"ignored, an expired token":       {all, bearer("expired"), 0, "credential_ignored", ""},
		"ignored, a nameless token":       {all, bearer("nameless"), 0, "credential_ignored", ""},
		"ignored, a bad cookie":           {all, cookie("bad"), 0, "credential_ignored", ""},
		"ignored, another scheme":         {all, []string{"Authorization", "Basic dTpw"}, 0, "credential_ignored", ""},
		"ignored, an empty header":        {all, []string{"Authorization", ""}, 0, "credential_ignored", ""},
		"ignored, a repeated header":      {all, append(bearer("good"), bearer("good")...), 0, "credential_ignored", ""},
		"ignored, two credentials":        {all, append(bearer("good"), "X-Session-Token", "good"), 0, "credential_ignored", ""},
		"ignored, bad, and a good cookie": {all, append(bearer("bad"), cookie("good")...), 0, "credential_ignored", ""},
		"ignored, a good token":           {all, bearer("good"), 0, "allowed", "ada"},
		"ignored, the provider is down":   {all, bearer("outage"), 503, "unavailable", ""},
		"ignored, a panic":                {all, bearer("panic"), 503, "unavailable", ""},
		"ignored, no principal":           {all, bearer("nil"), 503, "unavailable", ""},
		"ignored, a weak sign-in":         {all, bearer("weak"), 401, "step_up", ""},

		"a name that may not":              {openRule{rule: rule{err: fmt.Errorf("%w: no", ErrForbidden)}, headers: true}, bearer("good"), 403, "forbidden", ""},
		"a name that must sign in again":   {openRule{rule: rule{err: stepUp}, headers: true}, bearer("good"), 401, "step_up", ""},
		"a name of whom it is not known":   {openRule{rule: rule{err: errors.New("asked in vain")}, headers: true}, bearer("good"), 503, "unavailable", ""},
		"nobody, who may not":              {openRule{anonymous: ErrMissing}, nil, 401, "no_credential", ""},
		"nobody, ruled out":                {openRule{anonymous: ErrForbidden}, nil, 401, "no_credential", ""},
		"nobody, of whom it is not known":  {openRule{anonymous: errors.New("asked in vain")}, nil, 503, "unavailable", ""},
		"ignored, but nobody may not":      {openRule{anonymous: ErrMissing, headers: true}, bearer("bad"), 401, "invalid_credential", ""},
		"malformed, and nobody may not":    {openRule{anonymous: ErrMissing, headers: true}, []string{"Authorization", ""}, 400, "bad_request", ""},
		"a rule that knows nothing of it":  {rule{}, nil, 401, "no_credential", ""},
		"another scheme, such a rule":      {rule{}, []string{"Authorization", "Basic dTpw"}, 401, "no_credential", ""},
		"somebody, and such a rule":        {rule{}, bearer("good"), 0, "allowed", "ada"},
		"a public rule looks at no header": {rule{public: true}, bearer("bad"), 0, "public", ""},
	} {
		g, _ := testGate(t, func(o *Options) { o.Policy, o.Login = openTo{c.access}, nil })
		d := g.Check(t.Context(), get("/any", c.headers...))
		sub := ""
		if d.Outcome == Allow && d.Principal != nil {
			sub = d.Principal.Subject
		}
		if d.Status != c.status || d.Reason != c.reason || sub != c.sub {
			t.Errorf("%s: %d %s for %q: %v", name, d.Status, d.Reason, sub, d.Cause)
		}
		if d.Outcome == Allow && (d.Cause != nil) != (d.Reason == "credential_ignored") {
			t.Errorf("%s: the log says %v", name, d.Cause)
		}
		if challenge := header(d, "WWW-Authenticate"); (challenge != "") != (d.Status == 401 || d.Status == 400) {
			t.Errorf("%s: %d with the challenge %q", name, d.Status, challenge)
		}
		if d.Outcome == Allow && sub == "" && len(d.Set) > 0 {
			t.Errorf("%s: the upstream gets %v of nobody", name, d.Set)
		}
	}
}

// A page that a caller without a name may not see leads to the sign-in page, as any
// other does.
func TestBrowserWithoutANameIsSentToSignIn(t *testing.T) {
	for status, access := range map[int]Access{0: openRule{}, 302: openRule{anonymous: ErrMissing}} {
		g, _ := testGate(t, func(o *Options) { o.Policy = openTo{access} })
		if d := g.Check(t.Context(), get("/page", "Accept", "text/html")); d.Status != status {
			t.Errorf("%d, want %d", d.Status, status)
		}
	}
}

// A cookie that the authenticator deletes goes to the client also where the
// credential is ignored.
func TestIgnoredCredentialKeepsTheHeaderOfTheResponse(t *testing.T) {
	g, _ := testGate(t, func(o *Options) {
		o.Policy, o.Authenticator = openTo{openRule{headers: true}}, forgets{}
	})
	d := g.Check(t.Context(), get("/page", "Authorization", "Bearer old"))
	if d.Reason != "credential_ignored" || len(d.ResponseHeader) != 1 || d.ResponseHeader[0].Name != "Set-Cookie" {
		t.Errorf("%s %v", d.Reason, d.ResponseHeader)
	}
}

// forgets has the browser forget a credential that no longer holds.
type forgets struct{}

func (forgets) Authenticate(context.Context, *Call, Credential) (Authentication, error) {
	return Authentication{ResponseHeader: []Header{{Name: "Set-Cookie", Value: "s=; Max-Age=0"}}}, ErrInvalid
}
func (forgets) ResponseHeaders() []string { return []string{"Set-Cookie"} }
