package webhook_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
	"gatehouse/core/revocation/receive/receivetest"
	"gatehouse/core/revocation/webhook"
)

const (
	secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
	former = "former-former-former-former-former"
)

func setup(t *testing.T, change func(*webhook.Options), receiving ...func(*receive.Options)) *receivetest.Rig {
	t.Helper()
	o := webhook.Options{
		Name: "test", Secrets: receive.Secrets{Header: "Authorization", Values: []string{secret, former, ""}},
		Kinds: []revocation.Kind{revocation.Session, revocation.Subject, revocation.Client, revocation.Token, revocation.Issuer},
	}
	if change != nil {
		change(&o)
	}
	endpoint := receive.Options{Protocol: webhook.New(o), MaxBody: webhook.MaxBody}
	for _, f := range receiving {
		f(&endpoint)
	}
	return receivetest.New(t, endpoint)
}

func send(r *receivetest.Rig, body string) string {
	return receivetest.Answer(r.Post(body, "Authorization", "Bearer "+secret, "Content-Type", "application/json"))
}

const accepted = "204 "

func TestWhatAWebhookRevokes(t *testing.T) {
	r := setup(t, nil)
	for body, want := range map[string]string{
		`{"kind":"session","value":"s1"}`:                                                `refuse session "s1" of ""`,
		`{"kind":"subject","value":"ada","action":"verify","reason":"password changed"}`: `verify subject "ada" of ""`,
		`{"kind":"subject","value":"ada","issuer":"https://id.example.test/"}`:           `refuse subject "ada" of "https://id.example.test/"`,
		`{"kind":"client","value":"web","action":"refuse"}`:                              `refuse client "web" of ""`,
		`{"kind":"token","value":"jti-1","issuer":"https://id.example.test/"}`:           `refuse token "jti-1" of "https://id.example.test/"`,
		`{"kind":"token","token":"ory_at_x"}`:                                            `refuse token "` + revocation.TokenDigest("ory_at_x") + `" of ""`,
		`{"kind":"issuer","issuer":"https://id.example.test/"}`:                          `refuse issuer "" of "https://id.example.test/"`,
		`{"events":[{"kind":"session","value":"s1"},{"kind":"session","value":"s2"}]}`:   `refuse session "s1" of "" at now; refuse session "s2" of ""`,
	} {
		if got := send(r, body); got != accepted {
			t.Errorf("%s: %s", body, got)
		}
		if got := strings.Join(r.Take(), "; "); got != want+" at now" {
			t.Errorf("%s: published %s, want %s", body, got, want)
		}
	}
}

func TestMessageThatNamesNobodyOrTooMuchIsRefused(t *testing.T) {
	r := setup(t, nil)
	long := make([]string, 101)
	for i := range long {
		long[i] = fmt.Sprintf(`{"kind":"session","value":"s%d"}`, i)
	}
	for body, want := range map[string]string{
		``:                                 "the body is cut short",
		`null`:                             "the body is not a JSON object",
		`{}`:                               "kind must be one of session, subject, client, token, issuer",
		`[]`:                               "the body is not a JSON object",
		`{"kind":"subject"}`:               "value is absent or empty: the event names nobody",
		`{"kind":"subject","value":""}`:    "value is absent or empty: the event names nobody",
		`{"kind":"subject","value":null}`:  "value is absent or empty: the event names nobody",
		`{"kind":"subject","value":7}`:     "value is not a string",
		`{"kind":"subject","value":["a"]}`: "value is not a string",
		`{"kind":"everybody","value":"x"}`: "kind must be one of session, subject, client, token, issuer",
		`{"kind":"Subject","value":"ada"}`: "kind must be one of session, subject, client, token, issuer",
		`{"kind":"issuer"}`:                "an event of kind issuer needs issuer",
		`{"kind":"issuer","value":"x"}`:    "an event of kind issuer has no value; name it by issuer",
		`{"kind":"subject","issuer":"x"}`:  "value is absent or empty: the event names nobody",
		`{"kind":"session","token":"x"}`:   "token goes with kind token alone, and without value",
		`{"kind":"subject","value":"a","kind":"session"}`:                "the body has a member twice",
		`{"kind":"subject","value":"a","valu\u0065":"b"}`:                "the body has a member twice",
		`{"kind":"subject","value":"a","at":"2040-01-01T00:00:00Z"}`:     `"at" is not known; want id, kind, value, token, issuer, action, reason`,
		`{"kind":"subject","value":"a","action":"accept"}`:               "action must be refuse or verify",
		`{"kind":"subject","value":"a"} {}`:                              "the body goes on after the JSON object",
		`{"kind":"subject","value":"` + strings.Repeat("a", 3000) + `"}`: "the event names a subject of more than 2048 bytes",
		`{"events":[]}`: "events must be a list of 1 to 100 events",
		`{"events":{}}`: "events must be a list of 1 to 100 events",
		`{"events":[{"kind":"session","value":"s1"},{}]}`: "events[1]: kind must be one of session, subject, client, token, issuer",
		`{"events":[7]}`: "events[0] must be an object without an id",
		`{"events":[{"kind":"session","value":"s1"}],"kind":"issuer"}`: `"kind" is not known; want id, events`,
		`{"events":[` + strings.Join(long, ",") + `]}`:                 "events must be a list of 1 to 100 events",
	} {
		got := send(r, body)
		if !strings.HasPrefix(got, `400 application/json {"error":"invalid_request","error_description":`) || !strings.Contains(strings.ReplaceAll(got, `\"`, `"`), want) {
			t.Errorf("%.200s: %s, want %s", body, got, want)
		}
	}
	if got := r.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
}

