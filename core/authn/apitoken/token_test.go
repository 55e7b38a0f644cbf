package apitoken

import (
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
)

func TestTokenIsFoundByTheDocumentedPattern(t *testing.T) {
	pattern := regexp.MustCompile(Pattern)
	seen := map[string]bool{}
	for range 10_000 {
		token := Generate()
		if seen[token] {
			t.Fatal("a token was made twice")
		}
		seen[token] = true
		if len(token) != Length || !WellFormed(token) || !HasPrefix(token) || pattern.FindString("TOKEN="+token+"\n") != token {
			t.Fatalf("%d bytes, well-formed %v, found %q", len(token), WellFormed(token), pattern.FindString(token))
		}
		if got := checksum(token[:10]); got != crc32.ChecksumIEEE([]byte(token[:10])) {
			t.Fatal("the checksum is not CRC-32")
		}
	}
}

func TestTokenWithAForgedChecksumIsRefused(t *testing.T) {
	token := Generate()
	for i := len(Prefix); i < Length; i++ {
		for _, c := range []byte{'0', 'z', 'Z', 'a', '-', '_', ' ', 0x7f, 0xff} {
			changed := token[:i] + string(c) + token[i+1:]
			if changed != token && WellFormed(changed) {
				t.Fatalf("byte %d can be changed to %q", i, c)
			}
		}
	}
	for i := len(Prefix); i+1 < Length; i++ { // two neighbours exchanged, as by hand
		changed := []byte(token)
		changed[i], changed[i+1] = changed[i+1], changed[i]
		if string(changed) != token && WellFormed(string(changed)) {
			t.Fatalf("bytes %d and %d can be exchanged", i, i+1)
		}
	}
}

func TestTruncatedOrLongerTokenIsRefused(t *testing.T) {
	token := Generate()
	for i := range token {
		if WellFormed(token[:i]) || WellFormed(token[i:]) != (i == 0) {
			t.Fatalf("a part of %d bytes is well-formed", i)
		}
	}
	for _, other := range []string{token + "0", "0" + token, token + token, " " + token, token + "\n", token + "\x00", "", "gth_", strings.Repeat("0", Length)} {
		if WellFormed(other) {
			t.Errorf("%q is well-formed", other)
		}
	}
}

// A token that a shell or a keyboard has spelt otherwise is still one that no identity
// provider is to see.
func TestPrefixInAnotherCaseIsAPrefixAndNoToken(t *testing.T) {
	token := Generate()
	for _, prefix := range []string{"GTH_", "Gth_", "gtH_"} {
		if other := prefix + token[len(Prefix):]; WellFormed(other) || !HasPrefix(other) {
			t.Errorf("%s: well-formed %v, prefix %v", prefix, WellFormed(other), HasPrefix(other))
		}
	}
	for _, other := range []string{"gth", "gth-", "ghp_", "xgth_", "", "ory_st_", "gt\u0127_"} {
		if HasPrefix(other + "abc") {
			t.Errorf("%q has the prefix", other)
		}
	}
}

func TestDigestHasOneSpelling(t *testing.T) {
	d := DigestOf(Generate())
	if back, ok := ParseDigest(d.String()); !ok || back != d {
		t.Error("a digest does not read as it is written")
	}
	for _, text := range []string{"", "sha256:", strings.ToUpper(d.String()), "sha256:" + strings.ToUpper(d.String()[7:]), d.String()[7:], d.String() + "0", d.String()[:70], "sha512:" + d.String()[7:]} {
		if _, ok := ParseDigest(text); ok {
			t.Errorf("%q is a digest", text)
		}
	}
}

func TestCheckingATokenAllocatesNothing(t *testing.T) {
	token := Generate()
	if n := testing.AllocsPerRun(100, func() { WellFormed(token); DigestOf(token) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzOnlyGeneratedTokensAreWellFormed(f *testing.F) {
	f.Add(Generate())
	f.Add("gth_")
	f.Fuzz(func(t *testing.T, text string) {
		if WellFormed(text) && (!HasPrefix(text) || regexp.MustCompile(Pattern).FindString(text) != text) {
			t.Errorf("%q is well-formed, and a scanner does not find it", text)
		}
	})
}
