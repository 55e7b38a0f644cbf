package claims_test

import (
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/coretest"
)

const service = "https://issuer.example.com"

// actorOf reads a credential of service.
func actorOf(t *testing.T, text string) (*core.Actor, error) {
	t.Helper()
	set, err := claims.Decode([]byte(text))
	if err != nil {
		return nil, err
	}
	p := &core.Principal{Issuer: service}
	err = claims.Set(set).Narrowed(nil).Principal(claims.Paths{}.WithDefaults(), p)
	return p.Actor, err
}

// The examples of RFC 8693 section 4.1, as they stand there.
func TestExamplesOfDelegationInRFC8693(t *testing.T) {
	for text, want := range map[string][]string{
		`{
      "aud":"https://consumer.example.com",
      "iss":"https://issuer.example.com",
      "exp":1443904177,
      "nbf":1443904077,
      "sub":"user@example.com",
      "act":
      {
        "sub":"admin@example.com"
      }
    }`: {"https://issuer.example.com#admin@example.com"},
		`{
      "aud":"https://service26.example.com",
      "iss":"https://issuer.example.com",
      "exp":1443904100,
      "nbf":1443904000,
      "sub":"user@example.com",
      "act":
      {
        "sub":"https://service16.example.com",
        "act":
        {
          "sub":"https://service77.example.com"
        }
      }
    }`: {"https://issuer.example.com#https://service16.example.com", "https://issuer.example.com#https://service77.example.com"},
	} {
		a, err := actorOf(t, text)
		var got []string
		for _, one := range a.Chain() {
			got = append(got, one.String())
		}
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v, want %s", got, err, want)
		}
	}
}

func TestActorIsOfItsOwnIssuerOrElseOfThatOfTheCredential(t *testing.T) {
	for act, want := range map[string]string{
		`{"sub":"a"}`:                      "https://issuer.example.com#a",
		`{"sub":"a","iss":"https://i"}`:    "https://i#a",
		`{"sub":"a","client_id":"c"}`:      "https://issuer.example.com#a",
		`{"client_id":"c"}`:                "https://issuer.example.com?client_id=c",
		`{"sub":"?client_id=c"}`:           "https://issuer.example.com#?client_id=c",
		`{"sub":"","client_id":"#a"}`:      "https://issuer.example.com?client_id=#a",
		`{"sub":"a","exp":"x","role":7}`:   "https://issuer.example.com#a",
		`{"sub":"a","act":null,"iss":""}`:  "https://issuer.example.com#a",
		`{"sub":"a","iss":null,"aud":[1]}`: "https://issuer.example.com#a",
	} {
		a, err := actorOf(t, `{"sub":"u","act":`+act+`}`)
		if err != nil || a.String() != want {
			t.Errorf("%s: %v (%v), want %s", act, a, err, want)
		}
	}
}

// An actor that cannot be read must not pass for a token that was not delegated.
func TestActThatCannotBeReadRefusesTheToken(t *testing.T) {
	nested := func(levels int) string {
		return strings.Repeat(`{"sub":"a","act":`, levels-1) + `{"sub":"a"}` + strings.Repeat("}", levels-1)
	}
	for act, want := range map[string]string{
		`"agent"`:                        "act is not an object",
		`["agent"]`:                      "act is not an object",
		`[{"sub":"agent"}]`:              "act is not an object",
		`true`:                           "act is not an object",
		`{}`:                             "neither a sub nor a client_id",
		`{"iss":"https://i"}`:            "neither a sub nor a client_id",
		`{"sub":""}`:                     "neither a sub nor a client_id",
		`{"act":{"sub":"a"}}`:            "neither a sub nor a client_id",
		`{"sub":7}`:                      "sub is not a string",
		`{"sub":["a"]}`:                  "sub is not a string",
		`{"sub":"a","iss":7}`:            "iss is not a string",
		`{"sub":"a","client_id":{}}`:     "client_id is not a string",
		`{"sub":"a","iss":"https://i#"}`: "# or ?",
		`{"sub":"a","iss":"https://i?"}`: "# or ?",
		`{"sub":"a","act":"b"}`:          "act is not an object",
		`{"sub":"a","act":{"act":{}}}`:   "neither a sub nor a client_id",
		`{"sub":"a","sub":"b"}`:          "twice",
		`{"sub":"a"},"act":{"sub":"b"}`:  "twice",
		`{"sub":"` + strings.Repeat("a", 1025) + `"}`: "longer than 1024 bytes",
		nested(9):    "more than 8 actors",
		nested(1000): "nests deeper than",
	} {
		for _, text := range []string{`{"sub":"u","act":` + act + `}`, `{"sub":"u","ext":{"act":` + act + `}}`} {
			if a, err := actorOf(t, text); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.80s: %v, %v; want %s", text, a, err, want)
			}
		}
	}
	if a, err := actorOf(t, `{"sub":"u","act":`+nested(8)+`}`); err != nil || len(a.Chain()) != 8 {
		t.Errorf("8 actors: %v, %v", a, err)
	}
}

func TestActIsFoundWhereHydraAndTheTokenHaveIt(t *testing.T) {
	for name, c := range map[string]struct{ response, token, want string }{
		"none":                  {`{}`, `{}`, `[]`},
		"at the top":            {`{"act":{"sub":"a"}}`, `{"act":{"sub":"b"}}`, `["#a"]`},
		"below ext":             {`{"ext":{"act":{"sub":"a"}}}`, `{}`, `["#a"]`},
		"in the token":          {`{}`, `{"act":{"sub":"b"}}`, `["#b"]`},
		"below ext of it":       {`{}`, `{"ext":{"act":{"sub":"b"}}}`, `["#b"]`},
		"null, and in it":       {`{"act":null}`, `{"act":{"sub":"b"}}`, `["#b"]`},
		"both, and cnf in it":   {`{"cnf":null,"act":null}`, `{"cnf":{"jkt":"x"},"act":{"sub":"b"}}`, `["#b"]`},
		"malformed in the rest": {`{}`, `{"act":"b"}`, `error`},
	} {
		response, _ := claims.Decode([]byte(c.response))
		token, _ := claims.Decode([]byte(c.token))
		narrowed := claims.Set(response).Narrowed(token)
		a, err := narrowed.Actor("")
		got := "error"
		if err == nil {
			ids := []string{}
			for _, one := range a.Chain() {
				ids = append(ids, one.String())
			}
			got = coretest.JSON(t, ids)
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, c.want)
		}
		if token["cnf"] != nil && narrowed["cnf"] == nil {
			t.Errorf("%s: cnf is lost", name)
		}
		if again, _ := json.Marshal(response); string(again) != coretest.JSON(t, must(claims.Decode([]byte(c.response)))) {
			t.Errorf("%s: the response was changed: %s", name, again)
		}
	}
}

func must(set map[string]any, _ error) map[string]any { return set }
