package status

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

type authority = coretest.Authority

// chain is a client below an authority below a root.
type chain struct {
	clock                 *coretest.Clock
	root, between, client *authority
}

func newChain(t *testing.T, change func(*x509.Certificate)) chain {
	t.Helper()
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	between := root.Authority("between", nil)
	return chain{clock, root, between, between.Client("robot", change)}
}

func (c chain) certificates() []*x509.Certificate {
	return []*x509.Certificate{c.client.Certificate, c.between.Certificate, c.root.Certificate}
}

type listChange = func(*x509.RevocationList)

// list is one of an authority, signed by a key of somebody.
func list(t *testing.T, clock *coretest.Clock, of, by *authority, change listChange, revoked ...*authority) *List {
	t.Helper()
	lists, err := ParseLists("list", listDER(t, clock, of, by, change, revoked...))
	if err != nil {
		t.Fatal(err)
	}
	return lists[0]
}

func listDER(t *testing.T, clock *coretest.Clock, of, by *authority, change listChange, revoked ...*authority) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: clock.Now().Add(-time.Minute), NextUpdate: clock.Now().Add(time.Hour)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Certificate.SerialNumber, RevocationTime: clock.Now()})
	}
	if change != nil {
		change(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, of.Certificate, by.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func scoped(t *testing.T, critical bool, s any) listChange {
	t.Helper()
	der, err := asn1.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: critical, Value: der})
	}
}

const (
	passes  = "passes"
	refused = "refused"
	notTold = "not known"
)

func result(err error) string {
	switch {
	case err == nil:
		return passes
	case errors.Is(err, core.ErrInvalid):
		return refused
	}
	return notTold
}

