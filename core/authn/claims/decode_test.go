package claims_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
)

func TestDecodeKeepsEveryDigitOfA64BitID(t *testing.T) {
	set, err := claims.Decode([]byte(`{"uid":9223372036854775807,"deep":{"list":[18446744073709551615]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := set["uid"].(json.Number).String(); got != "9223372036854775807" {
		t.Errorf("uid = %s", got)
	}
	if text, err := json.Marshal(set["deep"]); err != nil || string(text) != `{"list":[18446744073709551615]}` {
		t.Errorf("deep = %s, %v", text, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":             ``,
		"null":                `null`,
		"a list":              `[]`,
		"a string":            `"x"`,
		"a member twice":      `{"sub":"a","sub":"b"}`,
		"twice by escape":     `{"sub":"a","su\u0062":"b"}`,
		"twice deeper down":   `{"a":[{"b":1,"b":1}]}`,
		"invalid UTF-8":       "{\"sub\":\"\xff\"}",
		"two documents":       `{} {}`,
		"an odd end":          `{}]`,
		"a trailing comma":    `{"a":1,}`,
		"no comma":            `{"a":1 "b":2}`,
		"cut short":           `{"a":{"b":1}`,
		"a key that is none":  `{1:2}`,
		"mismatched brackets": `{"a":[1}}`,
		"nesting":             strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40),
		"nesting of lists":    `{"a":` + strings.Repeat(`[`, 10000),
		"a byte order mark":   "\ufeff{}",
		"a leading zero":      `{"a":01}`,
		"not a number":        `{"exp":NaN}`,
	} {
		if set, err := claims.Decode([]byte(text)); err == nil {
			t.Errorf("%s: decoded to %v", name, set)
		}
	}
}

func TestSecretsInDecodeErrors(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, text := range []string{
		`{"password":"` + secret + `"`, `{"password":"` + secret + "\n" + `"}`, `{"a":"` + secret + `","a":"` + secret + `"}`,
		secret, `{"a":` + secret + `}`, `"` + secret + `"`,
	} {
		_, err := claims.Decode([]byte(text))
		if err == nil {
			t.Fatalf("%s was decoded", text)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error repeats the value: %v", err)
		}
	}
}

// FuzzDecode: what is accepted is read just as another decoder reads it, and
// survives being written and read again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"sub":"a","aud":["x","y"],"exp":1700000000,"ext":{"roles":[]}}`, `{"a":1,"a":2}`, `{"a":[1,2,{"b":null}]}`,
		`{"a":1e400}`, `{"\ud800":1,"\ud801":2}`, `{"a":1,}`, `[]`, `{"a":{"b":{"c":{}}}}`, "{\"a\":\"\xff\"}", `{"A":1,"a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := claims.Decode(data)
		if err != nil {
			return
		}
		var other any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(&other); err != nil || !reflect.DeepEqual(other, any(set)) {
			t.Fatalf("%q is read as %v, and by encoding/json as %v, %v", data, set, other, err)
		}
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		again, err := claims.Decode(text)
		if err != nil {
			t.Fatalf("%q does not decode: %v", text, err)
		}
		if !reflect.DeepEqual(again, set) {
			t.Fatalf("%v became %v", set, again)
		}
	})
}

func set(t testing.TB, text string) claims.Set {
	t.Helper()
	s, err := claims.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) // 1767355200

func TestExpiry(t *testing.T) {
	for text, good := range map[string]bool{
		`{"exp":1767355201}`:          true,
		`{"exp":1767355200.5}`:        true,
		`{"exp":1767355200}`:          false, // the end itself does not count
		`{"exp":1767355199}`:          false,
		`{}`:                          false,
		`{"exp":null}`:                false,
		`{"exp":"1767355201"}`:        false,
		`{"exp":true}`:                false,
		`{"exp":0}`:                   false,
		`{"exp":-1}`:                  false,
		`{"exp":1e400}`:               false,
		`{"exp":253402300800}`:        false, // milliseconds, or an overflow to come
		`{"exp":9223372036854775807}`: false,
		`{"exp":1767355201000}`:       false,
		`{"exp":179769313486231570000000000000000000000000}`: false,
	} {
		_, err := set(t, text).Expiry(noon)
		if (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBegun(t *testing.T) {
	for text, good := range map[string]bool{
		`{}`:                            true,
		`{"nbf":1767355230}`:            true, // within the leeway
		`{"nbf":1767355231}`:            false,
		`{"iat":1767355231}`:            false,
		`{"iat":"now"}`:                 false,
		`{"iat":1767355200,"nbf":{}}`:   false,
		`{"iat":1767300000.25,"nbf":1}`: true,
		`{"iat":0,"nbf":0}`:             true, // as Keycloak once wrote them
		`{"nbf":-1}`:                    false,
	} {
		err := set(t, text).Begun(noon, 30*time.Second)
		if (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMeantFor(t *testing.T) {
	for text, good := range map[string]bool{
		`{"aud":"api"}`:          true,
		`{"aud":["x","api"]}`:    true,
		`{}`:                     false,
		`{"aud":null}`:           false,
		`{"aud":[]}`:             false,
		`{"aud":""}`:             false,
		`{"aud":"x api"}`:        false, // one audience, not two
		`{"aud":"API"}`:          false,
		`{"aud":["api",1]}`:      false,
		`{"aud":{"api":true}}`:   false,
		`{"aud":[["api"]]}`:      false,
		`{"aud":"https://api/"}`: false,
	} {
		err := set(t, text).MeantFor(claims.MustPaths("aud"), []string{"api", "https://api"})
		if (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// An issuer without aud in its access tokens names the client instead.
func TestAudienceInAnotherClaim(t *testing.T) {
	for text, want := range map[string]string{
		`{"client_id":"app"}`:                     "",
		`{"azp":"app"}`:                           "",
		`{"client_id":"app","azp":"other"}`:       "",
		`{"client_id":"other","azp":"app"}`:       `is for another audience: client_id is "other"; accepted are "app"`,
		`{"aud":"app"}`:                           `names no audience: client_id or azp is absent (audience_claim names another claim, such as client_id); accepted are "app"`,
		`{"client_id":null,"azp":""}`:             `is for another audience: azp is ""; accepted are "app"`,
		`{"client_id":{"app":true}}`:              `client_id is not a string or a list of strings`,
		`{"client_id":["1","2","3","4","5",6]}`:   `client_id: list holds a number where a string belongs`,
		`{"client_id":["1","2","3","4","5","6"]}`: `is for another audience: client_id is "1", "2", "3", "4", "5", 1 more; accepted are "app"`,
	} {
		got := ""
		if err := set(t, text).MeantFor(claims.MustPaths("client_id", "azp"), []string{"app"}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestCheckKind(t *testing.T) {
	for _, test := range []struct {
		claims string
		token  claims.Token
		good   bool
	}{
		{`{"scope":"a"}`, claims.Unmarked, true},
		{`{"token_use":"access_token"}`, claims.Unmarked, true},
		{`{"token_use":"access"}`, claims.Unmarked, true},
		{`{"token_use":"refresh_token"}`, claims.MarkedAccess, false},
		{`{"token_use":"id"}`, claims.Unmarked, false},
		{`{"token_use":["access_token"]}`, claims.MarkedAccess, false},
		{`{"typ":"Bearer","sid":"1","nonce":"n"}`, claims.Unmarked, true}, // Keycloak's access token
		{`{"typ":"Refresh"}`, claims.MarkedAccess, false},
		{`{"typ":"ID"}`, claims.Unmarked, false},
		{`{"typ":"JWT","sid":"1"}`, claims.Unmarked, false},
		{`{"at_hash":"x"}`, claims.MarkedAccess, false},
		{`{"at_hash":"x","typ":"Bearer"}`, claims.Unmarked, false},
		{`{"c_hash":"x"}`, claims.Unmarked, false},
		{`{"nonce":"x"}`, claims.Unmarked, false},
		{`{"nonce":"x"}`, claims.MarkedAccess, true},
		{`{"sid":"x"}`, claims.Unmarked, false},
		{`{"aud":["web"],"azp":"web"}`, claims.Unmarked, false},
		{`{"aud":"web","client_id":"web"}`, claims.Unmarked, false},
		{`{"aud":["web"],"azp":"web","scope":""}`, claims.Unmarked, true},
		{`{"aud":["web","api"],"azp":"web"}`, claims.Unmarked, true},
		{`{"cnf":{"jkt":"x"}}`, claims.MarkedAccess, false},
		{`{"cnf":{"x5t#S256":"x"}}`, claims.MarkedAccess, false},
		{`{"events":{}}`, claims.MarkedAccess, false},
		{`{"sid":"1","scope":"read","aud":"web","azp":"web"}`, claims.Unmarked, true}, // authentik's access token
		{`{"nonce":"n","scp":"read","aud":"api"}`, claims.Unmarked, true},             // Azure AD B2C's access token
		{`{"nonce":"n","scp":["read"]}`, claims.Unmarked, true},
		{`{"nonce":"n","scope":""}`, claims.Unmarked, false},
		{`{"nonce":"n","scp":[]}`, claims.Unmarked, false},
		{`{"nonce":"n","scp":7}`, claims.Unmarked, false},
		{`{"at_hash":"x","scope":"read"}`, claims.Unmarked, false},
		{`{"token_use":"id","scope":"read"}`, claims.MarkedAccess, false},
		{`{"token_use":"access","typ":"ID"}`, claims.Unmarked, false},
		{`{"iss":"i","sub":"u","aud":"api","exp":1,"iat":1}`, claims.Unmarked, true}, // says nothing of its kind
	} {
		err := set(t, test.claims).CheckKind(test.token, false)
		if (err == nil) != test.good {
			t.Errorf("%s as %d: %v", test.claims, test.token, err)
		}
	}
}

func TestTokenThatIsNoIDTokenEitherIsRefused(t *testing.T) {
	for text, good := range map[string]bool{
		`{"at_hash":"x","nonce":"n","sid":"1"}`: true,
		`{"token_use":"id"}`:                    true,
		`{"typ":"ID"}`:                          true,
		`{"token_use":"refresh_token"}`:         false,
		`{"typ":"Offline"}`:                     false,
		`{"events":{}}`:                         false,
		`{"cnf":{"jkt":"x"}}`:                   false,
	} {
		if err := set(t, text).CheckKindOrIDToken(false); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestPrincipal(t *testing.T) {
	p := &core.Principal{}
	err := set(t, `{"sub":"u","azp":"web","scp":["a","b"],"ext":{"roles":["editor"],"permissions":"x y"},"acr":"aal2","auth_time":1767355200}`).
		Principal(claims.Paths{}.WithDefaults(), p)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal([]any{p.Subject, p.ClientID, p.Scopes, p.Roles, p.Permissions, p.AAL, p.AuthenticatedAt.Unix()})
	if want := `["u","web",["a","b"],["editor"],["x","y"],"aal2",1767355200]`; string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// The first path that is present counts, even when it grants nothing, and a
// shape that cannot be read is not passed over in favour of the next path.
func TestFirstPresentClaimWins(t *testing.T) {
	paths := claims.Paths{
		Scopes: claims.MustPaths("scope"), Roles: claims.MustPaths("a.roles", "roles"), Permissions: []core.ClaimPath{},
	}
	for text, want := range map[string]string{
		`{"sub":"u","a":{"roles":[]},"roles":["admin"]}`:          `[]`,
		`{"sub":"u","a":{"roles":null},"roles":["admin"]}`:        `["admin"]`,
		`{"sub":"u","a":{"roles":{"admin":1}},"roles":["admin"]}`: `error`,
		`{"sub":"u","a":{"roles":[["x"]]},"roles":["admin"]}`:     `error`,
		`{"sub":"u","a":{"roles":7},"roles":["admin"]}`:           `error`,
		`{"sub":"u","permissions":["everything"]}`:                `null`,
	} {
		p := &core.Principal{}
		err := set(t, text).Principal(paths, p)
		got, _ := json.Marshal(p.Roles)
		if err != nil {
			got = []byte("error")
		}
		if string(got) != want {
			t.Errorf("%s: got %s (%v), want %s", text, got, err, want)
		}
		if len(p.Permissions) > 0 {
			t.Errorf("%s: permissions %v were read without a path", text, p.Permissions)
		}
	}
}

// A name with a space in it is one name: read as two, it would grant what its
// second word is called.
func TestNameWithASpaceIsNotTwoNames(t *testing.T) {
	for text, want := range map[string]string{
		`{"sub":"u","roles":"Billing Admin"}`:           `[null,["Billing Admin"]]`,
		`{"sub":"u","roles":["Billing Admin","clerk"]}`: `[null,["Billing Admin","clerk"]]`,
		`{"sub":"u","roles":"editor"}`:                  `[null,["editor"]]`,
		`{"sub":"u","roles":""}`:                        `[null,[]]`,
		`{"sub":"u","scope":"a b"}`:                     `[["a","b"],null]`,
		`{"sub":"u","scp":["a b"]}`:                     `error`,
		`{"sub":"u","scp":["a\u00a0b"]}`:                `error`,
		`{"sub":"u","scope":"a\u00a0b"}`:                `error`, // only a space separates (RFC 6749 section 3.3)
		`{"sub":"u","scope":"a\u2003b c"}`:              `error`,
		`{"sub":"u","scope":"a\nb"}`:                    `error`,
		`{"sub":"u","scope":"a\tb"}`:                    `error`,
		`{"sub":"u","scope":"a\u0085b"}`:                `error`,
		`{"sub":"u","scope":"  a   b "}`:                `[["a","b"],null]`,
		`{"sub":"u","scp":["a","b"]}`:                   `[["a","b"],null]`,
	} {
		p := &core.Principal{}
		err := set(t, text).Principal(claims.Paths{}.WithDefaults(), p)
		got, _ := json.Marshal([]any{p.Scopes, p.Roles})
		if err != nil {
			got = []byte("error")
		}
		if string(got) != want {
			t.Errorf("%s: got %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestCredentialWithoutASubjectIsRefused(t *testing.T) {
	for _, text := range []string{`{}`, `{"sub":""}`, `{"sub":null}`, `{"sub":7}`, `{"sub":["u"]}`, `{"sub":"u","client_id":{}}`} {
		if err := set(t, text).Principal(claims.Paths{}.WithDefaults(), &core.Principal{}); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}
