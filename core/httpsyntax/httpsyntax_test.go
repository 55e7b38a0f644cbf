package httpsyntax_test

import (
	"strings"
	"testing"

	"gatehouse/core/httpsyntax"
)

func TestRequestLine(t *testing.T) {
	for line, want := range map[string][2]string{
		"GET /a HTTP/1.1":         {"GET", "/a"},
		"GET /a?b=/c HTTP/2.0":    {"GET", "/a?b=/c"},
		"GET http://x/a HTTP/1.1": {"GET", "http://x/a"},
		"GET /a b HTTP/1.1":       {"GET", "/a b"}, // refused by the path rules
		"GET /a":                  {},
		"GET":                     {},
		"":                        {},
		"GET /a HTTX/1.1":         {},
	} {
		method, target, err := httpsyntax.RequestLine(line)
		if (err != nil) != (want == [2]string{}) || method != want[0] || target != want[1] {
			t.Errorf("%q: %q %q %v", line, method, target, err)
		}
	}
}

func TestToken(t *testing.T) {
	for _, text := range []string{"GET", "M-SEARCH", "x_y", "__Host-sid", "a!#$%&'*+-.^`|~9"} {
		if !httpsyntax.IsToken(text) {
			t.Errorf("%q is not taken for a token", text)
		}
	}
	for _, text := range []string{"", "a b", "a:b", "a/b", "a\x00", "é", "a\xff", "a\r\nb", `"a"`, "(a)"} {
		if httpsyntax.IsToken(text) {
			t.Errorf("%q is taken for a token", text)
		}
	}
}

// Every spelling that CGI reads as one variable is one name.
func TestForgedHeaderNameInAnotherSpellingFoldsAlike(t *testing.T) {
	for _, name := range []string{"X-User-Id", "x_user_id", "X.USER~ID", "x user-id"} {
		if !httpsyntax.FoldEqual(name, "X-User-Id") {
			t.Errorf("%q is taken for another name", name)
		}
	}
	for _, name := range []string{"X-User-Ids", "XUser-Id", "X-User-I", ""} {
		if httpsyntax.FoldEqual(name, "X-User-Id") {
			t.Errorf("%q is taken for the same name", name)
		}
	}
}

func FuzzFoldEqualIsFold(f *testing.F) {
	f.Add("X-User-Id", "x_user_id")
	f.Add("é", "\xc3\xa9")
	f.Fuzz(func(t *testing.T, a, b string) {
		if httpsyntax.FoldEqual(a, b) != (httpsyntax.Fold(a) == httpsyntax.Fold(b)) {
			t.Errorf("%q, %q", a, b)
		}
		if strings.EqualFold(a, b) && len(a) == len(b) && !httpsyntax.FoldEqual(a, b) {
			t.Errorf("%q and %q differ in case only", a, b)
		}
	})
}

func TestHexByte(t *testing.T) {
	const digits = "0123456789abcdef"
	for i := range 256 {
		low, high := digits[i&15], digits[i>>4]
		for _, pair := range [][2]byte{{high, low}, {strings.ToUpper(string(high))[0], low}} {
			if !httpsyntax.IsHex(pair[0]) || !httpsyntax.IsHex(pair[1]) || httpsyntax.HexByte(pair[0], pair[1]) != byte(i) {
				t.Errorf("%c%c", pair[0], pair[1])
			}
		}
	}
	for _, c := range []byte("gG/:@`\x00 \xff") {
		if httpsyntax.IsHex(c) {
			t.Errorf("%q is taken for a digit", c)
		}
	}
}

func TestCharacterThatNoCredentialHas(t *testing.T) {
	for c := range 256 {
		text := "a" + string([]byte{byte(c)}) + "b"
		want := c > ' ' && c < 0x7f && !strings.ContainsRune(`",;\`, rune(c))
		if httpsyntax.IsCredential(text) != want {
			t.Errorf("%q: want %v", text, want)
		}
	}
	if httpsyntax.IsCredential("") {
		t.Error("an empty text is a credential")
	}
}
