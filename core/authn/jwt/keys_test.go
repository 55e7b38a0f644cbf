package jwt_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

func TestRotatedKeyIsFound(t *testing.T) {
	b := setup(t, nil)
	b.control()
	second := coretest.NewKey(t, "two", "RS256")
	b.issuer.Publish(b.issuer.Key, second)
	b.clock.Advance(11 * time.Second)
	b.accepts("a token of the new key", second.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	b.control()
}

func TestUnknownKidFlood(t *testing.T) {
	b := setup(t, nil)
	b.control()
	before := b.issuer.CallsTo(coretest.JWKSPath)
	b.clock.Advance(11 * time.Second)
	for i := range 200 {
		b.refuses("an unknown key id", b.sign(map[string]any{"kid": fmt.Sprint("x", i)}, nil))
	}
	if n := b.issuer.CallsTo(coretest.JWKSPath) - before; n != 1 {
		t.Errorf("200 unknown key ids caused %d fetches, want 1", n)
	}
	b.clock.Advance(11 * time.Second)
	b.refuses("an unknown key id, later", b.sign(map[string]any{"kid": "y"}, nil))
	if n := b.issuer.CallsTo(coretest.JWKSPath) - before; n != 2 {
		t.Errorf("%d fetches after the interval, want 2", n)
	}
	b.control()
}

// A token with an unknown key id, which anybody can make, must not hide a rotation
// that comes right after it.
func TestRotationRightAfterAnUnknownKidIsNoticed(t *testing.T) {
	b := setup(t, nil)
	b.control()
	b.clock.Advance(11 * time.Second)
	b.refuses("an unknown key id", b.sign(map[string]any{"kid": "x"}, nil))
	second := coretest.NewKey(t, "two", "RS256")
	b.issuer.Publish(second)
	token := second.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil)))
	if _, err := b.verify(token); !errors.Is(err, core.ErrUnsettled) {
		t.Errorf("in the same moment: %v; a cache would keep this refusal", err)
	}
	b.clock.Advance(time.Second)
	b.accepts("a token of the new key, a second later", token)
}

// The extra fetches are few: on average one in an interval.
func TestUnknownKidsCauseOneFetchInAnIntervalOnAverage(t *testing.T) {
	b := setup(t, nil)
	b.control()
	before := b.issuer.CallsTo(coretest.JWKSPath)
	for i := range 300 {
		b.clock.Advance(time.Second)
		if i%60 == 0 {
			b.control()
		}
		b.refuses("an unknown key id", b.sign(map[string]any{"kid": fmt.Sprint("x", i), "typ": "JWT"}, map[string]any{"exp": b.clock.Now().Unix() + 60}))
	}
	if n := b.issuer.CallsTo(coretest.JWKSPath) - before; n > 300/10+3 {
		t.Errorf("%d fetches in 300 seconds", n)
	}
}

func TestRotatedKeyWithoutAnIDIsFoundWhenTheSignatureFails(t *testing.T) {
	for name, id := range map[string]string{"keys without ids": "", "tokens without ids": "one"} {
		b := setup(t, nil)
		first, second := coretest.NewKey(t, "", "ES256"), coretest.NewKey(t, "", "ES256")
		first.ID, second.ID = id, id
		b.issuer.Publish(first)
		sign := func(k *coretest.Key) string {
			return k.Sign(t, map[string]any{"kid": nil}, coretest.JSON(t, b.issuer.Claims(nil)))
		}
		b.accepts(name+": the first key", sign(first))
		b.issuer.Publish(second)
		b.clock.Advance(11 * time.Second)
		b.accepts(name+": the second key", sign(second))
		b.refuses(name+": the first key, withdrawn", sign(first))
		before := b.issuer.CallsTo(coretest.JWKSPath)
		for range 100 {
			b.refuses(name+": a forged signature", sign(first))
		}
		if n := b.issuer.CallsTo(coretest.JWKSPath) - before; n > 1 {
			t.Errorf("%s: 100 forged signatures caused %d fetches", name, n)
		}
	}
}

func TestForgedSignatureUnderAKnownKidCausesNoFetch(t *testing.T) {
	b := setup(t, nil)
	b.control()
	before := b.issuer.Calls()
	b.clock.Advance(11 * time.Second)
	b.refuses("a forged signature", coretest.NewKey(t, "other", "RS256").Sign(t, map[string]any{"kid": "one"}, coretest.JSON(t, b.issuer.Claims(nil))))
	if n := b.issuer.Calls() - before; n != 0 {
		t.Errorf("%d fetches", n)
	}
}

