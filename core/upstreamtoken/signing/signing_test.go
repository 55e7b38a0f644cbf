package signing_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core/upstreamtoken/signing"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func generated(t *testing.T, algorithm string) *signing.Set {
	t.Helper()
	k, err := signing.Generate(algorithm, start)
	if err != nil {
		t.Fatal(err)
	}
	set, err := signing.NewSet(k)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func private(t *testing.T, s *signing.Set) string {
	t.Helper()
	text, err := s.Private()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// ids are the kids that others see at a moment.
func ids(t *testing.T, s *signing.Set, now time.Time) (ids []string) {
	t.Helper()
	set, err := jwk.Parse(s.JWKS(now))
	if err != nil {
		t.Fatal(err)
	}
	for i := range set.Len() {
		key, _ := set.Key(i)
		ids = append(ids, key.KeyID())
	}
	return ids
}

func TestKeysAreReadFromEveryForm(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec8, err8 := x509.MarshalPKCS8PrivateKey(ec)
	ed8, _ := x509.MarshalPKCS8PrivateKey(ed)
	rsa8, _ := x509.MarshalPKCS8PrivateKey(rsaKey)
	sec1, err1 := x509.MarshalECPrivateKey(ec)
	one := private(t, generated(t, "ES256"))
	var document struct{ Keys []json.RawMessage }
	if err := json.Unmarshal([]byte(one), &document); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"PKCS 8, P-256":       {pemOf(t, "PRIVATE KEY", ec8, err8), []string{"ES256"}},
		"PKCS 8, Ed25519":     {pemOf(t, "PRIVATE KEY", ed8, nil), []string{"EdDSA"}},
		"PKCS 8, RSA":         {pemOf(t, "PRIVATE KEY", rsa8, nil), []string{"RS256"}},
		"SEC 1":               {pemOf(t, "EC PRIVATE KEY", sec1, err1), []string{"ES256"}},
		"SEC 1 of openssl":    {pemOf(t, "EC PARAMETERS", []byte{6, 8}, nil) + pemOf(t, "EC PRIVATE KEY", sec1, err1), []string{"ES256"}},
		"PKCS 1":              {pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), []string{"RS256"}},
		"two in a file":       {pemOf(t, "PRIVATE KEY", ed8, nil) + pemOf(t, "PRIVATE KEY", rsa8, nil), []string{"EdDSA", "RS256"}},
		"key set":             {one, []string{"ES256"}},
		"one key of a set":    {string(document.Keys[0]), []string{"ES256"}},
		"key set, with space": {"\n " + one + "\n", []string{"ES256"}},
	} {
		set, err := signing.Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := set.Algorithms(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if published := string(set.JWKS(start)); strings.Contains(published, `"d"`) || strings.Contains(published, `"p"`) {
			t.Errorf("%s: a private key is published: %s", name, published)
		}
	}
}

