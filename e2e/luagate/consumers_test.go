package luagate

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

const (
	adaID = "11111111-2222-4333-8444-555555555555"
	bobID = "66666666-7777-4888-9999-aaaaaaaaaaaa"
)

// consumers are those of a gateway: the names of both, and the custom_id of each.
func consumers(kind string, more ...map[string]any) []map[string]any {
	list := []map[string]any{
		{"id": adaID, "username": "ada", "custom_id": "c-ada"},
		{"id": bobID, "username": "bob", "custom_id": "42"},
		{"id": "77777777-7777-4888-9999-aaaaaaaaaaaa", "username": adaID, "custom_id": "ada"}, // is called like another one's id
	}
	if kind == "apisix" {
		list = []map[string]any{
			{"username": "ada", "group_id": "gold", "labels": map[string]any{"custom_id": "c-ada", "team": "red"}},
			{"username": "bob", "labels": map[string]any{"custom_id": "42", "team": "blue"}},
			{"username": adaID, "labels": map[string]any{"custom_id": "ada"}},
			{"username": "jack"},
			{"id": "root", "key": "jack/credentials/root", "plugins": map[string]any{}}, // a credential
			{"id": "one", "username": "named-otherwise"},
			{"username": "twin1", "labels": map[string]any{"custom_id": "twin"}},
			{"username": "twin2", "labels": map[string]any{"custom_id": "twin"}},
		}
	}
	return append(list, more...)
}