func TestRevokedCertificateIsRefusedByTheListOfItsAuthority(t *testing.T) {
	point := func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://crl.test/7"} }
	c := newChain(t, point)
	other := c.root.Authority("between", nil) // of the same name
	noSigner := c.root.Authority("between", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	at := func(this, next time.Duration) listChange {
		return func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = c.clock.Now().Add(this), c.clock.Now().Add(next)
		}
	}
	critical := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	}
	entry := func(of *authority, reason int, extensions ...pkix.Extension) listChange {
		return func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: of.Certificate.SerialNumber, RevocationTime: c.clock.Now(), ReasonCode: reason, ExtraExtensions: extensions}}
		}
	}
	type points struct {
		Point struct {
			FullName []asn1.RawValue `asn1:"optional,tag:0"`
		} `asn1:"optional,tag:0"`
	}
	pointOf := func(uri string) listChange {
		var p points
		p.Point.FullName = []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}}
		return scoped(t, true, p)
	}
	type flags struct {
		Users       bool           `asn1:"optional,tag:1"`
		Authorities bool           `asn1:"optional,tag:2"`
		Reasons     asn1.BitString `asn1:"optional,tag:3"`
		Indirect    bool           `asn1:"optional,tag:4"`
		Attributes  bool           `asn1:"optional,tag:5"`
	}
	ofRoot := list(t, c.clock, c.root, c.root, nil)
	whole := func(change listChange, revoked ...*authority) *List {
		return list(t, c.clock, c.between, c.between, change, revoked...)
	}
	for name, k := range map[string]struct {
		lists []*List
		late  time.Duration
		want  string
	}{
		"not in any list":                       {[]*List{whole(nil), ofRoot}, 0, passes},
		"in the list":                           {[]*List{whole(nil, c.client), ofRoot}, 0, refused},
		"its authority is in the list":          {[]*List{whole(nil), list(t, c.clock, c.root, c.root, nil, c.between)}, 0, refused},
		"in one of two lists":                   {[]*List{whole(nil), whole(nil, c.client), ofRoot}, 0, refused},
		"no list of the authority":              {[]*List{ofRoot}, 0, notTold},
		"no list of the root":                   {[]*List{whole(nil)}, 0, notTold},
		"no list":                               {nil, 0, notTold},
		"out of date":                           {[]*List{whole(at(-time.Hour, -time.Second)), ofRoot}, 0, notTold},
		"out of date, and that is allowed":      {[]*List{whole(at(-time.Hour, -time.Second)), ofRoot}, time.Minute, passes},
		"out of date, and for too long":         {[]*List{whole(at(-time.Hour, -time.Second)), ofRoot}, time.Second, notTold},
		"in a list that is out of date":         {[]*List{whole(at(-time.Hour, -time.Second), c.client), whole(nil), ofRoot}, 0, refused},
		"of the future":                         {[]*List{whole(at(time.Hour, 2*time.Hour)), ofRoot}, 0, notTold},
		"of another authority of the same name": {[]*List{list(t, c.clock, other, other, nil), ofRoot}, 0, notTold},
		"in one of another authority":           {[]*List{list(t, c.clock, other, other, nil, c.client), whole(nil), ofRoot}, 0, passes},
		"signed by the client":                  {[]*List{forged(t, c), ofRoot}, 0, notTold},
		"signed by who signs no lists":          {[]*List{whole(nil), list(t, c.clock, c.root, c.root, nil)}, 0, passes},
		"of changes alone":                      {[]*List{whole(critical), ofRoot}, 0, notTold},
		"in one of changes alone":               {[]*List{whole(critical, c.client), whole(nil), ofRoot}, 0, refused},
		"removed from a list":                   {[]*List{whole(entry(c.client, 8)), ofRoot}, 0, passes},
		"on hold":                               {[]*List{whole(entry(c.client, 6)), ofRoot}, 0, refused},
		"about users alone":                     {[]*List{whole(scoped(t, true, flags{Users: true})), ofRoot}, 0, passes},
		"about authorities alone":               {[]*List{whole(scoped(t, true, flags{Authorities: true})), ofRoot}, 0, notTold},
		"about users, asked about an authority": {[]*List{whole(nil), list(t, c.clock, c.root, c.root, scoped(t, true, flags{Users: true}))}, 0, notTold},
		"of some reasons":                       {[]*List{whole(scoped(t, true, flags{Reasons: asn1.BitString{Bytes: []byte{0x40}, BitLength: 2}})), ofRoot}, 0, notTold},
		"of attributes":                         {[]*List{whole(scoped(t, true, flags{Attributes: true})), ofRoot}, 0, notTold},
		"for other authorities, too":            {[]*List{whole(scoped(t, true, flags{Indirect: true}), c.client), ofRoot}, 0, notTold},
		"the certificate's part":                {[]*List{whole(pointOf("http://crl.test/7")), ofRoot}, 0, passes},
		"another part":                          {[]*List{whole(pointOf("http://crl.test/8")), ofRoot}, 0, notTold},
	} {
		until, err := New(Options{Lists: Lists{k.lists, k.late}, Now: c.clock.Now}).Check(t.Context(), c.certificates(), nil)
		if got := result(err); got != k.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if err == nil && !until.After(c.clock.Now()) {
			t.Errorf("%s: counts until %v", name, until)
		}
	}
	alone := []*x509.Certificate{noSigner.Client("robot", nil).Certificate, noSigner.Certificate}
	signed := &List{RevocationList: list(t, c.clock, c.between, c.between, nil).RevocationList, signed: map[[32]byte]bool{}}
	if _, err := New(Options{Lists: Lists{All: []*List{signed}}, Now: c.clock.Now}).Check(t.Context(), alone, nil); result(err) != notTold {
		t.Errorf("a list of an authority that signs none: %v", err)
	}
}

// forged is a list in the name of an authority that its client has signed.
func forged(t *testing.T, c chain) *List {
	t.Helper()
	twin := *c.between.Certificate
	twin.PublicKey = c.client.Certificate.PublicKey
	return list(t, c.clock, &authority{Certificate: &twin}, c.client, nil)
}

func TestListEndsTheCacheOfACertificate(t *testing.T) {
	c := newChain(t, nil)
	lists := []*List{list(t, c.clock, c.between, c.between, nil), list(t, c.clock, c.root, c.root, func(l *x509.RevocationList) { l.NextUpdate = c.clock.Now().Add(time.Minute) })}
	until, err := New(Options{Lists: Lists{All: lists}, Now: c.clock.Now}).Check(t.Context(), c.certificates(), nil)
	if want := c.clock.Now().Add(time.Minute); err != nil || !until.Equal(want) {
		t.Errorf("until %v, want %v: %v", until, want, err)
	}
	c.clock.Advance(2 * time.Minute)
	if got := (Lists{All: lists}).Stale(c.clock.Now()); len(got) != 1 {
		t.Errorf("out of date: %q", got)
	}
}