func TestUnusableKeysAreRefusedAndNotQuoted(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small8, _ := x509.MarshalPKCS8PrivateKey(small)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p3848, _ := x509.MarshalPKCS8PrivateKey(p384)
	public, _ := x509.MarshalPKIXPublicKey(p384.Public())
	good := private(t, generated(t, "ES256"))
	change := func(name string, value any) string {
		var document map[string][]map[string]any
		if err := json.Unmarshal([]byte(good), &document); err != nil {
			t.Fatal(err)
		}
		document["keys"][0][name] = value
		text, _ := json.Marshal(document)
		return string(text)
	}
	var other map[string][]map[string]any
	if err := json.Unmarshal([]byte(private(t, generated(t, "ES256"))), &other); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":                          "",
		"text":                           "very-secret",
		"no key in a set":                `{"keys":[]}`,
		"secret for HMAC":                `{"kty":"oct","k":"dmVyeS1zZWNyZXQtdmVyeS1zZWNyZXQtdmVyeS1zZWNyZXQ"}`,
		"small RSA key":                  pemOf(t, "PRIVATE KEY", small8, nil),
		"another curve":                  pemOf(t, "PRIVATE KEY", p3848, nil),
		"public key":                     pemOf(t, "PUBLIC KEY", public, nil),
		"encrypted":                      pemOf(t, "ENCRYPTED PRIVATE KEY", []byte("x"), nil),
		"garbage":                        pemOf(t, "PRIVATE KEY", []byte("very-secret"), nil),
		"public key of another":          change("x", other["keys"][0]["x"]),
		"alg of another type":            change("alg", "RS256"),
		"alg none":                       change("alg", "none"),
		"alg HS256":                      change("alg", "HS256"),
		"for encryption":                 change("use", "enc"),
		"kid is a number":                change("kid", 7),
		"kid is too long":                change("kid", strings.Repeat("k", 200)),
		"begins on no date":              change("nbf", "soon"),
		"ends on no date":                change("exp", -1),
		"member twice":                   strings.Replace(good, `"kid"`, `"d": "x", "d": "y", "kid"`, 1),
		"key set that goes on":           good + "{}",
		"twice the same key":             pemOf(t, "PRIVATE KEY", ed8(t), nil) + pemOf(t, "PRIVATE KEY", ed8(t), nil),
		"text in a set":                  `{"keys":["very-secret"]}`,
		"second of the keys is unusable": `{"keys":[` + keyOf(t, good) + `,{"kty":"EC","crv":"P-256","d":"very-secret"}]}`,
	} {
		_, err := signing.Parse(text)
		if err == nil {
			t.Errorf("%s is accepted", name)
		} else if strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

func ed8(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func keyOf(t *testing.T, set string) string {
	t.Helper()
	var document struct{ Keys []json.RawMessage }
	if err := json.Unmarshal([]byte(set), &document); err != nil {
		t.Fatal(err)
	}
	return string(document.Keys[0])
}

// A kid goes into the header of every token.
func TestKeyIdDoesNotBecomeAnotherMemberOfTheHeader(t *testing.T) {
	const hostile = `a","alg":"none","x":"`
	text := strings.Replace(private(t, generated(t, "EdDSA")), `"kid": "`, `"kid": "a\",\"alg\":\"none\",\"x\":\"`, 1)
	set, err := signing.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	k := set.Keys()[0]
	if !strings.HasPrefix(k.ID, hostile) {
		t.Fatalf("kid %q", k.ID)
	}
	token, err := k.Sign("at+jwt", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(token, ".")
	var read map[string]string
	if err := json.Unmarshal(decoded(t, header), &read); err != nil || len(read) != 3 || read["alg"] != "EdDSA" || read["kid"] != k.ID {
		t.Errorf("header %v, %v", read, err)
	}
	if got := ids(t, set, start); !slices.Equal(got, []string{k.ID}) {
		t.Errorf("published as %q", got)
	}
}

func TestRotationPublishesAKeyBeforeItSigns(t *testing.T) {
	set := generated(t, "ES256")
	old := set.Keys()[0].ID
	renewed, added, err := set.Rotate(signing.Rotation{Publish: time.Hour, Keep: 24 * time.Hour}, start)
	if err != nil {
		t.Fatal(err)
	}
	read, err := signing.Parse(private(t, renewed)) // as every node reads it
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after     time.Duration
		signs     string
		published []string
	}{
		{0, old, []string{added.ID, old}},
		{time.Hour - time.Second, old, []string{added.ID, old}},
		{time.Hour, added.ID, []string{added.ID, old}},
		{25*time.Hour - time.Second, added.ID, []string{added.ID, old}},
		{25 * time.Hour, added.ID, []string{added.ID}},
	} {
		k, err := read.Signer(start.Add(c.after))
		if err != nil || k.ID != c.signs {
			t.Errorf("after %s %v signs (%v), want %s", c.after, k, err, c.signs)
		}
		if got := ids(t, read, start.Add(c.after)); !slices.Equal(got, c.published) {
			t.Errorf("after %s %v are published, want %v", c.after, got, c.published)
		}
	}
	if _, _, err := read.Rotate(signing.Rotation{Publish: time.Hour}, start.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "begins to sign") {
		t.Errorf("a second rotation before the first has taken effect: %v", err)
	}
	again, last, err := read.Rotate(signing.Rotation{Algorithm: "EdDSA", Publish: time.Hour, Keep: time.Hour}, start.Add(48*time.Hour))
	if err != nil || last.Algorithm != "EdDSA" || len(again.Keys()) != 2 {
		t.Errorf("%v, %v: the key that has ended is still there", again, err)
	}
}

func TestNoKeySignsThatHasEndedOrBeginsLater(t *testing.T) {
	renewed, _, err := generated(t, "EdDSA").Rotate(signing.Rotation{Publish: time.Hour, Keep: -30 * time.Minute}, start)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := renewed.Signer(start.Add(45 * time.Minute)); err == nil {
		t.Errorf("%s signs between the keys", k.ID)
	}
}

func TestOfSeveralKeysTheFirstSigns(t *testing.T) {
	a, b := private(t, generated(t, "EdDSA")), private(t, generated(t, "ES256"))
	for _, texts := range [][]string{{a, b}, {b, a}} {
		set, err := signing.Parse(texts...)
		if err != nil {
			t.Fatal(err)
		}
		want, err := signing.Parse(texts[0])
		if err != nil {
			t.Fatal(err)
		}
		if k, err := set.Signer(start); err != nil || k.ID != want.Keys()[0].ID {
			t.Errorf("%v signs, %v", k, err)
		}
	}
}

func decoded(t *testing.T, part string) []byte {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