// write puts consumers in force; nil takes the database away.
func (b *bench) write(list []map[string]any) {
	b.t.Helper()
	if list == nil {
		if err := os.Remove(b.file("consumers.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.t.Fatal(err)
		}
		return
	}
	text, err := json.Marshal(list)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.file("consumers.json"), text, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// changed tells Kong that a consumer was changed.
func (b *bench) changed(id, username string) {
	b.t.Helper()
	if b.kind == "kong" {
		response, err := http.Get("http://" + b.Address + "/admin/consumers/changed?" + url.Values{"id": {id}, "username": {username}}.Encode())
		if err != nil {
			b.t.Fatal(err)
		}
		response.Body.Close()
	}
}

const consumersTable = `
public: [GET /public]
optional: [GET /maybe]
authenticated: [GET /me]
`

// consumerBench is a gateway with two issuers, of which the first one's users are
// consumers by a claim.
func consumerBench(t *testing.T, kind, rule string) (b *bench, first, second *coretest.Issuer) {
	t.Helper()
	clock := coretest.NewClock()
	first, second = coretest.NewIssuer(t, clock), coretest.NewIssuer(t, clock)
	settings := map[string]any{"introspection": nil, "permission_table": consumersTable, "authenticated_groups_claim": "roles",
		"jwt": map[string]any{"issuers": []any{
			map[string]any{"issuer": first.URL, "audience": []string{coretest.Audience}},
			map[string]any{"issuer": second.URL, "audience": []string{coretest.Audience}},
		}}}
	if rule != "" {
		var r map[string]any
		if err := json.Unmarshal([]byte(rule), &r); err != nil {
			t.Fatal(err)
		}
		r["issuer"] = first.URL
		settings["consumers"] = []any{r}
	}
	b = start(t, kind, settings, nil)
	b.write(consumers(kind))
	return b, first, second
}

func bearerOf(i *coretest.Issuer, claims map[string]any) string {
	return "Authorization: Bearer " + i.Token(claims)
}

// forged are headers by which a client says itself which consumer it is.
var forged = []string{
	"X-Consumer-ID: eve", "x-consumer-id: eve", "X_Consumer_Id: eve", "X-Consumer-Custom-ID: eve", "X_consumer-Custom_ID: eve",
	"X-Consumer-Username: eve", "X_CONSUMER_USERNAME: eve", "X-Consumer-Username: eve", "X-Consumer-Groups: eve", "X-Credential-Identifier: eve",
	"X_Credential_Identifier: eve", "X-Anonymous-Consumer: eve", "x_anonymous_consumer: eve",
}

// seen is what the upstream reads of one request: by name, the values joined.
func (b *bench) seen(line string, header ...string) (status int, get func(string) string) {
	b.t.Helper()
	response, reached := b.send(line, header...)
	if reached != (response.Status == 200) {
		b.t.Errorf("status %d, reached %v", response.Status, reached)
	}
	if !reached {
		return response.Status, func(string) string { return "" }
	}
	if all := strings.Join(response.Upstream.Headers, "\n"); strings.Contains(all, "eve") {
		b.t.Errorf("%s: the upstream got %s", line, all)
	}
	return response.Status, func(name string) string { return strings.Join(response.Upstream.Values(name), ",") }
}

func TestCallerIsTheConsumerOfItsIssuerAndClaim(t *testing.T) {
	each(t, callerIsTheConsumerOfItsIssuerAndClaim)
}

func callerIsTheConsumerOfItsIssuerAndClaim(t *testing.T, kind string) {
	b, first, second := consumerBench(t, kind, `{"consumer_claim": "sub"}`)
	status, got := b.seen("GET /me HTTP/1.1", append(forged[:len(forged):len(forged)], bearerOf(first, map[string]any{"sub": "ada"}))...)
	if status != 200 || got("X-Consumer-Username") != "ada" || got("X-Consumer-Custom-ID") != "c-ada" || got("X-Consumer-Groups") != "" || got("X-Anonymous-Consumer") != "" {
		t.Errorf("%d: the upstream reads %q, %q", status, got("X-Consumer-Username"), got("X-Consumer-Custom-ID"))
	}
	credential := got("X-Test-Limit-Credential")
	if kind == "kong" && (got("X-Consumer-ID") != adaID || got("X-Test-Limit-Consumer") != adaID || got("X-Credential-Identifier") != credential || len(credential) != 36) {
		t.Errorf("consumer %q, limited by %q, %q", got("X-Consumer-ID"), got("X-Test-Limit-Consumer"), credential)
	}
	if kind == "apisix" && (got("X-Test-Consumer-Name") != "ada" || got("X-Test-Group") != "gold" || got("X-Test-Team") != "red" || got("X-Credential-Identifier") != "" || len(credential) != 36) {
		t.Errorf("consumer %q, group %q, credential %q", got("X-Test-Consumer-Name"), got("X-Test-Group"), credential)
	}
	// Another token of the same caller counts as the same, and nobody else's does.
	if _, again := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "ada", "jti": "other"})); again("X-Test-Limit-Credential") != credential {
		t.Errorf("%q, then %q", credential, again("X-Test-Limit-Credential"))
	}
	// A user of another issuer has no consumer, whatever they are called.
	status, got = b.seen("GET /me HTTP/1.1", append(forged[:len(forged):len(forged)], bearerOf(second, map[string]any{"sub": "ada"}))...)
	if status != 200 || got("X-Consumer-Username") != "" || got("X-Consumer-ID") != "" || got("X-Test-Consumer-Name") != "" || got("X-Test-Group") != "" {
		t.Errorf("%d: a colliding sub is the consumer %q", status, got("X-Consumer-Username"))
	}
	if other := got("X-Test-Limit-Credential"); len(other) != 36 || other == credential || kind == "kong" && (got("X-Test-Limit-Consumer") != other || got("X-Anonymous-Consumer") != "") {
		t.Errorf("counted as %q, the other one as %q", other, credential)
	}
	if status, _ := b.seen("GET /me HTTP/1.1", "Connection: X-Consumer-Username", bearerOf(first, map[string]any{"sub": "ada"})); status != 400 {
		t.Errorf("a client takes off the header of its consumer: %d", status)
	}
	for _, unknown := range []string{"nobody", "c-ada", "ADA", adaID[:35] + "6", "eve", "jack/credentials/root", "../ada", "ada:", strings.Repeat("x", 2000)} {
		status, _ := b.seen("GET /me HTTP/1.1", append(forged[:len(forged):len(forged)], bearerOf(first, map[string]any{"sub": unknown}))...)
		if status != 403 {
			t.Errorf("sub %.40q: status %d", unknown, status)
		}
	}
	b.await("what is logged of a refusal", func() bool { return strings.Contains(b.Serialized(), `"reason":"no_consumer"`) })
	b.await("the program logs what the gateway has refused", func() bool { return strings.Count(b.Log(), "reason=no_consumer") == 9 })
	if kind == "apisix" { // whose id in a file may be another than the name
		if status, got := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "named-otherwise"})); status != 200 || got("X-Test-Consumer-Name") != "one" {
			t.Errorf("%d %q", status, got("X-Test-Consumer-Name"))
		}
		if status, _ := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "one"})); status != 403 {
			t.Errorf("an id where the username counts: %d", status)
		}
	}
}

func TestNothingIsMappedUnlessConfigured(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b, first, _ := consumerBench(t, kind, "")
		status, got := b.seen("GET /me HTTP/1.1", append(forged[:len(forged):len(forged)], bearerOf(first, map[string]any{"sub": "ada"}))...)
		for _, name := range []string{"X-Consumer-ID", "X-Consumer-Username", "X-Credential-Identifier", "X-Anonymous-Consumer", "X-Test-Consumer-Name"} {
			if got(name) != "" || status != 200 {
				t.Errorf("%d: %s is %q", status, name, got(name))
			}
		}
		// What another plugin of the gateway says of its consumer stays.
		key := map[string]string{"kong": "X-Test-Key: " + bobID, "apisix": "X-Test-Key: bob"}[kind]
		if _, got = b.seen("GET /me HTTP/1.1", key, bearerOf(first, map[string]any{"sub": "ada"})); got("X-Consumer-Username") != "bob" {
			t.Errorf("the consumer of another plugin is %q", got("X-Consumer-Username"))
		}
	})
}