func TestFileThatIsNoListOfRevokedCertificatesIsAnError(t *testing.T) {
	c := newChain(t, nil)
	der := listDER(t, c.clock, c.root, c.root, nil)
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, k := range map[string]struct {
		text []byte
		want int
	}{
		"DER": {der, 1}, "PEM": {text("X509 CRL", der), 1}, "two": {bytes.Repeat(text("X509 CRL", der), 2), 2}, "text around": {append([]byte("Issuer: root\n"), text("X509 CRL", der)...), 1},
		"empty": {nil, 0}, "cut": {der[:len(der)-1], 0}, "more behind": {append(bytes.Clone(der), 0), 0}, "a certificate": {text("CERTIFICATE", c.root.Certificate.Raw), 0}, "PEM, cut": {text("X509 CRL", der)[:80], 0},
	} {
		if lists, err := ParseLists("list", k.text); (err == nil) != (k.want > 0) || k.want > 0 && len(lists) != k.want {
			t.Errorf("%s: %d, %v", name, len(lists), err)
		}
	}
}

// responder answers as it is told, over HTTP.
type responder struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[func(http.ResponseWriter, *ocsp.Request)]
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.asked.Add(1)
		body, _ := io.ReadAll(request.Body)
		parsed, err := ocsp.ParseRequest(body)
		if err != nil || request.Method != http.MethodPost || request.Header.Get("Content-Type") != "application/ocsp-request" {
			http.Error(w, "no OCSP request", http.StatusBadRequest)
			return
		}
		(*r.answer.Load())(w, parsed)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *responder) answers(response []byte) {
	answer := func(w http.ResponseWriter, _ *ocsp.Request) { _, _ = w.Write(response) }
	r.answer.Store(&answer)
}

func (c chain) response(t *testing.T, issuer, signer *authority, about *authority, change func(*ocsp.Response)) []byte {
	t.Helper()
	template := ocsp.Response{Status: ocsp.Good, SerialNumber: about.Certificate.SerialNumber, ThisUpdate: c.clock.Now().Add(-time.Minute), NextUpdate: c.clock.Now().Add(time.Hour)}
	if change != nil {
		change(&template)
	}
	der, err := ocsp.CreateResponse(issuer.Certificate, signer.Certificate, template, signer.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificateIsRefusedUnlessItsResponderKnowsItAsGood(t *testing.T) {
	c := newChain(t, nil)
	charge := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	charged := c.between.Client("responder", charge(x509.ExtKeyUsageOCSPSigning))
	uncharged := c.between.Client("robot-2", nil)
	ended := c.between.Client("responder", func(k *x509.Certificate) {
		k.ExtKeyUsage, k.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, c.clock.Now().Add(-time.Second)
	})
	ofRoot := c.root.Client("responder", charge(x509.ExtKeyUsageOCSPSigning))
	twin := c.root.Authority("between", nil)
	with := func(change func(*ocsp.Response)) []byte { return c.response(t, c.between, c.between, c.client, change) }
	for name, k := range map[string]struct {
		response []byte
		want     string
	}{
		"good":                              {with(nil), passes},
		"good, of who is charged with that": {c.response(t, c.between, charged, c.client, func(r *ocsp.Response) { r.Certificate = charged.Certificate }), passes},
		"good, with SHA-256":                {with(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA256 }), passes},
		"good, without an end":              {with(func(r *ocsp.Response) { r.NextUpdate, r.ThisUpdate = time.Time{}, c.clock.Now() }), passes},
		"old, without an end":               {with(func(r *ocsp.Response) { r.NextUpdate, r.ThisUpdate = time.Time{}, c.clock.Now().Add(-time.Hour) }), notTold},
		"revoked":                           {with(func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, c.clock.Now() }), refused},
		"unknown":                           {with(func(r *ocsp.Response) { r.Status = ocsp.Unknown }), refused},
		"out of date":                       {with(func(r *ocsp.Response) { r.NextUpdate = c.clock.Now().Add(-time.Second) }), notTold},
		"of the future":                     {with(func(r *ocsp.Response) { r.ThisUpdate = c.clock.Now().Add(time.Hour) }), notTold},
		"about another certificate":         {c.response(t, c.between, c.between, charged, nil), notTold},
		"about one of another authority":    {c.response(t, c.root, c.between, c.client, nil), notTold},
		"of a client of the same authority": {c.response(t, c.between, uncharged, c.client, func(r *ocsp.Response) { r.Certificate = uncharged.Certificate }), notTold},
		"of one whose charge has ended":     {c.response(t, c.between, ended, c.client, func(r *ocsp.Response) { r.Certificate = ended.Certificate }), notTold},
		"of one whom the root has charged":  {c.response(t, c.between, ofRoot, c.client, func(r *ocsp.Response) { r.Certificate = ofRoot.Certificate }), notTold},
		"of another authority":              {c.response(t, twin, twin, c.client, nil), notTold},
		"an error":                          {ocsp.TryLaterErrorResponse, notTold},
		"unauthorized":                      {ocsp.UnauthorizedErrorResponse, notTold},
		"no response":                       {[]byte("<html>"), notTold},
		"nothing":                           {nil, notTold},
		"very long":                         {append(with(nil), make([]byte, maxResponse)...), notTold},
		"more behind":                       {append(with(nil), 0), notTold},
	} {
		r := newResponder(t)
		r.answers(k.response)
		s := New(Options{Responders: NewResponders(ResponderOptions{URL: r.URL, Timeout: 5 * time.Second}), Now: c.clock.Now})
		direct := []*x509.Certificate{c.client.Certificate, c.between.Certificate}
		_, err := s.Check(t.Context(), direct, nil)
		if got := result(err); got != k.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if r.asked.Load() != 1 {
			t.Errorf("%s: asked %d times", name, r.asked.Load())
		}
		lenient := New(Options{Responders: NewResponders(ResponderOptions{URL: r.URL, Timeout: 5 * time.Second}), Lenient: true, Now: c.clock.Now})
		if _, err := lenient.Check(t.Context(), direct, nil); (err == nil) != (k.want != refused) {
			t.Errorf("%s, where nobody need know: %v", name, err)
		}
		// The same, stapled to the certificate, and a responder that is away.
		stapled := New(Options{Responders: NewResponders(ResponderOptions{URL: "http://127.0.0.1:1", Timeout: 5 * time.Second}), Now: c.clock.Now})
		if _, err := stapled.Check(t.Context(), direct, k.response); result(err) != k.want {
			t.Errorf("%s, stapled: %v", name, err)
		}
	}
}

