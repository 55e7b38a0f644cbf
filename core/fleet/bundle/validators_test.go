package bundle

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/coretest"
)

// tagged serves a site whose documents all have one entity tag.
func tagged(t *testing.T, s *site, tag string) (server *coretest.Server, url string) {
	server = coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked := r.Header.Get("If-None-Match"); asked != "" && asked == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		r = r.Clone(r.Context()) // the server keeps the other one
		r.Header.Del("If-None-Match")
		s.serve(retagged{w, tag}, r)
	}))
	return server, server.URL + "/t.yaml"
}

type retagged struct {
	http.ResponseWriter
	tag string
}

func (w retagged) Write(b []byte) (int, error) {
	w.Header().Set("ETag", w.tag)
	return w.ResponseWriter.Write(b)
}

// An unsigned table is replaced under the same entity tag: nothing shows it, but it is
// not believed for ever.
func TestEntityTagOfTheFormerTableDoesNotHideTheNextOneForEver(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	server, url := tagged(t, s, `"1"`)
	f := follow(t, Options{URLs: []string{url}, Interval: time.Millisecond})
	f.loads(t)
	polled(t, server, 2)
	if server.LastRequest(t).Header.Get("If-None-Match") == "" {
		t.Error("the table is transferred each time")
	}
	s.put("/t.yaml", tableB)
	f.loads(t)
	if got := f.open(); got != "/b" {
		t.Errorf("open: %s", got)
	}
}

func TestRefusedTableIsMendedUnderTheSameEntityTag(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	f := follow(t, Options{URLs: []string{s.URL + "/t.yaml"}})
	f.loads(t)
	s.put("/t.yaml", "public: [GET /b(]\n")
	f.fails(t, "t.yaml:1:14")
	polled(t, s.Server, 3)
	if got := s.LastRequest(t).Header.Get("If-None-Match"); got != "" {
		t.Errorf("If-None-Match %s for a table that is not in force", got)
	}
	s.put("/t.yaml", tableA) // as before, and quiet again
	for s.LastRequest(t).Header.Get("If-None-Match") == "" {
		polled(t, s.Server, 1)
	}
	if got := f.open(); got != "/a" {
		t.Errorf("open: %s", got)
	}
}

// What is no strong validator (RFC 9110 section 8.8.1) may stand for two contents.
func TestValidatorThatMayStandForTwoContentsIsNotUsed(t *testing.T) {
	for _, tag := range []string{`W/"1"`, `W/""`, `""`, `1`, `"1`, `*`, `"`} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "/t.yaml", tableA)
			server, url := tagged(t, s, tag)
			f := follow(t, Options{URLs: []string{url}})
			f.loads(t)
			polled(t, server, 3)
			if got := server.LastRequest(t).Header.Get("If-None-Match"); got != "" {
				t.Errorf("If-None-Match: %s", got)
			}
			s.put("/t.yaml", tableB)
			f.loads(t)
			if got := f.open(); got != "/b" {
				t.Errorf("open: %s", got)
			}
		})
	}
}

func TestNotModifiedThatIsAboutAnotherContentIsNotBelieved(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	server, url := tagged(t, s, `"1"`)
	f := follow(t, Options{URLs: []string{url}})
	f.loads(t)
	weak := func(w http.ResponseWriter, r *http.Request) { // as servers that compress write it
		w.Header().Set("ETag", `W/"1"`)
		w.WriteHeader(http.StatusNotModified)
	}
	server.Instead(weak)
	polled(t, server, 3)
	if n := len(f.reloads); n != 0 {
		t.Errorf("the same tag is refused: %v", (<-f.reloads).Err)
	}
	server.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"2"`)
		w.WriteHeader(http.StatusNotModified)
	})
	f.fails(t, "an ETag that was not asked for")
	if got := f.open(); got != "/a" {
		t.Errorf("open: %s", got)
	}
	f.fails(t, "status 304 to a request without a condition")
	s.put("/t.yaml", tableB)
	server.Heal()
	f.loads(t)
	if got := f.open(); got != "/b" {
		t.Errorf("open: %s", got)
	}
}

// A permission table that travels in plain text could be anybody's.
func TestRedirectToPlainHTTPIsNotFollowed(t *testing.T) {
	plain := newSite(t, "/t.yaml", tableB)
	s := newSite(t, "/t.yaml", tableA)
	secure := httptest.NewTLSServer(s)
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	f := follow(t, Options{URLs: []string{secure.URL + "/t.yaml"}, Client: client(t, idp.Options{CAFile: ca})})
	f.loads(t)
	s.Instead(redirect(http.StatusMovedPermanently, plain.URL+"/t.yaml"))
	f.fails(t, "redirects are not followed")
	if got := f.open(); got != "/a" || plain.Calls() != 0 {
		t.Errorf("open: %s, %d requests in plain text", got, plain.Calls())
	}
}

// Whoever can write to the server takes the signature away, or puts something else there.
func TestSignedTableIsNotReplacedByAnUnsignedOne(t *testing.T) {
	p, now := newPair(t, "EdDSA"), time.Now().Add(-time.Hour)
	good := p.sign(t, now, tableA)
	for name, c := range map[string]struct {
		signature http.HandlerFunc
		want      string
	}{
		"no signature":                 {status(404), "t.sig responds with status 404"},
		"no content":                   {status(204), "t.sig responds with status 204"},
		"an empty one":                 {body(200, "", ""), "t.sig responds with an empty body"},
		"a web page":                   {body(200, "text/html", "<html>"), "a web page"},
		"the former one":               {body(200, "", good), "does not hold for these files"},
		"the table itself":             {body(200, "", tableB), "t.sig"},
		"one without algorithm":        {body(200, "", encode([]byte(`{"alg":"none"}`))+".."), "t.sig"},
		"a header alone":               {body(200, "", strings.Split(good, ".")[0]+".."), "t.sig"},
		"a stranger's":                 {body(200, "", newPair(t, "EdDSA").sign(t, time.Now(), tableB)), "does not hold for these files"},
		"a huge one":                   {body(200, "", strings.Repeat("x", 1<<20)), "longer than 16384 bytes"},
		"a redirect to the former one": {redirect(302, "/former.sig"), "redirects are not followed"},
		"cut short":                    {raw("Content-Length: 1000", good), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "/t.yaml", tableA, "/t.sig", good, "/former.sig", good)
			o := signed(s, p, Options{Dir: t.TempDir()})
			f := follow(t, o)
			f.loads(t)
			s.put("/t.yaml", tableB)
			s.Instead(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/t.sig" {
					c.signature(w, r)
					return
				}
				s.serve(w, r)
			})
			f.fails(t, c.want)
			if got := f.open(); got != "/a" {
				t.Errorf("open: %s", got)
			}
			f.stop()
			again := follow(t, o) // from the copy on disk
			again.loads(t)
			if got := again.open(); got != "/a" {
				t.Errorf("after a restart: open: %s", got)
			}
			s.Heal()
			s.put("/t.sig", p.sign(t, now.Add(time.Minute), tableB))
			again.loads(t)
			if got := again.open(); got != "/b" {
				t.Errorf("open: %s", got)
			}
		})
	}
}