// RFC 9864 gives EdDSA with Ed25519 a name of its own; issuers change over one by one.
func TestEd25519ByEitherName(t *testing.T) {
	for _, configured := range []string{"EdDSA", "Ed25519"} {
		b := setup(t, func(o *jwt.Options) { o.Issuers[0].Algorithms = []string{configured} })
		k := coretest.NewKey(t, "ed", "EdDSA")
		for _, published := range []any{"EdDSA", "Ed25519", nil} {
			b.issuer.PublishRaw(coretest.Merged(k.JWK(t), map[string]any{"alg": published}))
			b.clock.Advance(15 * time.Minute)
			for _, used := range []string{"EdDSA", "Ed25519"} {
				b.accepts(fmt.Sprint(configured, published, used), k.Sign(t, map[string]any{"alg": used}, coretest.JSON(t, b.issuer.Claims(nil))))
			}
			b.refuses("Ed448", k.Sign(t, map[string]any{"alg": "Ed448"}, coretest.JSON(t, b.issuer.Claims(nil))))
		}
	}
}

func TestSaltOfAnotherLengthIsRefused(t *testing.T) {
	b := setup(t, func(o *jwt.Options) { o.Issuers[0].Algorithms = []string{"PS256", "PS384", "PS512"} })
	k := coretest.NewKey(t, "one", "RS256")
	b.issuer.PublishRaw(coretest.Merged(k.JWK(t), map[string]any{"alg": nil}))
	for alg, hash := range map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512} {
		sign := func(salt int) string {
			signed := coretest.Encode(coretest.JSON(t, map[string]any{"alg": alg, "typ": "JWT", "kid": "one"})) + "." + coretest.Encode(coretest.JSON(t, b.issuer.Claims(nil)))
			h := hash.New()
			h.Write([]byte(signed))
			signature, err := k.Private.Sign(rand.Reader, h.Sum(nil), &rsa.PSSOptions{SaltLength: salt, Hash: hash})
			if err != nil {
				t.Fatal(err)
			}
			return signed + "." + coretest.Encode(string(signature))
		}
		b.accepts(alg, sign(hash.Size()))
		// 0 stands for the longest that fits, with which some libraries sign by default.
		for _, salt := range []int{rsa.PSSSaltLengthAuto, 1, hash.Size() - 1, hash.Size() + 1} {
			b.refuses(fmt.Sprint(alg, " with a salt of ", salt), sign(salt))
		}
	}
}

func TestFailedKeyFetchNamesItsAddress(t *testing.T) {
	b := setup(t, nil)
	for want, break_ := range map[string]func(){
		"/.well-known/openid-configuration responds with status 500": func() { b.issuer.Fail(500, "{}") },
		"/.well-known/openid-configuration responds with status 307, a redirect to https://id.test/moved; redirects are not followed": func() {
			b.issuer.Instead(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://id.test/moved?token=secret", http.StatusTemporaryRedirect)
			})
		},
		"there is no discovery document: " + b.issuer.URL + "/.well-known/openid-configuration and ": func() { b.issuer.Fail(404, "") },
		coretest.JWKSPath + ": the JWKS holds no key":                                                func() { b.issuer.Heal(); b.issuer.PublishRaw() },
	} {
		break_()
		b.clock.Advance(time.Minute)
		if _, err := b.verify(b.issuer.Token(nil)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "%!") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Many requests arrive before the keys are there; one fetch serves them all.
func TestConcurrentTokensCauseOneKeyFetch(t *testing.T) {
	b := setup(t, nil)
	token := b.issuer.Token(nil)
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() { b.accepts("token", token) })
	}
	wait.Wait()
	if n := b.issuer.CallsTo(coretest.JWKSPath); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestNoStoreDoesNotMeanFetchingEachTime(t *testing.T) {
	b := setup(t, nil)
	for range 20 {
		b.control()
	}
	if n := b.issuer.CallsTo(coretest.JWKSPath); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// waitForCalls waits until the background refresh has asked.
func waitForCalls(t *testing.T, b *bench, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for b.issuer.Calls() < n {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls, want %d", b.issuer.Calls(), n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestWithdrawnKeyStopsCounting(t *testing.T) {
	b := setup(t, nil)
	b.control()
	second := coretest.NewKey(t, "two", "RS256")
	b.issuer.Publish(second)
	before := b.issuer.Calls()

	b.clock.Advance(6 * time.Minute) // due, not yet too old: the old keys serve while new ones come
	b.control()
	waitForCalls(t, b, before+2)

	// A token of the new key waits for that fetch to end.
	b.accepts("the new key", second.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	b.refuses("the withdrawn key", b.issuer.Token(nil))
}

func TestKeysOfAnUnreachableIssuerAreUsedForALimitedTime(t *testing.T) {
	b := setup(t, nil)
	b.control()
	b.issuer.Fail(http.StatusInternalServerError, "{}")
	b.clock.Advance(6 * time.Minute)
	b.control()
	b.clock.Advance(8 * time.Minute)
	b.control()
	b.clock.Advance(time.Minute) // 15 minutes since the last good fetch
	b.cannotTell("a token after the keys grew too old", b.issuer.Token(nil))
	b.issuer.Heal()
	b.clock.Advance(11 * time.Second)
	b.control()
}

// A dead provider says nothing about a token, good or bad.
func TestOutageIsNotTheCallersFault(t *testing.T) {
	for name, break_ := range map[string]func(*coretest.Issuer){
		"status 500":        func(i *coretest.Issuer) { i.Fail(500, "{}") },
		"status 401":        func(i *coretest.Issuer) { i.Fail(401, "{}") },
		"no JSON":           func(i *coretest.Issuer) { i.Fail(200, "<html>") },
		"an empty object":   func(i *coretest.Issuer) { i.Fail(200, "{}") },
		"dropped":           func(i *coretest.Issuer) { i.Drop() },
		"an endless answer": func(i *coretest.Issuer) { i.Flood() },
		"a redirect":        func(i *coretest.Issuer) { i.Redirect("http://127.0.0.1:1/") },
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, nil)
			break_(b.issuer)
			b.cannotTell("before any key was had", b.issuer.Token(nil))
			b.issuer.Heal()
			b.clock.Advance(time.Second)
			b.control()
			break_(b.issuer)
			b.clock.Advance(11 * time.Second)
			b.cannotTell("an unknown key", b.sign(map[string]any{"kid": "new"}, nil))
			b.control() // the known keys still serve
		})
	}
}