func TestResponderIsAskedOnceUntilItsAnswerEnds(t *testing.T) {
	r := newResponder(t)
	c := newChain(t, func(c *x509.Certificate) { c.OCSPServer = []string{"ldap://x", r.URL} })
	r.answers(c.response(t, c.between, c.between, c.client, nil))
	s := New(Options{Responders: NewResponders(ResponderOptions{Timeout: 5 * time.Second}), Now: c.clock.Now})
	direct := []*x509.Certificate{c.client.Certificate, c.between.Certificate}
	check := func(want int32) {
		t.Helper()
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if _, err := s.Check(t.Context(), direct, nil); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if r.asked.Load() != want {
			t.Errorf("asked %d times, want %d", r.asked.Load(), want)
		}
	}
	check(1)
	check(1)
	c.clock.Advance(61 * time.Minute)
	r.answers(c.response(t, c.between, c.between, c.client, nil))
	check(2)
}

// A responder that is down, hangs or leads elsewhere costs one request its timeout, and the
// others of the next seconds nothing.
func TestResponderThatCannotBeReachedDenies(t *testing.T) {
	c := newChain(t, nil)
	direct := []*x509.Certificate{c.client.Certificate, c.between.Certificate}
	elsewhere := newResponder(t)
	elsewhere.answers(c.response(t, c.between, c.between, c.client, nil))
	release := make(chan struct{})
	defer close(release) // before the servers are closed
	for name, handler := range map[string]func(http.ResponseWriter, *ocsp.Request){
		"hangs": func(http.ResponseWriter, *ocsp.Request) { <-release },
		"fails": func(w http.ResponseWriter, _ *ocsp.Request) { w.WriteHeader(500) },
		"leads elsewhere": func(w http.ResponseWriter, _ *ocsp.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(307)
		},
	} {
		r := newResponder(t)
		r.answer.Store(&handler)
		s := New(Options{Responders: NewResponders(ResponderOptions{URL: r.URL, Timeout: 100 * time.Millisecond}), Now: c.clock.Now})
		for range 3 {
			if _, err := s.Check(t.Context(), direct, nil); result(err) != notTold {
				t.Errorf("%s: %v", name, err)
			}
		}
		if r.asked.Load() != 1 {
			t.Errorf("%s: asked %d times", name, r.asked.Load())
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("a redirect was followed")
	}
	s := New(Options{Responders: NewResponders(ResponderOptions{Timeout: time.Second}), Now: c.clock.Now})
	if _, err := s.Check(t.Context(), direct, nil); result(err) != notTold || !strings.Contains(err.Error(), "names no OCSP responder") {
		t.Error(err)
	}
}

func TestListAndResponderTogether(t *testing.T) {
	c := newChain(t, nil)
	direct := []*x509.Certificate{c.client.Certificate, c.between.Certificate}
	goodList, badList, oldList := list(t, c.clock, c.between, c.between, nil), list(t, c.clock, c.between, c.between, nil, c.client), list(t, c.clock, c.between, c.between, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = c.clock.Now().Add(-time.Hour), c.clock.Now().Add(-time.Minute)
	})
	yes := c.response(t, c.between, c.between, c.client, nil)
	no := c.response(t, c.between, c.between, c.client, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, c.clock.Now() })
	for name, k := range map[string]struct {
		list     *List
		response []byte
		want     string
	}{
		"both say good": {goodList, yes, passes}, "the list says revoked": {badList, yes, refused}, "the responder says revoked": {goodList, no, refused},
		"the responder cannot tell": {goodList, []byte("x"), passes}, "the list is out of date": {oldList, yes, passes}, "neither can tell": {oldList, []byte("x"), notTold},
	} {
		r := newResponder(t)
		r.answers(k.response)
		s := New(Options{Lists: Lists{All: []*List{k.list}}, Responders: NewResponders(ResponderOptions{URL: r.URL, Timeout: 5 * time.Second}), Now: c.clock.Now})
		if _, err := s.Check(t.Context(), direct, nil); result(err) != k.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthorityOfAChainIsAskedForIfThatIsConfigured(t *testing.T) {
	c := newChain(t, nil)
	r := newResponder(t)
	answer := func(w http.ResponseWriter, request *ocsp.Request) {
		about, issuer, status := c.client, c.between, ocsp.Good
		if request.SerialNumber.Cmp(c.between.Certificate.SerialNumber) == 0 {
			about, issuer, status = c.between, c.root, ocsp.Revoked
		}
		_, _ = w.Write(c.response(t, issuer, issuer, about, func(r *ocsp.Response) { r.Status, r.RevokedAt = status, c.clock.Now() }))
	}
	r.answer.Store(&answer)
	for all, want := range map[bool]string{false: notTold, true: refused} {
		s := New(Options{Responders: NewResponders(ResponderOptions{URL: r.URL, Timeout: 5 * time.Second}), AllAsked: all, Now: c.clock.Now})
		if _, err := s.Check(t.Context(), c.certificates(), nil); result(err) != want {
			t.Errorf("%v: %v", all, err)
		}
	}
}

func TestThatNobodyCanTellIsLoggedOnceAMinute(t *testing.T) {
	c := newChain(t, nil)
	log := &coretest.Log{}
	s := New(Options{Lenient: true, Log: slog.New(slog.NewTextHandler(log, nil)), Now: c.clock.Now})
	for range 3 {
		until, err := s.Check(t.Context(), c.certificates(), nil)
		if err != nil || until.Sub(c.clock.Now()) != lenientFor {
			t.Fatal(until, err)
		}
	}
	if n := strings.Count(log.String(), "nobody can tell"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// Answers that are remembered are bounded, whatever certificates come.
func TestRememberedAnswersAreBounded(t *testing.T) {
	clock := coretest.NewClock()
	r := NewResponders(ResponderOptions{})
	for i := range maxKnown + 10 {
		r.keep(fmt.Sprint(i), answer{status: good, until: clock.Now().Add(time.Hour)}, clock.Now())
	}
	if len(r.known) > maxKnown {
		t.Error(len(r.known))
	}
	clock.Advance(2 * time.Hour)
	r.keep("next", answer{status: good, until: clock.Now().Add(time.Hour)}, clock.Now())
	if len(r.known) != 1 {
		t.Errorf("%d after all have ended", len(r.known))
	}
}

func FuzzOCSPResponse(f *testing.F) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(f, clock, "root", nil)
	client := root.Client("robot", nil)
	template := ocsp.Response{Status: ocsp.Good, SerialNumber: client.Certificate.SerialNumber, ThisUpdate: clock.Now(), NextUpdate: clock.Now().Add(time.Hour)}
	der, err := ocsp.CreateResponse(root.Certificate, root.Certificate, template, root.Key)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := ocsp.ParseResponse(der, root.Certificate)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(ocsp.TryLaterErrorResponse)
	f.Add([]byte{})
	if read(der, client.Certificate, root.Certificate, clock.Now()).status != good {
		f.Fatal("a good response is none")
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if read(text, client.Certificate, root.Certificate, clock.Now()).status == unknown {
			return
		}
		// What is not signed, such as further certificates, may differ.
		parsed, err := ocsp.ParseResponse(text, root.Certificate)
		if err != nil || !bytes.Equal(parsed.TBSResponseData, signed.TBSResponseData) {
			t.Errorf("a response that nobody has signed counts: %v", err)
		}
	})
}
