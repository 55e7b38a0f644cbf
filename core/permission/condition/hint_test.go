package condition

import (
	"strings"
	"testing"

	"gatehouse/core/permission/pattern"
)

func problemsOf(t *testing.T, text string) []Problem {
	t.Helper()
	path, err := pattern.ParsePath("/x/(?P<id>[^/]+)")
	if err != nil {
		t.Fatal(err)
	}
	_, problems := Compile(text, path)
	return problems
}

// A condition in another language is one error that says what to write in CEL.
func TestConditionsOfOtherLanguages(t *testing.T) {
	for text, want := range map[string]string{
		"claims.a = 'b'":                        `0:9 "=" is no operator of CEL; write == to compare`,
		"claims.a === 'b'":                      `0:9 "===" is no operator of CEL; write == to compare`,
		"claims.a !== 'b'":                      `0:9 "!==" is no operator of CEL; write !=`,
		"claims.a <> 'b'":                       `"<>" is no operator of CEL; write !=`,
		"claims.a =~ 'b'":                       `"=~" is no operator of CEL; write claims.name.matches(`,
		"method == 'GET' && claims.a = '=='":    `0:28 "=" is no operator of CEL`,
		"claims.a == 'b' and claims.b == 'c'":   `0:16 "and" is no operator of CEL; write &&`,
		"claims.a == 'b'\nAND claims.b == 'c'":  `1:0 "AND" is no operator of CEL; write &&`,
		"(claims.a == 'b') or claims.b == 'c'":  `"or" is no operator of CEL; write ||`,
		"claims.a == 'b' & claims.b == 'c'":     `"&" is no operator of CEL; write && for and`,
		"claims.a == 'b' | claims.b == 'c'":     `"|" is no operator of CEL; write || for or`,
		"not claims.a":                          `"not" is no operator of CEL; write ! for not`,
		"claims.a == 'x' && not (claims.b)":     "undeclared reference to 'not'; write ! for not",
		"claims.a is 'b'":                       `"is" is no operator of CEL; write ==`,
		"claims.a eq 'b'":                       `"eq" is no operator of CEL; write ==`,
		"claims.a ne 'b'":                       `"ne" is no operator of CEL; write !=`,
		"claims.roles contains 'x'":             `"contains" is no operator of CEL; write claims.name.contains('x') for a text, or 'x' in claims.names for a list`,
		"claims.a matches 'x'":                  `"matches" is no operator of CEL`,
		"claims.a like 'x'":                     `"like" is no operator of CEL`,
		"claims.a startsWith 'x'":               `"startsWith" is no operator of CEL; write claims.name.startsWith('x')`,
		"claims.a in ('x', 'y')":                `write in ['a', 'b'] for one of several`,
		"${claims.a} == 'b'":                    `"${" is no operator of CEL; write names as they are`,
		"{{ claims.a }} == 'b'":                 `"{{" is no operator of CEL; write names as they are`,
		"$claims.a == 'b'":                      `"$" is no operator of CEL; write names as they are`,
		"claims.a == \u2018b\u2019":             "write straight quotes",
		"if claims.a then true":                 `"if" is no operator of CEL; write CONDITION ? A : B`,
		"request.method == 'GET'":               "undeclared reference to 'request'; write method, host,",
		"request.headers['x-a'] == 'b'":         "headers['x-name']",
		"user.id == 'x'":                        "undeclared reference to 'user'; the caller is claims.sub",
		"token.a == 'x'":                        "what the credential states is claims.name",
		"sub == 'x'":                            "undeclared reference to 'sub'; write claims.sub",
		"email == 'x'":                          "undeclared reference to 'email'; write claims.email",
		"header['x-a'] == 'b'":                  "write headers['x-name']",
		"ip == '10.0.0.1'":                      "write peer for the address",
		"verb == 'GET'":                         "write method",
		"hostname == 'a'":                       "write host",
		"len(claims.a) > 1":                     "write size(claims.name)",
		"claims.a == nil":                       "write null, or has(claims.name)",
		"claims.a == True":                      "write true or false in lower case",
		"claims.a == b":                         "undeclared reference to 'b'; a condition reads claims, raw, headers, query, path, peer, host, method, and a text stands in quotes",
		"claim.a == 'b'":                        "claims.name",
		"clams.a == 'b'":                        "did you mean",
		"claims.a.startswith('x')":              "did you mean 'startsWith'?",
		"claims.roles.contains('x')":            "claims.roles is a list, which has no contains(); write 'NAME' in claims.roles",
		"'read' in claims.scope":                "claims.scope is one text, which has no members",
		"claims.a == 'b' &&":                    "Syntax error",
		"claims.a == 'and or = & | not' && now": "a condition has no clock",
	} {
		problems := problemsOf(t, text)
		if len(problems) != 1 {
			t.Errorf("%s: %d problems: %v", text, len(problems), problems)
			continue
		}
		p := problems[0]
		if place, message, ok := strings.Cut(want, " "); ok && len(place) >= 3 && place[1] == ':' {
			if at := string(rune('0'+p.Line)) + ":" + place[2:]; at != place || !strings.Contains(p.Text, message) {
				t.Errorf("%s: %d:%d %s, want %s", text, p.Line, p.Column, p.Text, want)
			}
		} else if !strings.Contains(p.Text, want) {
			t.Errorf("%s: %s, want %s", text, p.Text, want)
		}
	}
	for _, text := range []string{
		"claims.a == 'b'", `claims.a == "and = or"`, "'x' in claims.roles", "claims.a in ['x', 'y']", "!(claims.a == 'x')", "claims.a == 'it\\'s = and'", "claims.a != null", "claims.and == 'x' || claims['is'] == 'y'",
		"method == 'GET' && path.id == claims.sub", "claims.a.matches('^a=b$')", "claims.a <= 1 && claims.b >= 2", "claims.a ? true : false", "claims.scope.contains('read')",
	} {
		if problems := problemsOf(t, text); len(problems) > 0 {
			t.Errorf("%s: %v", text, problems)
		}
	}
}
