package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/extract"
	"gatehouse/core/identity"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
)

const (
	secret   = "0123456789abcdef0123456789abcdef"
	previous = "fedcba9876543210fedcba9876543210"
)

// rig is a gate with the API, on a token file.
type rig struct {
	t      *testing.T
	gate   *core.Gate
	keeper tokenfile.Keeper
	path   string
	told   []revocation.Event
	fails  error
	log    bytes.Buffer
}

func (r *rig) Publish(_ context.Context, events ...revocation.Event) error {
	r.told = append(r.told, events...)
	return r.fails
}

func newRig(t *testing.T, perMinute int) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "tokens.yaml")}
	r.keeper = tokenfile.NewKeeper(r.path)
	manager := manage.New(manage.Options{Keeper: r.keeper, Owners: r.keeper, Publisher: r, Source: "test", MaxLifetime: 365 * 24 * time.Hour, Now: time.Now})
	endpoints, err := Endpoints(Options{
		Manager: manager, Path: "/api-tokens", Secrets: receive.Secrets{Header: "Authorization", Values: []string{secret, previous}},
		Rate: attempts.Rate{Count: perMinute, Window: time.Minute}, Log: slog.New(slog.NewTextHandler(&r.log, nil)), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	extractor, err := extract.New()
	if err != nil {
		t.Fatal(err)
	}
	headers, err := identity.New(identity.Options{Ignored: extractor})
	if err != nil {
		t.Fatal(err)
	}
	r.gate, err = core.New(core.Options{Endpoints: endpoints, Extractor: extractor, Authenticator: nobody{}, Policy: nothing{}, Identity: headers, Scheme: core.SchemeBearer, Realm: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type nobody struct{}

func (nobody) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{}, core.ErrInvalid
}

type nothing struct{}

func (nothing) Match(context.Context, *core.Call) core.Access { return nil }

func (nothing) Permissions(*core.Principal) []string { return nil }

// ask sends a request with the secret, unless further header lines are given.
func (r *rig) ask(method, target, body string, header ...core.Header) (int, map[string]any) {
	r.t.Helper()
	if header == nil {
		header = []core.Header{{Name: "Authorization", Value: "Bearer " + secret}, {Name: "Content-Type", Value: "application/json"}}
	}
	d := r.gate.Check(r.t.Context(), &core.Request{Method: method, Target: target, Header: header, AskBody: func(int) ([]byte, error) { return []byte(body), nil }})
	if d.Outcome == core.Allow {
		r.t.Fatalf("%s %s goes on to the upstream", method, target)
	}
	var document map[string]any
	if len(d.Body) > 0 {
		if err := json.Unmarshal(d.Body, &document); err != nil {
			r.t.Fatalf("%s %s: %s: %v", method, target, d.Body, err)
		}
	}
	kind := ""
	for _, h := range d.Header {
		if h.Name == "Content-Type" {
			kind = h.Value
		}
	}
	if d.Status >= 400 && (kind != "application/problem+json" || document["status"] != float64(d.Status)) {
		r.t.Errorf("%s %s: %d is no problem document: %s: %s", method, target, d.Status, kind, d.Body)
	}
	if strings.Contains(string(d.Body)+r.log.String(), secret) || strings.Contains(r.log.String(), "gth_") {
		r.t.Errorf("%s %s: a response or the log holds a secret", method, target)
	}
	return d.Status, document
}

func (r *rig) account() {
	r.t.Helper()
	if status, document := r.ask("POST", "/api-tokens/accounts", `{"name": "nightly", "roles": ["clerk"], "permissions": ["orders:read"], "by": "ada"}`); status != http.StatusNoContent {
		r.t.Fatalf("%d %v", status, document)
	}
}

func (r *rig) create(members string) (token, id string) {
	r.t.Helper()
	status, document := r.ask("POST", "/api-tokens", `{"service_account": "nightly"`+members+`}`)
	if status != http.StatusCreated {
		r.t.Fatalf("%d %v", status, document)
	}
	return document["token"].(string), document["id"].(string)
}

// records are those in the file, by id.
func (r *rig) records() map[string]*apitoken.Record {
	all, err := r.keeper.List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	found := map[string]*apitoken.Record{}
	for _, record := range all {
		found[record.ID] = record
	}
	return found
}

func TestTokensAreManagedByHTTP(t *testing.T) {
	r := newRig(t, 1000)
	r.account()
	token, id := r.create(`, "name": "report", "roles": ["clerk"], "networks": ["10.0.0.0/8"], "hosts": ["api.test"], "expires_in": 3600, "by": "ada"`)
	got := r.records()[id]
	if !apitoken.WellFormed(token) || got.Digest != apitoken.DigestOf(token) || got.Name != "report" || got.CreatedBy != "ada" || len(got.Networks) != 1 || len(got.Hosts) != 1 || got.Expires.Sub(got.Created) != time.Hour {
		t.Errorf("%+v", got)
	}
	_, usual := r.create("")
	if got := r.records()[usual]; got.Expires.Sub(got.Created) != defaultLifetime || got.CreatedBy != "admin API" || len(got.Roles)+len(got.Permissions)+len(got.Scopes) > 0 {
		t.Errorf("%+v", got)
	}
	status, document := r.ask("POST", "/api-tokens/rotate", `{"id": "`+id+`", "overlap": 60}`)
	if status != http.StatusCreated || document["token"] == token || document["name"] != "report" {
		t.Errorf("rotate: %d %v", status, document)
	}
	if left := time.Until(r.records()[id].Expires); left > time.Minute || len(r.told) > 0 {
		t.Errorf("the old one ends in %s, nodes were told %v", left, r.told)
	}
	fresh := document["id"].(string)
	if status, document := r.ask("POST", "/api-tokens/rotate", `{"id": "`+fresh+`", "overlap": 0}`); status != http.StatusCreated || r.records()[fresh].Revoked.IsZero() || len(r.told) != 1 {
		t.Errorf("rotate without an overlap: %d %v, nodes were told %v", status, document, r.told)
	}
	if status, document := r.ask("POST", "/api-tokens/revoke", `{"id": "`+usual+`"}`); status != http.StatusOK || r.records()[usual].Revoked.IsZero() || len(r.told) != 2 {
		t.Errorf("revoke: %d %v", status, document)
	}
	if !slices.ContainsFunc(r.told, func(e revocation.Event) bool {
		return e.Value == r.records()[usual].Digest.String() && e.Kind == revocation.Token
	}) {
		t.Errorf("nodes were told %+v", r.told)
	}
	leaked, leakedID := r.create("")
	report := fmt.Sprintf("a.js:1: %s\nb.js:2: %s %s", leaked, leaked, apitoken.Generate())
	text, _ := json.Marshal(map[string]string{"report": report})
	if status, document := r.ask("POST", "/api-tokens/revoke", string(text)); status != http.StatusOK || document["unknown"] != 1.0 || r.records()[leakedID].Revoked.IsZero() {
		t.Errorf("report: %d %v", status, document)
	}
	status, document = r.ask("GET", "/api-tokens?service_account=nightly", "")
	list := document["tokens"].([]any)
	body, _ := json.Marshal(document)
	if status != http.StatusOK || len(list) != 5 || strings.Contains(string(body), "gth_") || strings.Contains(string(body), "sha256:") || document["next"] != nil {
		t.Errorf("list: %d %s", status, body)
	}
	if _, document := r.ask("GET", "/api-tokens?service_account=other", ""); len(document["tokens"].([]any)) != 0 {
		t.Errorf("the list of another owner: %v", document)
	}
}

func TestListIsReadInPages(t *testing.T) {
	r := newRig(t, 1000)
	r.account()
	want := []string{}
	for range 5 {
		_, id := r.create("")
		want = append(want, id)
	}
	var got []string
	next := ""
	for range 10 {
		_, document := r.ask("GET", "/api-tokens?limit=2"+next, "")
		for _, one := range document["tokens"].([]any) {
			got = append(got, one.(map[string]any)["id"].(string))
		}
		after, more := document["next"].(string)
		if !more {
			break
		}
		next = "&after=" + after
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRequestWithoutTheSecretManagesNothing(t *testing.T) {
	r := newRig(t, 1000)
	r.account()
	token, id := r.create("")
	kind := core.Header{Name: "Content-Type", Value: "application/json"}
	authorization := func(values ...string) []core.Header {
		header := []core.Header{kind}
		for _, value := range values {
			header = append(header, core.Header{Name: "Authorization", Value: value})
		}
		return header
	}
	before := r.records()
	for name, header := range map[string][]core.Header{
		"none":                     {kind},
		"empty":                    authorization(""),
		"no secret":                authorization("Bearer "),
		"another secret":           authorization("Bearer " + strings.Repeat("x", 32)),
		"a part of it":             authorization("Bearer " + secret[:31]),
		"more than it":             authorization("Bearer " + secret + "x"),
		"in another case":          authorization("Bearer " + strings.ToUpper(secret)),
		"another scheme":           authorization("Basic " + secret),
		"no scheme":                authorization(secret),
		"two lines":                authorization("Bearer "+secret, "Bearer "+secret),
		"an API token":             authorization("Bearer " + token),
		"a digest":                 authorization("Bearer " + apitoken.DigestOf(token).String()),
		"in another header":        {kind, {Name: "X-Authorization", Value: "Bearer " + secret}},
		"with an underscore":       {kind, {Name: "Authorization_", Value: "Bearer " + secret}},
		"in a cookie":              {kind, {Name: "Cookie", Value: "Authorization=Bearer " + secret}},
		"in the header of a proxy": {kind, {Name: "Proxy-Authorization", Value: "Bearer " + secret}},
	} {
		for _, request := range [][3]string{
			{"GET", "/api-tokens", ""}, {"GET", "/api-tokens?authorization=" + secret, ""}, {"HEAD", "/api-tokens", ""},
			{"POST", "/api-tokens", `{"service_account": "nightly"}`}, {"POST", "/api-tokens/rotate", `{"id": "` + id + `"}`},
			{"POST", "/api-tokens/revoke", `{"id": "` + id + `"}`}, {"POST", "/api-tokens/accounts", `{"name": "evil"}`},
		} {
			if status, _ := r.ask(request[0], request[1], request[2], header...); status != http.StatusUnauthorized {
				t.Errorf("%s: %s %s: %d", name, request[0], request[1], status)
			}
		}
	}
	if now := r.records(); len(now) != 1 || !now[id].Revoked.IsZero() || len(r.told) > 0 || !now[id].Expires.Equal(before[id].Expires) {
		t.Errorf("something has changed: %+v", now[id])
	}
	if status, _ := r.ask("GET", "/api-tokens", "", core.Header{Name: "Authorization", Value: "bearer " + previous}); status != http.StatusOK {
		t.Errorf("the previous secret: %d", status)
	}
}

func TestOtherPathOrMethodManagesNothing(t *testing.T) {
	r := newRig(t, 1000)
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{"PUT", "/api-tokens", 405}, {"DELETE", "/api-tokens", 405}, {"GET", "/api-tokens/rotate", 405}, {"GET", "/api-tokens/revoke?id=x", 405}, {"PATCH", "/api-tokens/accounts", 405},
		{"GET", "/api-tokens/", 403}, {"POST", "/api-tokens/create", 403}, {"POST", "/API-tokens", 403}, {"GET", "//api-tokens", 400}, {"GET", "/x/../api-tokens", 400}, {"GET", "/api-tokens%2Frevoke", 400},
	} {
		d := r.gate.Check(t.Context(), &core.Request{Method: c.method, Target: c.target, Header: []core.Header{{Name: "Authorization", Value: "Bearer " + secret}}, AskBody: func(int) ([]byte, error) { return nil, nil }})
		if d.Status != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.target, d.Status, c.want)
		}
	}
}

func TestMalformedRequestChangesNothing(t *testing.T) {
	r := newRig(t, 10000)
	r.account()
	token, id := r.create("")
	text, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	const account = `"service_account": "nightly"`
	for _, c := range []struct {
		path, body string
		want       int
	}{
		{"", "", 400}, {"", "null", 400}, {"", "[]", 400}, {"", `"x"`, 400}, {"", "{", 400}, {"", `{` + account + `} {}`, 400},
		{"", `{` + account + `, "role": ["admin"]}`, 400}, {"", `{` + account + `, "ROLES": ["clerk"]}`, 400}, {"", `{` + account + `, "roles": ["clerk"], "roles": []}`, 400},
		{"", `{` + account + `, "networks": null}`, 400}, {"", `{` + account + `, "networks": []}`, 400}, {"", `{` + account + `, "networks": ["0.0.0.0/0"]}`, 400},
		{"", `{` + account + `, "networks": ["10.0.0.1/8"]}`, 400}, {"", `{` + account + `, "networks": "10.0.0.0/8"}`, 400}, {"", `{` + account + `, "hosts": []}`, 422}, {"", `{` + account + `, "hosts": ["*"]}`, 422},
		{"", `{` + account + `, "expires_in": 0}`, 400}, {"", `{` + account + `, "expires_in": -1}`, 400}, {"", `{` + account + `, "expires_in": 1e99}`, 400}, {"", `{` + account + `, "expires_in": 9223372036854775807}`, 400},
		{"", `{` + account + `, "expires_in": "3600"}`, 400}, {"", `{` + account + `, "expires_in": 99999999}`, 422}, {"", `{` + account + `, "insecure_no_expiry": true}`, 422},
		{"", `{` + account + `, "insecure_no_expiry": true, "expires_in": 60}`, 400}, {"", `{` + account + `, "subject": "ada"}`, 422}, {"", `{}`, 422}, {"", `{"service_account": "ghost"}`, 422},
		{"", `{"subject": "ada"}`, 422}, {"", `{` + account + `, "roles": ["*"]}`, 422}, {"", `{` + account + `, "roles": ["admin"]}`, 422}, {"", `{` + account + `, "scopes": ["admin"]}`, 422},
		{"", `{` + account + `, "id": "a b"}`, 422}, {"", `{` + account + `, "id": "` + token + `"}`, 422}, {"", `{` + account + `, "name": "a\u0000b"}`, 422}, {"", "{" + account + ", \"name\": \"\xff\"}", 400},
		{"", `{` + account + `, "name": "` + strings.Repeat("x", 300) + `"}`, 422}, {"", `{` + account + `, "digest": "sha256:00"}`, 400}, {"", `{` + account + `, "created": "2020-01-01T00:00:00Z"}`, 400},
		{"/rotate", `{}`, 400}, {"/rotate", `{"id": ""}`, 400}, {"/rotate", `{"id": "ghost"}`, 404}, {"/rotate", `{"id": "` + token + `"}`, 400}, {"/rotate", `{"id": "` + id + `", "overlap": -1}`, 400},
		{"/rotate", `{"id": "` + id + `", "expires_in": 99999999}`, 422}, {"/rotate", `{"id": "` + id + `", "roles": ["clerk"]}`, 400}, {"/rotate", `{"id": ["` + id + `"]}`, 400},
		{"/revoke", `{}`, 400}, {"/revoke", `{"id": "ghost"}`, 404}, {"/revoke", `{"id": "` + id + `", "report": "x"}`, 400}, {"/revoke", `{"report": "no token"}`, 400}, {"/revoke", `{"id": "` + token + `"}`, 400},
		{"/accounts", `{}`, 422}, {"/accounts", `{"name": "a b"}`, 422}, {"/accounts", `{"name": "nightly", "roles": ["*"]}`, 422}, {"/accounts", `{"name": "nightly", "suspended": "yes"}`, 400}, {"/accounts", `{"name": "nightly", "tokens": []}`, 400},
	} {
		if status, document := r.ask("POST", "/api-tokens"+c.path, c.body); status != c.want {
			t.Errorf("%s %.80s: %d, want %d: %v", c.path, c.body, status, c.want, document)
		} else if detail, _ := document["detail"].(string); detail == "" || strings.Contains(detail, token) {
			t.Errorf("%s %.80s: %q", c.path, c.body, detail)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?after=ghost", "?subject=", "?owner=x", "?limit=1&limit=2", "?%zz", "?a;b"} {
		if status, _ := r.ask("GET", "/api-tokens"+query, ""); status != 400 {
			t.Errorf("%s: %d", query, status)
		}
	}
	secretly := core.Header{Name: "Authorization", Value: "Bearer " + secret}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"} {
		header := []core.Header{secretly}
		if kind != "" {
			header = append(header, core.Header{Name: "Content-Type", Value: kind})
		}
		if status, _ := r.ask("POST", "/api-tokens", `{`+account+`}`, header...); status != 415 {
			t.Errorf("Content-Type %q: %d", kind, status)
		}
	}
	large := `{` + account + `, "name": "` + strings.Repeat("x", MaxBody) + `"}`
	if status, _ := r.ask("POST", "/api-tokens", large); status != 413 {
		t.Errorf("a large body: %d", status)
	}
	if now, err := os.ReadFile(r.path); err != nil || !bytes.Equal(now, text) || len(r.told) > 0 {
		t.Errorf("something has changed:\n%s", now)
	}
}

func TestSecondRequestWithOneIDMakesNoSecondToken(t *testing.T) {
	r := newRig(t, 1000)
	r.account()
	first, id := r.create(`, "id": "deploy-7"`)
	if status, document := r.ask("POST", "/api-tokens", `{"service_account": "nightly", "id": "deploy-7"}`); status != http.StatusConflict || document["token"] != nil {
		t.Errorf("%d %v", status, document)
	}
	all := r.records()
	if id != "deploy-7" || len(all) != 1 || all[id].Digest != apitoken.DigestOf(first) {
		t.Errorf("%v", slices.Collect(maps.Keys(all)))
	}
}

func TestRevocationThatIsNotKeptIsNoSuccess(t *testing.T) {
	r := newRig(t, 1000)
	r.account()
	_, id := r.create("")
	_, rotated := r.create("")
	r.fails = errors.New("Redis is away")
	if status, document := r.ask("POST", "/api-tokens/revoke", `{"id": "`+id+`"}`); status != http.StatusServiceUnavailable || strings.Contains(fmt.Sprint(document), "Redis") {
		t.Errorf("revoke: %d %v", status, document)
	}
	status, document := r.ask("POST", "/api-tokens/rotate", `{"id": "`+rotated+`", "overlap": 0}`)
	if token, _ := document["token"].(string); status != http.StatusServiceUnavailable || !apitoken.WellFormed(token) {
		t.Errorf("rotate: %d %v", status, document)
	}
	if now := r.records(); now[id].Revoked.IsZero() || now[rotated].Revoked.IsZero() || len(now) != 3 {
		t.Errorf("%v", now)
	}
	r.fails = nil
	if status, _ := r.ask("POST", "/api-tokens/revoke", `{"id": "`+id+`"}`); status != http.StatusOK {
		t.Errorf("revoked again: %d", status)
	}
}

func TestTooManyRequestsAreRefusedWithRetryAfter(t *testing.T) {
	r := newRig(t, 3)
	bad := []core.Header{{Name: "Authorization", Value: "Bearer wrong"}}
	for range 10 { // of strangers, who use up nothing
		r.ask("GET", "/api-tokens", "", bad...)
	}
	var got []int
	for range 5 {
		status, _ := r.ask("GET", "/api-tokens", "")
		got = append(got, status)
	}
	if !slices.Equal(got, []int{200, 200, 200, 429, 429}) {
		t.Errorf("%v", got)
	}
}