func TestSenderWithoutTheSecretIsRefused(t *testing.T) {
	r := setup(t, nil)
	const body = `{"kind":"subject","value":"ada"}`
	kind := []string{"Content-Type", "application/json"}
	for name, header := range map[string][]string{
		"none":                    {},
		"wrong":                   {"Authorization", "Bearer wrong"},
		"empty":                   {"Authorization", "Bearer "},
		"nothing":                 {"Authorization", ""},
		"empty as the third":      {"Authorization", "Bearer"},
		"without Bearer":          {"Authorization", secret},
		"Basic":                   {"Authorization", "Basic " + secret},
		"a prefix":                {"Authorization", "Bearer " + secret[:len(secret)-1]},
		"more":                    {"Authorization", "Bearer " + secret + "x"},
		"a space more":            {"Authorization", "Bearer  " + secret},
		"twice":                   {"Authorization", "Bearer " + secret, "Authorization", "Bearer " + secret},
		"a wrong and a right one": {"Authorization", "Bearer wrong", "authorization", "Bearer " + secret},
		"in another header":       {"X-Api-Key", secret},
	} {
		d := r.Post(body, append(header, kind...)...)
		if want := `401 application/json {"error":"invalid_token","error_description":"The sender is not authenticated."}`; receivetest.Answer(d) != want {
			t.Errorf("%s: %s", name, receivetest.Answer(d))
		}
		if !slices.ContainsFunc(d.Header, func(h core.Header) bool { return h.Name == "WWW-Authenticate" }) {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	if d := r.Send("POST", receivetest.Path+"?access_token="+secret+"&secret="+secret, body, kind...); d.Status != 401 {
		t.Errorf("secret in the query: %s", receivetest.Answer(d))
	}
	if d := r.Post(`{"secret":"`+secret+`"}`, kind...); d.Status != 401 {
		t.Errorf("secret in the body: %s", receivetest.Answer(d))
	}
	if d := r.Send("GET", receivetest.Path, "", "Authorization", "Bearer "+secret); d.Status != 405 {
		t.Errorf("GET: %s", receivetest.Answer(d))
	}
	if got := r.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
	if log := r.Log(); strings.Contains(log, secret) {
		t.Errorf("the log holds the secret: %s", log)
	}
}

func TestSecretIsRotatedWithoutAGap(t *testing.T) {
	r := setup(t, func(o *webhook.Options) { o.Secrets.Header = "X-Webhook-Key" })
	for _, value := range []string{secret, former} {
		d := r.Post(`{"kind":"subject","value":"ada"}`, "x-webhook-key", value, "Content-Type", "application/json")
		if d.Status != 204 {
			t.Errorf("%s: %s", value, receivetest.Answer(d))
		}
	}
}

func TestMessageInAnotherFormIsRefused(t *testing.T) {
	r := setup(t, nil)
	const body = `{"kind":"subject","value":"ada"}`
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json, text/plain", "", "application/jsonp"} {
		if d := r.Post(body, "Authorization", "Bearer "+secret, "Content-Type", kind); d.Status != 400 {
			t.Errorf("%q: %s", kind, receivetest.Answer(d))
		}
	}
	if d := r.Post(strings.Repeat(" ", webhook.MaxBody)+body, "Authorization", "Bearer "+secret, "Content-Type", "application/json"); d.Status != 413 {
		t.Errorf("oversize: %s", receivetest.Answer(d))
	}
}

func TestSenderRevokesOnlyWhatItMay(t *testing.T) {
	r := setup(t, func(o *webhook.Options) {
		o.Kinds, o.Issuer, o.Verify = []revocation.Kind{revocation.Session, revocation.Subject}, "https://id.example.test/", true
	})
	for _, body := range []string{
		`{"kind":"issuer","issuer":"https://id.example.test/"}`,
		`{"kind":"client","value":"web"}`,
		`{"kind":"token","token":"x"}`,
		`{"kind":"subject","value":"ada","issuer":"https://other.example.test/"}`,
		`{"kind":"subject","value":"ada","action":"refuse"}`,
		`{"events":[{"kind":"subject","value":"ada"},{"kind":"issuer","issuer":"https://id.example.test/"}]}`,
	} {
		if got := send(r, body); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%s: %s", body, got)
		}
	}
	if got := r.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
	if got := send(r, `{"kind":"subject","value":"ada"}`); got != accepted {
		t.Error(got)
	}
	if got, want := r.Take(), []string{`verify subject "ada" of "https://id.example.test/" at now`}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

func TestRepeatedMessageCountsOnce(t *testing.T) {
	r := setup(t, nil)
	const body = `{"id":"flow-1","kind":"subject","value":"ada"}`
	for range 3 {
		if got := send(r, body); got != accepted {
			t.Error(got)
		}
	}
	if got := r.Take(); len(got) != 1 {
		t.Errorf("published %q", got)
	}
	ids := map[string]bool{}
	for range 3 {
		send(r, `{"kind":"subject","value":"ada"}`)
		for _, id := range r.IDs() {
			ids[id] = true
		}
	}
	if len(ids) != 3 {
		t.Errorf("messages without an id have %d ids, want 3", len(ids))
	}
	if got := r.Counters.Counts()[receive.Counted{Source: "test", Result: receive.Repeated}]; got != 2 {
		t.Errorf("%d counted as repeated", got)
	}
}

func TestMessagesAreLimitedAndRepeatsAreFree(t *testing.T) {
	clock := coretest.NewClock()
	r := setup(t, nil, func(o *receive.Options) { o.Rate, o.Now = attempts.Rate{Count: 3, Window: time.Minute}, clock.Now })
	const first = `{"id":"1","kind":"subject","value":"ada"}`
	for _, body := range []string{first, first, first, first, `{"kind":"subject","value":"b"}`, `{"kind":"subject","value":"c"}`} {
		if got := send(r, body); got != accepted {
			t.Fatalf("%s: %s", body, got)
		}
	}
	d := r.Post(`{"kind":"subject","value":"d"}`, "Authorization", "Bearer "+secret, "Content-Type", "application/json")
	if d.Status != 429 || !slices.ContainsFunc(d.Header, func(h core.Header) bool { return h.Name == "Retry-After" }) {
		t.Errorf("the fourth: %s %v", receivetest.Answer(d), d.Header)
	}
	for range 100 { // a stranger does not use up what the sender may
		r.Post(`{"kind":"subject","value":"d"}`, "Authorization", "Bearer wrong", "Content-Type", "application/json")
	}
	clock.Advance(20 * time.Second)
	if got := send(r, `{"kind":"subject","value":"d"}`); got != accepted {
		t.Errorf("20 s later: %s", got)
	}
}

func TestRefusedMessagesDoNotFillTheLog(t *testing.T) {
	r := setup(t, nil)
	for range 1000 {
		r.Post("", "Authorization", "Bearer wrong")
	}
	if lines := strings.Count(r.Log(), "\n"); lines > 60 {
		t.Errorf("%d lines", lines)
	}
	if got := r.Counters.Counts()[receive.Counted{Source: "test", Result: receive.Unknown}]; got != 1000 {
		t.Errorf("%d counted", got)
	}
}
