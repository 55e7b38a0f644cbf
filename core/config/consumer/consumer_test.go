package consumer

import (
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/config/section"
)

const idp = "https://id.test"

func mapping(claim string) *Mapping {
	return Rules{{Issuer: idp, Claim: claim, By: "username"}, {Issuer: "http://kratos.test", Claim: "sub", By: "id", Optional: true}}.Mapping(&section.Session{KratosURL: "http://kratos.test"})
}

func TestUsersOfOtherIssuersHaveNoConsumer(t *testing.T) {
	m := mapping("sub")
	for name, c := range map[string]struct {
		p    *core.Principal
		want string
	}{
		"the issuer":                        {&core.Principal{Kind: core.KindJWT, Issuer: idp, Subject: "ada"}, "username ada"},
		"another issuer":                    {&core.Principal{Kind: core.KindJWT, Issuer: idp + "/", Subject: "ada"}, " "},
		"another issuer in capitals":        {&core.Principal{Kind: core.KindJWT, Issuer: strings.ToUpper(idp), Subject: "ada"}, " "},
		"introspection without an issuer":   {&core.Principal{Kind: core.KindIntrospection, Subject: "ada"}, " "},
		"session":                           {&core.Principal{Kind: core.KindSession, Subject: "k-1"}, "id k-1"},
		"token without an issuer":           {&core.Principal{Kind: core.KindAPIToken, Subject: "k-1"}, " "},
		"token of a user of the issuer":     {&core.Principal{Kind: core.KindAPIToken, Issuer: idp, Subject: "ada"}, "username ada"},
		"service account":                   {&core.Principal{Kind: core.KindAPIToken, Subject: "service-account:ada", ClientID: "ada"}, " "},
		"sign-in at the issuer":             {&core.Principal{Kind: core.KindOIDC, Issuer: idp, Subject: "ada"}, "username ada"},
		"caller without a subject":          {&core.Principal{Kind: core.KindJWT, Issuer: idp}, "username "},
		"subject that claims to be another": {&core.Principal{Kind: core.KindJWT, Issuer: idp, Claims: map[string]any{"sub": "ada"}}, "username "},
	} {
		if got := m.Of(c.p); got.By+" "+got.Value != c.want || got.Optional != (got.By == "id") || len(got.ID) != 36 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := m.Of(nil); got != (Caller{}) {
		t.Errorf("nobody is %+v", got)
	}
}

// The owner of an API token chooses its name.
func TestNameOfAnAPITokenIsNoConsumer(t *testing.T) {
	p := &core.Principal{Kind: core.KindAPIToken, Issuer: idp, Subject: "eve", Claims: map[string]any{"token_name": "ada", "preferred_username": "ada"}}
	for _, claim := range []string{"token_name", "preferred_username", "jti"} {
		if got := mapping(claim).Of(p); got.Value != "" {
			t.Errorf("%s: %+v", claim, got)
		}
	}
}

func TestValueNamesOneConsumerOrNone(t *testing.T) {
	for text, want := range map[string]string{
		`"ada"`: "ada", `"ada lovelace"`: "ada lovelace", `"Ä"`: "Ä", `42`: "42", `-1`: "-1", `12345678901234567`: "12345678901234567",
		`""`: "", `" ada"`: "", `"ada\n"`: "", `"a\u0000"`: "", `["ada"]`: "", `["ada","bob"]`: "", `[]`: "", `null`: "", `true`: "", `{"ada":1}`: "",
		`1.5`: "", `1e3`: "", `1.0`: "", `1e400`: "", `-0`: "", `123456789012345678901234567890`: "",
		`"` + strings.Repeat("x", 1024) + `"`: strings.Repeat("x", 1024), `"` + strings.Repeat("x", 1025) + `"`: "",
	} {
		claims := map[string]any{}
		d := json.NewDecoder(strings.NewReader(`{"account": ` + text + `}`))
		d.UseNumber()
		if err := d.Decode(&claims); err != nil {
			t.Fatal(err)
		}
		if got := mapping("account").Of(&core.Principal{Kind: core.KindJWT, Issuer: idp, Subject: "s", Claims: claims}); got.Value != want {
			t.Errorf("%.40s: %.40q, want %.40q", text, got.Value, want)
		}
	}
	for number, want := range map[float64]string{42: "42", 1.5: "", 1e30: "", -3: "-3"} {
		if got := mapping("n").Of(&core.Principal{Issuer: idp, Claims: map[string]any{"n": number}}); got.Value != want {
			t.Errorf("%v: %q", number, got.Value)
		}
	}
}

// A limit by credential counts a caller, whatever token they come with, and nobody else.
func TestIDOfACallerIsTheSameForAllTheirTokens(t *testing.T) {
	m := mapping("sub")
	one := m.Of(&core.Principal{Kind: core.KindJWT, Issuer: idp, Subject: "ada", ClientID: "app", ID: "1", SessionID: "s"}).ID
	if other := m.Of(&core.Principal{Kind: core.KindAPIToken, Issuer: idp, Subject: "ada", ClientID: "web", ID: "2"}).ID; other != one {
		t.Errorf("%s and %s", one, other)
	}
	seen := map[string]string{one: "ada"}
	for name, p := range map[string]*core.Principal{
		"another issuer":     {Issuer: "https://b.test", Subject: "ada"},
		"another boundary":   {Issuer: idp + "a", Subject: "da"},
		"another subject":    {Issuer: idp, Subject: "bob"},
		"client":             {Issuer: idp, ClientID: "ada"},
		"without an issuer":  {Subject: "ada"},
		"session":            {Kind: core.KindSession, Subject: "ada"},
		"nothing known":      {Issuer: idp},
		"another client":     {Issuer: idp, ClientID: "app"},
		"subject with a NUL": {Issuer: idp, Subject: "ada\x00"},
	} {
		id := m.Of(p).ID
		if other, taken := seen[id]; taken {
			t.Errorf("%s has the id of %s", name, other)
		}
		seen[id] = name
		if id[14] != '8' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Errorf("%s is no UUID of version 8", id)
		}
	}
}

func TestHeadersOfConsumers(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Consumer-ID": true, "x_consumer_username": true, "X-CONSUMER_Custom-Id": true, "X-Consumer-Groups": true, "X-Consumer-Anything": true,
		"X-Credential-Identifier": true, "x_credential_identifier": true, "X-Anonymous-Consumer": true,
		"X-Consumer": false, "X-Consumer-": false, "XConsumer-ID": false, "X-Consumers-ID": false, "X-Anonymous": false, "": false,
	} {
		if IsHeader(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func BenchmarkCaller(b *testing.B) {
	m, p := mapping("sub"), &core.Principal{Kind: core.KindJWT, Issuer: idp, Subject: "ada"}
	b.ReportAllocs()
	for b.Loop() {
		m.Of(p)
	}
}