func TestHangingProviderIsCutOff(t *testing.T) {
	impatient, err := idp.New(idp.Options{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(impatient.Close)
	b := setup(t, func(o *jwt.Options) { o.Client = impatient })
	b.issuer.Hang()
	b.cannotTell("a token", b.issuer.Token(nil))
}

// While an issuer is down, requests do not each wait for it anew.
func TestUnreachableIssuerIsFetchedWithBackOff(t *testing.T) {
	b := setup(t, nil)
	b.issuer.Fail(503, "{}")
	for range 50 {
		b.cannotTell("a token", b.issuer.Token(nil))
	}
	if n := b.issuer.Calls(); n != 1 {
		t.Errorf("%d calls within one moment, want 1", n)
	}
}

func TestHugeJWKS(t *testing.T) {
	t.Run("many keys", func(t *testing.T) {
		b := setup(t, nil)
		member := b.issuer.Key.JWK(t)
		members := make([]map[string]any, 101)
		for i := range members {
			members[i] = member
		}
		b.issuer.PublishRaw(members...)
		b.cannotTell("101 keys", b.issuer.Token(nil))
	})
	t.Run("many bytes", func(t *testing.T) {
		b := setup(t, nil)
		member := b.issuer.Key.JWK(t)
		member["x5c"] = []string{strings.Repeat("A", 600<<10)}
		b.issuer.PublishRaw(member)
		b.cannotTell("600 KiB", b.issuer.Token(nil))
	})
	t.Run("many keys without an id", func(t *testing.T) {
		b := setup(t, nil)
		anonymous := make([]*coretest.Key, 100)
		for i := range anonymous {
			anonymous[i] = coretest.NewKey(t, "", "ES256")
		}
		b.issuer.Publish(anonymous...)
		stranger := coretest.NewKey(t, "", "ES256")
		b.refuses("a token of nobody", stranger.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
		b.accepts("a token of the first", anonymous[0].Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
		b.refuses("a token of the last: only some are tried", anonymous[99].Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	})
}

func TestJWKSWithoutAUsableKey(t *testing.T) {
	b := setup(t, nil)
	b.issuer.PublishRaw(map[string]any{"kty": "quantum"}, smallRSAKey(t).JWK(t))
	_, err := b.verify(b.issuer.Token(nil))
	want := b.issuer.URL + coretest.JWKSPath + ": the JWKS holds no usable key: key 1 is not a key that can be read\n" +
		"key 2 is an RSA key of 1024 bits, which is not between 2048 and 8192"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestDiscoveryOfAnotherIssuer(t *testing.T) {
	for name, change := range map[string]func(*coretest.Issuer){
		"another issuer":     func(i *coretest.Issuer) { i.Discovery("issuer", "https://other.example.test") },
		"a trailing slash":   func(i *coretest.Issuer) { i.Discovery("issuer", i.URL+"/") },
		"no issuer":          func(i *coretest.Issuer) { i.Discovery("issuer", nil) },
		"no jwks_uri":        func(i *coretest.Issuer) { i.Discovery("jwks_uri", nil) },
		"a file as jwks_uri": func(i *coretest.Issuer) { i.Discovery("jwks_uri", "file:///etc/passwd") },
		"jwks_uri relative":  func(i *coretest.Issuer) { i.Discovery("jwks_uri", "/jwks.json") },
		"a list as jwks_uri": func(i *coretest.Issuer) { i.Discovery("jwks_uri", []string{i.URL + coretest.JWKSPath}) },
	} {
		b := setup(t, nil)
		change(b.issuer)
		b.cannotTell(name, b.issuer.Token(nil))
		if n := b.issuer.CallsTo(coretest.JWKSPath); n != 0 {
			t.Errorf("%s: the keys were fetched", name)
		}
	}
}

// RFC 8414 puts the well-known part before the issuer's path and OpenID
// Connect behind it.
func TestDiscoveryByEitherStandard(t *testing.T) {
	clock := coretest.NewClock()
	for _, path := range []string{"/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant"} {
		issuer := coretest.NewIssuer(t, clock)
		name := issuer.URL + "/tenant"
		keys := coretest.NewIssuer(t, clock)
		issuer.Instead(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				http.NotFound(w, r)
				return
			}
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, name, keys.URL+coretest.JWKSPath)
		})
		v, err := jwt.New(jwt.Options{
			Issuers: []jwt.Issuer{{Issuer: name, Audiences: []string{coretest.Audience}}}, Client: coretest.Client(t), Now: clock.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, clock: clock, issuer: keys, verifier: v}
		b.accepts(path, keys.Token(map[string]any{"iss": name}))
	}
}

func TestJWKSByURL(t *testing.T) {
	clock := coretest.NewClock()
	keys := coretest.NewIssuer(t, clock)
	v, err := jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: "https://id.example.test/", JWKSURL: keys.URL + coretest.JWKSPath, Audiences: []string{coretest.Audience}}},
		Client:  coretest.Client(t), Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, clock: clock, issuer: keys, verifier: v}
	b.accepts("token", keys.Token(map[string]any{"iss": "https://id.example.test/"}))
	if keys.CallsTo(coretest.DiscoveryPath) != 0 {
		t.Error("discovery was used")
	}
}

func TestKeysFromAFile(t *testing.T) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	der, err := x509.MarshalPKIXPublicKey(issuer.Key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"pem":  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"jwks": coretest.JSON(t, map[string]any{"keys": []any{issuer.Key.JWK(t)}}),
	} {
		b := &bench{t: t, clock: clock, issuer: issuer, verifier: fromFile(t, clock, issuer, content)}
		b.accepts(name, issuer.Token(nil))
		b.refuses(name+": another key", coretest.NewKey(t, "one", "ES256").Sign(t, nil, coretest.JSON(t, issuer.Claims(nil))))
		b.refuses(name+": a forged signature", coretest.NewKey(t, "stranger", "RS256").Sign(t, map[string]any{"kid": "one"}, coretest.JSON(t, issuer.Claims(nil))))
	}
	if issuer.Calls() != 0 {
		t.Error("something was fetched although the keys are in a file")
	}
}

