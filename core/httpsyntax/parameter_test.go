package httpsyntax

import (
	"strings"
	"testing"
)

func TestParameterIsTakenAndTheOthersKeepTheirBytes(t *testing.T) {
	for target, want := range map[string]struct {
		rest, value string
	}{
		"/ws?t=abc":                              {"/ws", "abc"},
		"/ws?a=1&t=abc&b=%20+x&a=2":              {"/ws?a=1&b=%20+x&a=2", "abc"},
		"/ws?b&t=abc&&a==;x&":                    {"/ws?b&&a==;x&", "abc"},
		"/ws?t=a%2Bb%3d%3D":                      {"/ws", "a+b=="},
		"/ws?t=a=b":                              {"/ws", "a=b"},
		"/ws?x=?t=1&t=abc":                       {"/ws?x=?t=1", "abc"},
		"/ws?&t=abc":                             {"/ws", "abc"},
		"/w%73?%zz=%&t=abc":                      {"/w%73?%zz=%", "abc"},
		"/ws?tt=1&t=abc&t-=2&at=3&t2=4":          {"/ws?tt=1&t-=2&at=3&t2=4", "abc"},
		"http://app.test/ws?z=\xff\x80&t=abc&y=": {"http://app.test/ws?z=\xff\x80&y=", "abc"},
	} {
		rest, taken := TakeParameter(target, "t")
		if rest != want.rest || taken != (Parameter{Value: want.value, Count: 1}) {
			t.Errorf("%s: %q, %+v; want %q, %q", target, rest, taken, want.rest, want.value)
		}
	}
	for _, target := range []string{"/ws", "/t=1", "/ws?", "/ws?a=t&b=?t", "/ws?access-token=1", "/ws?%2574=1", "/ws#t=1", "/ws?" + strings.Repeat("a", MaxTarget) + "&t=1"} {
		if rest, taken := TakeParameter(target, "t"); rest != target || taken.Count != 0 {
			t.Errorf("%.40s: %.40q, %+v", target, rest, taken)
		}
	}
}

// A gateway and an upstream that read a query in two ways would take two tokens.
func TestParameterInAnotherSpellingIsRemovedAndAFault(t *testing.T) {
	for target, want := range map[string]string{
		"/ws?access_token=a&access_token=a":   "/ws",
		"/ws?access_token=a&x=1&access_token": "/ws?x=1",
		"/ws?%61ccess_token=a":                "/ws",
		"/ws?access%5Ftoken=a":                "/ws",
		"/ws?access%5ftoken=a&b=2":            "/ws?b=2",
		"/ws?Access_Token=a":                  "/ws",
		"/ws?ACCESS_TOKEN=a&access_token=b":   "/ws",
		"/ws?+access_token=a":                 "/ws",
		"/ws?access_token%20=a":               "/ws",
		"/ws?access_token%00x=a":              "/ws",
		"/ws?access_token[]=a":                "/ws",
		"/ws?access_token%5B0%5D=a":           "/ws",
		"/ws?access.token=a":                  "/ws",
		"/ws?access[token=a":                  "/ws", // to PHP a [ without its ] is an underscore
		"/ws?access%5btoken=a":                "/ws",
		"/ws?access+token=a":                  "/ws",
		"/ws?access_token=a+b":                "/ws",
		"/ws?access_token=a%2":                "/ws",
		"/ws?access_token=%zz":                "/ws",
	} {
		rest, taken := TakeParameter(target, "access_token")
		if rest != want || taken.Fault == "" || taken.Stuck {
			t.Errorf("%s: %q, %+v", target, rest, taken)
		}
	}
	for _, target := range []string{"/ws?access_token=a;b=1", "/ws?b=1;access_token=a", "/ws?b;%61ccess_token=a&access_token=c", "/ws?;Access_token"} {
		if _, taken := TakeParameter(target, "access_token"); taken.Fault == "" || !taken.Stuck {
			t.Errorf("%s: %+v", target, taken)
		}
	}
}

// FuzzTakeParameter: what is left has no parameter of the name, and is a part of what
// there was.
func FuzzTakeParameter(f *testing.F) {
	for _, s := range []string{"/?t=1", "/?a=1&t=%31&b=;", "/?%74=1&T=2&t[]=3", "/?t;=t", "/?&&t&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		rest, taken := TakeParameter(target, "t")
		if len(target) > MaxTarget {
			return
		}
		if again, left := TakeParameter(rest, "t"); !taken.Stuck && (left.Count > 0 || again != rest) {
			t.Errorf("%q: %q still has it", target, rest)
		}
		_, query, _ := strings.Cut(target, "?")
		_, kept, _ := strings.Cut(rest, "?")
		pairs := strings.Split(query, "&")
		for pair := range strings.SplitSeq(kept, "&") {
			for len(pairs) > 0 && pairs[0] != pair {
				pairs = pairs[1:]
			}
			if len(pairs) == 0 && kept != "" {
				t.Fatalf("%q: %q has other parameters, or in another order", target, rest)
			}
			if len(pairs) > 0 {
				pairs = pairs[1:]
			}
		}
	})
}