// On public calls, refusals and calls that go on without an identity there is no consumer,
// and neither the upstream nor a logger reads the client's.
func TestClientIsNoConsumerOnAnyOutcome(t *testing.T) {
	each(t, clientIsNoConsumerOnAnyOutcome)
}

func clientIsNoConsumerOnAnyOutcome(t *testing.T, kind string) {
	b, first, _ := consumerBench(t, kind, `{"consumer_claim": "sub"}`)
	for _, c := range []struct {
		line, credential string
		status           int
	}{
		{"GET /public HTTP/1.1", "", 200}, {"GET /maybe HTTP/1.1", "", 200}, {"GET /maybe HTTP/1.1", "Authorization: Bearer bad", 401},
		{"GET /me HTTP/1.1", "", 401}, {"GET /me HTTP/1.1", "Authorization: Bearer bad", 401}, {"GET /else HTTP/1.1", bearerOf(first, map[string]any{"sub": "ada"}), 403},
		{"GET /me/..%2fme HTTP/1.1", "", 400}, {"GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "unknown"}), 403},
	} {
		header := forged[:len(forged):len(forged)]
		if c.credential != "" {
			header = append(header, c.credential)
		}
		status, got := b.seen(c.line, header...)
		if status != c.status {
			t.Errorf("%s %.30s: status %d", c.line, c.credential, status)
		}
		if status == 200 && (got("X-Consumer-ID")+got("X-Consumer-Username")+got("X-Credential-Identifier") != "" || kind == "kong" && got("X-Anonymous-Consumer") != "true") {
			t.Errorf("%s %.30s: %q, %q", c.line, c.credential, got("X-Consumer-Username"), got("X-Anonymous-Consumer"))
		}
	}
	b.await("every request is logged", func() bool { return strings.Count(b.Serialized(), "\n") >= 8 })
	if text := b.Serialized(); strings.Contains(text, "eve") {
		t.Errorf("a logger gets the consumer that a client claims: %s", text)
	}
	b.program.Stop(0) // which takes the decisions away
	if status, _ := b.seen("GET /me HTTP/1.1", forged...); status != 503 {
		t.Errorf("without the program: %d", status)
	}
}

func TestConsumerByCustomIDAndByID(t *testing.T) {
	each(t, consumerByCustomIDAndByID)
}

func consumerByCustomIDAndByID(t *testing.T, kind string) {
	b, first, _ := consumerBench(t, kind, `{"consumer_claim": "org.account", "consumer_by": "custom_id"}`)
	for what, c := range map[string]struct {
		account any
		name    string // empty: refused
	}{
		"text": {"c-ada", "ada"}, "whole number": {42, "bob"}, "number as text": {"42", "bob"},
		"fraction": {42.5, ""}, "list of one": {[]string{"c-ada"}, ""}, "list": {[]any{"c-ada", "42"}, ""}, "empty": {"", ""}, "spaces": {" c-ada", ""},
		"null": {nil, ""}, "true": {true, ""}, "object": {map[string]any{"c-ada": 1}, ""}, "username": {"bob", ""}, "id": {adaID, ""},
		"line break": {"c-ada\n", ""}, "NUL": {"c-ada\x00", ""}, "large number": {1e30, ""},
	} {
		status, got := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "ada", "org": map[string]any{"account": c.account}}))
		if (status == 200) != (c.name != "") || got("X-Consumer-Username") != c.name {
			t.Errorf("%s: status %d, consumer %q", what, status, got("X-Consumer-Username"))
		}
	}
	if status, _ := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "c-ada"})); status != 403 {
		t.Errorf("without the claim: %d", status)
	}
	if kind == "apisix" {
		if status, _ := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"org": map[string]any{"account": "twin"}})); status != 503 {
			t.Errorf("a label that two consumers have: %d", status)
		}
		return
	}
	b, first, _ = consumerBench(t, kind, `{"consumer_claim": "sub", "consumer_by": "id"}`)
	for sub, name := range map[string]string{adaID: "ada", "ada": "", strings.ToUpper(bobID): "", "not-a-uuid": ""} {
		status, got := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": sub}))
		if (status == 200) != (name != "") || got("X-Consumer-Username") != name {
			t.Errorf("%s: status %d, consumer %q", sub, status, got("X-Consumer-Username"))
		}
	}
}