func fromFile(t *testing.T, clock *coretest.Clock, issuer *coretest.Issuer, content string) *jwt.Verifier {
	t.Helper()
	v, err := openFile(t, clock, issuer, content)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func openFile(t *testing.T, clock *coretest.Clock, issuer *coretest.Issuer, content string) (*jwt.Verifier, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: issuer.URL, JWKSFile: path, Audiences: []string{coretest.Audience}}}, Now: clock.Now,
	})
}

func TestKeyFilesThatCannotServe(t *testing.T) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	private, err := x509.MarshalPKCS8PrivateKey(issuer.Key.Private)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := x509.MarshalPKIXPublicKey(smallRSAKey(t).Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"nothing":       "",
		"no keys":       `{"keys":[]}`,
		"text":          "these are not the keys",
		"a private key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"a weak key":    string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: ed})),
		"a secret":      `{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0"}]}`,
		"a large file":  `{"keys":[]` + strings.Repeat(" ", 600<<10) + `}`,
	} {
		_, err := openFile(t, clock, issuer, content)
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: the error holds the secret: %v", name, err)
		}
	}
}

func TestFailedFetchIsLogged(t *testing.T) {
	var log bytes.Buffer
	b := setup(t, func(o *jwt.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	b.issuer.Fail(500, "{}")
	b.cannotTell("a token", b.issuer.Token(nil))
	if line := log.String(); !strings.Contains(line, "issuer="+b.issuer.URL) || !strings.Contains(line, "status 500") {
		t.Errorf("logged %q", line)
	}
}

// Health checks ask often; they neither wait for an issuer nor hammer it.
func TestWaitingForKeysIsNoFlood(t *testing.T) {
	b := setup(t, nil)
	for range 50 {
		b.verifier.Waiting()
	}
	waitForCalls(t, b, 1)
	for deadline := time.Now().Add(5 * time.Second); len(b.verifier.Waiting()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %v", b.verifier.Waiting())
		}
	}
	if n := b.issuer.CallsTo(coretest.JWKSPath); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	b.control()
}
