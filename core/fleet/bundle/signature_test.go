package bundle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core/coretest"
	"gatehouse/core/permission/tablefile"
)

// pair is a key pair as PEM.
type pair struct {
	private, public []byte
	keys            Keys
}

func newPair(t *testing.T, algorithm string) pair {
	t.Helper()
	key := coretest.NewKey(t, algorithm, algorithm)
	private, err := x509.MarshalPKCS8PrivateKey(key.Private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	p := pair{
		private: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		public:  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
	}
	if p.keys, err = ParseKeys(p.public); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p pair) sign(t *testing.T, at time.Time, files ...string) string {
	t.Helper()
	var contents [][]byte
	for _, f := range files {
		contents = append(contents, []byte(f))
	}
	signature, err := Sign(p.private, at, 0, contents...)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// raw signs a header as it stands with an Ed25519 key.
func (p pair) raw(t *testing.T, header string, files ...string) string {
	t.Helper()
	block, _ := pem.Decode(p.private)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	protected := encode([]byte(header))
	return protected + ".." + encode(ed25519.Sign(key.(ed25519.PrivateKey), []byte(protected+"."+encode(payload(texts(files...))))))
}

func texts(files ...string) (list []tablefile.Text) {
	for _, f := range files {
		list = append(list, tablefile.Text{Content: []byte(f)})
	}
	return list
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func signed(s *site, p pair, o Options) Options {
	o.URLs, o.SignatureURL, o.Keys = []string{s.URL + "/t.yaml"}, s.URL+"/t.sig", p.keys
	return o
}

func TestSignaturesOfEveryKeyHold(t *testing.T) {
	now := time.Now()
	for _, algorithm := range []string{"EdDSA", "ES256", "ES384", "ES512", "RS256"} {
		p := newPair(t, algorithm)
		v, err := p.keys.verify(p.sign(t, now, tableA, tableB), payload(texts(tableA, tableB)), now)
		if err != nil || now.Sub(v.issued).Abs() > 2*time.Millisecond {
			t.Errorf("%s: %v, issued %s after", algorithm, err, v.issued.Sub(now))
		}
	}
	// A rotation has two keys; a JWK Set is one way to write them.
	old, next := newPair(t, "EdDSA"), newPair(t, "ES256")
	set := jwk.NewSet()
	for _, p := range []pair{old, next} {
		parsed, err := jwk.ParseKey(p.public, jwk.WithPEM(true))
		if err != nil {
			t.Fatal(err)
		}
		set.AddKey(parsed)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"JWK Set": text, "PEM": append(old.public, next.public...)} {
		keys, err := ParseKeys(text)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, p := range []pair{old, next} {
			if _, err := keys.verify(p.sign(t, now, tableA), payload(texts(tableA)), now); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestForgedSignaturesOfTablesAreRefused(t *testing.T) {
	now := time.Now()
	p, other, rsa256 := newPair(t, "EdDSA"), newPair(t, "EdDSA"), newPair(t, "RS256")
	good := p.sign(t, now, tableA, tableB)
	parts := strings.Split(good, ".")
	content := payload(texts(tableA, tableB))
	if _, err := p.keys.verify(good, content, now); err != nil {
		t.Fatal(err)
	}
	hmacOf := func(secret []byte, header string) string {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s", encode([]byte(header)), encode(content))
		return encode([]byte(header)) + ".." + encode(mac.Sum(nil))
	}
	for name, signature := range map[string]string{
		"none":                                "",
		"alg none":                            encode([]byte(`{"alg":"none"}`)) + "..",
		"alg none with the signature":         encode([]byte(`{"alg":"none"}`)) + ".." + parts[2],
		"HMAC with the public key":            hmacOf(p.public, `{"alg":"HS256"}`),
		"another key":                         other.sign(t, now, tableA, tableB),
		"another key that the header brings":  other.raw(t, `{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"`+encode(other.keys[0].public.(ed25519.PublicKey))+`"}}`, tableA, tableB),
		"an algorithm of another key":         p.raw(t, `{"alg":"ES256"}`, tableA, tableB),
		"another kind of key":                 rsa256.sign(t, now, tableA, tableB),
		"the files in another order":          p.sign(t, now, tableB, tableA),
		"one file only":                       p.sign(t, now, tableA),
		"a file more":                         p.sign(t, now, tableA, tableB, tableB),
		"another header":                      encode([]byte(`{"alg":"EdDSA","iat":1}`)) + ".." + parts[2],
		"with its payload":                    parts[0] + "." + encode(content) + "." + parts[2],
		"with another payload":                parts[0] + "." + encode([]byte("x")) + "." + parts[2],
		"in JSON":                             `{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"two":                                 good + "\n" + good,
		"padded":                              good + "=",
		"with a line break":                   parts[0] + ".." + parts[2][:10] + "\n" + parts[2][10:],
		"cut short":                           good[:len(good)-4],
		"with an unknown critical extension":  p.raw(t, `{"alg":"EdDSA","crit":["exp"],"exp":1}`, tableA, tableB),
		"with an unencoded payload (RFC7797)": p.raw(t, `{"alg":"EdDSA","b64":false,"crit":["b64"]}`, tableA, tableB),
		"with a header that repeats a member": p.raw(t, `{"alg":"EdDSA","iat":1,"iat":2}`, tableA, tableB),
		"with an iat that is a text":          p.raw(t, `{"alg":"EdDSA","iat":"1"}`, tableA, tableB),
		"from the future":                     p.sign(t, now.Add(time.Hour), tableA, tableB),
	} {
		if _, err := p.keys.verify(signature, content, now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := p.keys.verify(p.sign(t, now.Add(time.Minute), tableA, tableB), content, now); err != nil {
		t.Errorf("a clock that is a minute ahead: %v", err)
	}
}

func TestKeysThatVerifyNothingAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := func(key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	for name, text := range map[string]string{
		"private":   string(newPair(t, "EdDSA").private),
		"symmetric": `{"kty":"oct","k":"c2VjcmV0"}`,
		"small RSA": public(&small.PublicKey),
		"P-224":     public(&odd.PublicKey),
		"empty":     "",
		"text":      "hello",
		"empty set": `{"keys":[]}`,
	} {
		if _, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Sign(newPair(t, "EdDSA").public, time.Now(), 0, []byte(tableA)); err == nil {
		t.Error("signed with a public key")
	}
}

func TestUnsignedTableNeverLoadsOnceAKeyIsConfigured(t *testing.T) {
	p, now := newPair(t, "EdDSA"), time.Now()
	s := newSite(t, "/t.yaml", tableA)
	f := follow(t, signed(s, p, Options{}))
	f.fails(t, "t.sig responds with status 404")
	s.put("/t.sig", newPair(t, "EdDSA").sign(t, now, tableA))
	f.fails(t, "does not hold for these files")
	if f.Table() != nil {
		t.Fatal("a table is in force")
	}
	s.put("/t.sig", p.sign(t, now, tableA)+"\n")
	f.loads(t)
	s.put("/t.yaml", tableB) // altered on the server
	f.fails(t, "does not hold for these files")
	if got := f.open(); got != "/a" {
		t.Errorf("open: %s", got)
	}
	s.put("/t.sig", p.sign(t, now.Add(time.Second), tableB))
	f.loads(t)
	if got := f.open(); got != "/b" {
		t.Errorf("open: %s", got)
	}
}

func TestOlderSignedTableIsNotLoadedAgain(t *testing.T) {
	p, now := newPair(t, "EdDSA"), time.Now().Add(-time.Hour)
	s := newSite(t, "/t.yaml", tableB, "/t.sig", p.sign(t, now, tableB))
	o := signed(s, p, Options{Dir: t.TempDir()})
	f := follow(t, o)
	f.loads(t)
	refused := func(f *followed, when, signature, want string) {
		t.Helper()
		s.put("/t.yaml", tableA, "/t.sig", signature)
		f.fails(t, want)
		if got := f.open(); got != "/b" {
			t.Errorf("%s: open: %s", when, got)
		}
	}
	replay := p.sign(t, now.Add(-time.Minute), tableA)
	refused(f, "an older one", replay, "an older table is not loaded again")
	refused(f, "one of the same moment", p.sign(t, now, tableA), "an older table is not loaded again")
	refused(f, "one that does not say when", p.raw(t, `{"alg":"EdDSA"}`, tableA), "states no iat")
	f.stop()
	// After a restart the copy on disk knows.
	again := follow(t, o)
	again.loads(t)
	refused(again, "after a restart", replay, "an older table is not loaded again")
	// What is in force may come back with any signature that holds, and a newer
	// signature opens the way back.
	s.put("/t.yaml", tableB, "/t.sig", p.sign(t, now.Add(-2*time.Minute), tableB))
	again.loads(t)
	s.put("/t.yaml", tableA, "/t.sig", p.sign(t, now.Add(time.Minute), tableA))
	again.loads(t)
	if got := again.open(); got != "/a" {
		t.Errorf("open: %s", got)
	}
}

// A table that does not compile was never in force: the one before may come back as it is.
func TestSignedTableThatDoesNotCompileCanBeTakenBack(t *testing.T) {
	p, now := newPair(t, "EdDSA"), time.Now()
	const broken = "public: [GET /b(]\n"
	s := newSite(t, "/t.yaml", tableA, "/t.sig", p.sign(t, now, tableA))
	f := follow(t, signed(s, p, Options{Dir: t.TempDir()}))
	f.loads(t)
	s.put("/t.yaml", broken, "/t.sig", p.sign(t, now.Add(time.Second), broken))
	f.fails(t, "t.yaml:1:14")
	s.put("/t.yaml", tableA, "/t.sig", p.sign(t, now, tableA))
	f.loads(t)
}

func TestCopyOnDiskThatIsNotSignedIsNotUsed(t *testing.T) {
	p := newPair(t, "EdDSA")
	s := newSite(t, "/t.yaml", tableA, "/t.sig", p.sign(t, time.Now(), tableA))
	o := signed(s, p, Options{Dir: t.TempDir()})
	f := follow(t, o)
	f.loads(t)
	f.stop()
	forged := &bundle{texts: texts(tableB), signature: f.source.good.signature}
	if err := f.source.copies.Write(forged.copy(), time.Now()); err != nil {
		t.Fatal(err)
	}
	s.Fail(500, "")
	again := follow(t, o)
	again.fails(t, "status 500")
	if again.Table() != nil {
		t.Errorf("a table that nobody signed is in force: %s", again.open())
	}
}

func TestEntityTagThatStandsForTwoContentsDoesNotHoldUpForEver(t *testing.T) {
	p, now := newPair(t, "EdDSA"), time.Now()
	s := newSite(t, "/t.yaml", tableA, "/t.sig", p.sign(t, now, tableA))
	tagged := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".yaml") && r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified) // whatever it is
			return
		}
		s.serve(w, r)
	}))
	o := signed(s, p, Options{})
	o.URLs = []string{tagged.URL + "/t.yaml"}
	f := follow(t, o)
	f.loads(t)
	s.put("/t.yaml", tableB, "/t.sig", p.sign(t, now.Add(time.Second), tableB))
	f.fails(t, "does not hold for these files")
	f.loads(t)
	if got := f.open(); got != "/b" {
		t.Errorf("open: %s", got)
	}
}

// A node that never had a newer table is handed one that was withdrawn: its signature has
// ended, or is older than the node takes.
func TestSignatureThatHasEndedIsNotLoaded(t *testing.T) {
	p := newPair(t, "EdDSA")
	now := time.Now().Truncate(time.Second)
	stamp := func(header string) string { return p.raw(t, header, tableA) }
	for _, of := range []struct {
		name, signature string
		maxAge          time.Duration
		want            string
	}{
		{"no end", stamp(fmt.Sprintf(`{"alg":"EdDSA","iat":%d}`, now.Unix()-1e6)), 0, ""},
		{"before its end", stamp(fmt.Sprintf(`{"alg":"EdDSA","exp":%d}`, now.Unix()+1)), 0, ""},
		{"at its end", stamp(fmt.Sprintf(`{"alg":"EdDSA","exp":%d}`, now.Unix())), 0, "the signature has expired at"},
		{"past its end", stamp(fmt.Sprintf(`{"alg":"EdDSA","iat":%d,"exp":%d}`, now.Unix()-60, now.Unix()-1)), time.Hour, "the signature has expired at"},
		{"young enough", stamp(fmt.Sprintf(`{"alg":"EdDSA","iat":%d}`, now.Unix()-60)), time.Minute, ""},
		{"too old", stamp(fmt.Sprintf(`{"alg":"EdDSA","iat":%d,"exp":%d}`, now.Unix()-61, now.Unix()+1e6)), time.Minute, "longer ago than bundle.max_age (1m0s)"},
		{"of unknown age", stamp(fmt.Sprintf(`{"alg":"EdDSA","exp":%d}`, now.Unix()+60)), time.Minute, "states no iat"},
		{"an end that is a text", stamp(`{"alg":"EdDSA","exp":"never"}`), 0, "exp is not a number"},
		{"an end before all time", stamp(`{"alg":"EdDSA","exp":-1}`), 0, "exp is not a date"},
	} {
		s := newSite(t, "/t.yaml", tableA, "/t.sig", of.signature)
		f := follow(t, signed(s, p, Options{MaxAge: of.maxAge, Now: func() time.Time { return now }}))
		if open := f.open(); (of.want == "") != (open == "/a") {
			t.Errorf("%s: open %q", of.name, open)
		}
		if of.want != "" {
			f.fails(t, of.want)
		}
		f.stop()
	}
}

// The table in force stays when its signature ends, and the log says so; another start
// does without it. A new signature of the same table is enough.
func TestTableInForceStaysWhenItsSignatureEnds(t *testing.T) {
	p := newPair(t, "EdDSA")
	var clock atomic.Int64
	clock.Store(time.Now().Unix())
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	sign := func() string {
		signature, err := Sign(p.private, now(), time.Hour, []byte(tableA))
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	s := newSite(t, "/t.yaml", tableA, "/t.sig", sign())
	o := signed(s, p, Options{Dir: t.TempDir(), Now: now})
	f := follow(t, o)
	f.loads(t)
	clock.Add(3600)
	f.fails(t, "the signature has expired at")
	if open := f.open(); open != "/a" {
		t.Errorf("open: %s", open)
	}
	f.stop()
	again := follow(t, o)
	if open := again.open(); open != "" || !strings.Contains(again.log.String(), "the copy of the last good permission table is not used") {
		t.Errorf("after a restart %q is open\n%s", open, again.log)
	}
	s.put("/t.sig", sign())
	again.loads(t)
	if open := again.open(); open != "/a" {
		t.Errorf("signed anew: open %q", open)
	}
}