// What is kept of a consumer that is called like another one's id, or whose custom_id is
// another one's username, is nobody else's, in neither direction.
func TestCachedConsumerIsNobodyElses(t *testing.T) {
	for _, rule := range []string{`{"consumer_claim": "sub"}`, `{"consumer_claim": "sub", "consumer_by": "custom_id"}`} {
		b, first, _ := consumerBench(t, "kong", rule)
		for range 2 {
			for sub, want := range map[string]string{adaID: adaID, "ada": "ada"} {
				if strings.Contains(rule, "custom_id") {
					want = map[string]string{adaID: "", "ada": adaID}[sub]
				}
				if _, got := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": sub})); got("X-Consumer-Username") != want {
					t.Errorf("%s, %s: the consumer is %q", rule, sub, got("X-Consumer-Username"))
				}
			}
			// key-auth looks for the id, which is another one's username.
			if _, got := b.seen("GET /public HTTP/1.1", "X-Test-Key: "+adaID); got("X-Consumer-Username") != "ada" {
				t.Errorf("%s: another plugin finds %q", rule, got("X-Consumer-Username"))
			}
		}
	}
}

func TestRemovedConsumerIsRefusedOnceTheGatewayForgetsIt(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		for _, rule := range []string{`{"consumer_claim": "sub"}`, `{"consumer_claim": "account", "consumer_by": "custom_id"}`} {
			b, first, _ := consumerBench(t, kind, rule)
			ada := bearerOf(first, map[string]any{"sub": "ada", "account": "c-ada"})
			if status, _ := b.seen("GET /me HTTP/1.1", ada); status != 200 {
				t.Fatalf("%s: %d", rule, status)
			}
			b.write(consumers(kind)[1:])
			b.changed(adaID, "ada")
			if status, _ := b.seen("GET /me HTTP/1.1", ada); status != 403 {
				t.Errorf("%s: a removed consumer: %d", rule, status)
			}
			// Somebody else gets the names.
			b.write(append(consumers(kind)[1:], map[string]any{"id": "99999999-7777-4888-9999-aaaaaaaaaaaa", "username": "ada", "custom_id": "c-ada", "labels": map[string]any{"custom_id": "c-ada"}}))
			b.changed("99999999-7777-4888-9999-aaaaaaaaaaaa", "ada")
			b.await("the new consumer is found", func() bool { status, _ := b.seen("GET /me HTTP/1.1", ada); return status == 200 })
		}
	})
}

func TestDatabaseThatDoesNotReplyDeniesConsumers(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b, first, second := consumerBench(t, kind, `{"consumer_claim": "sub", "consumer_optional": true}`)
		b.write(nil)
		if status, _ := b.seen("GET /me HTTP/1.1", bearerOf(first, map[string]any{"sub": "bob"})); status != 503 {
			t.Errorf("without a database: %d", status)
		}
		if status, _ := b.seen("GET /me HTTP/1.1", bearerOf(second, map[string]any{"sub": "bob"})); status != 200 {
			t.Errorf("who is no consumer: %d", status)
		}
		if !strings.Contains(b.Log(), "the consumer cannot be looked up") {
			t.Error("the log does not say why")
		}
	})
}

func TestOptionalConsumer(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b, first, _ := consumerBench(t, kind, `{"consumer_claim": "sub", "consumer_optional": true}`)
		for sub, name := range map[string]string{"ada": "ada", "nobody": ""} {
			status, got := b.seen("GET /me HTTP/1.1", append(forged[:len(forged):len(forged)], bearerOf(first, map[string]any{"sub": sub, "roles": []string{"staff"}}))...)
			if status != 200 || got("X-Consumer-Username") != name || got("X-Test-Limit-Credential") == "" || got("X-Authenticated-Groups") != "staff" {
				t.Errorf("%s: %d, consumer %q, groups %q", sub, status, got("X-Consumer-Username"), got("X-Authenticated-Groups"))
			}
		}
		// The consumer of another plugin is none of a caller who is known by a token, and
		// stays that of a call without one.
		key := map[string]string{"kong": "X-Test-Key: " + bobID, "apisix": "X-Test-Key: bob"}[kind]
		if _, got := b.seen("GET /me HTTP/1.1", key, bearerOf(first, map[string]any{"sub": "nobody"})); got("X-Consumer-Username")+got("X-Test-Consumer-Name") != "" {
			t.Errorf("the consumer of a key goes to the user of a token: %q", got("X-Consumer-Username"))
		}
		if _, got := b.seen("GET /public HTTP/1.1", key); got("X-Consumer-Username") != "bob" || got("X-Anonymous-Consumer") != "" {
			t.Errorf("the consumer of another plugin is %q", got("X-Consumer-Username"))
		}
	})
}
