// Package site is the login, registration, settings, consent, logout and error
// site that stands in front of Kratos and Hydra in the demo.
//
// It shows Kratos' self-service flows as Kratos describes them, responds to Hydra's
// login, consent and logout challenges, and needs no JavaScript. A browser that
// arrives at /login?return_to=URL comes back to URL once it is signed in, if
// Kratos allows that URL. The site and everything it leads to must share one
// host name, because the cookies belong to the host and not to the port.
//
// A person's roles and tenant come from the public metadata of the identity,
// which only the operator writes, and never from its traits, which the person
// edits.
package site

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/dev/ory"
)

// Config is what the site stands in front of. URL, Kratos and Hydra are
// required.
type Config struct {
	// URL is the site's own base URL, without a trailing slash.
	URL    string
	Kratos ory.KratosAPI
	Hydra  ory.HydraAPI
	// ReturnURLs are URLs beyond the site, Kratos and Hydra to whose origins a
	// form may lead: the gateways. Kratos needs to know them too.
	ReturnURLs []string
	// Links are offered on the first page.
	Links []Link
	// Client is the OAuth 2.0 client whose part the site plays at /client. Its
	// redirect URI is URL + "/client/callback". Without an ID there is none.
	Client ory.Client
	// APIs are what that client calls with its token, to show the outcome.
	APIs []Link
	// Log gets the reasons why a page could not be shown. Nil: the default logger.
	Log *slog.Logger
}

// Link is a page or an API by its name.
type Link struct {
	Name string
	URL  string
}

// Site serves the pages.
type Site struct {
	c     Config
	pages pages
	mux   http.Handler
}

var _ http.Handler = (*Site)(nil)

// New prepares the site.
func New(c Config) (*Site, error) {
	if c.URL == "" || c.Kratos.PublicURL == "" || c.Hydra.PublicURL == "" {
		return nil, errors.New("the site needs its own URL, Kratos and Hydra")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	pages, err := loadPages()
	if err != nil {
		return nil, err
	}
	s := &Site{c: c, pages: pages}
	s.mux = http.NewCrossOriginProtection().Handler(s.routes())
	return s, nil
}

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", staticFiles())
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /login", s.flow(loginFlow))
	mux.HandleFunc("GET /registration", s.flow(registrationFlow))
	mux.HandleFunc("GET /settings", s.flow(settingsFlow))
	mux.HandleFunc("GET /logout", s.logoutPage)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /error", s.errorPage)
	mux.HandleFunc("GET /oauth2/login", s.oauth2Login)
	mux.HandleFunc("GET /oauth2/consent", s.consentPage)
	mux.HandleFunc("POST /oauth2/consent", s.consent)
	mux.HandleFunc("GET /oauth2/logout", s.oauth2LogoutPage)
	mux.HandleFunc("POST /oauth2/logout", s.oauth2Logout)
	if s.c.Client.ID != "" {
		mux.HandleFunc("GET /client", s.clientPage)
		mux.HandleFunc("POST /client", s.clientStart)
		mux.HandleFunc("GET /client/callback", s.clientCallback)
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.showProblem(w, r, http.StatusNotFound, "There is no such page", "The address is wrong or out of date.")
	})
	return mux
}

const maxForm = 64 << 10 // bytes of a form that a browser may send

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	s.allowForms(w)
	s.mux.ServeHTTP(w, r)
}

// allowForms sets the content security policy. Browsers apply form-action to
// the redirects after a form as well, so it names every origin on the way.
func (s *Site) allowForms(w http.ResponseWriter, more ...string) {
	targets := []string{"'self'"}
	for _, u := range slices.Concat([]string{s.c.Kratos.PublicURL, s.c.Hydra.PublicURL}, s.c.ReturnURLs, more) {
		if o := origin(u); o != "" && !slices.Contains(targets, o) {
			targets = append(targets, o)
		}
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; "+
		"base-uri 'none'; frame-ancestors 'none'; form-action "+strings.Join(targets, " "))
}

// origin is scheme and host of an http URL. A registered redirect URI is
// text of a client: what could end the directive is no origin.
func origin(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"*") {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// session is who uses the browser. Without one it responds to the request itself,
// by sending the browser to sign in and back here, and returns false.
func (s *Site) session(w http.ResponseWriter, r *http.Request) (ory.Session, bool) {
	session, err := s.whoami(r)
	if err == nil {
		return session, true
	}
	response, refused := errors.AsType[*ory.ResponseError](err)
	switch {
	case refused && response.Status == http.StatusUnauthorized:
		s.toFlow(w, r, loginFlow, url.Values{"return_to": {s.c.URL + r.URL.RequestURI()}})
	case refused && response.Status == http.StatusForbidden: // one factor where two are needed
		s.toFlow(w, r, loginFlow, url.Values{"return_to": {s.c.URL + r.URL.RequestURI()}, "aal": {"aal2"}})
	default:
		s.showFailure(w, r, err)
	}
	return ory.Session{}, false
}

var errNoSession = &ory.ResponseError{Method: http.MethodGet, Path: "/sessions/whoami", Status: http.StatusUnauthorized}

func (s *Site) whoami(r *http.Request) (ory.Session, error) {
	cookie, err := r.Cookie(ory.SessionCookie)
	if err != nil {
		return ory.Session{}, errNoSession
	}
	return s.c.Kratos.WhoamiCookie(r.Context(), cookie.Value)
}

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	session, err := s.whoami(r)
	response, refused := errors.AsType[*ory.ResponseError](err)
	if err != nil && !refused {
		s.showFailure(w, r, err)
		return
	}
	if refused && response.Status == http.StatusForbidden {
		s.toFlow(w, r, loginFlow, url.Values{"aal": {"aal2"}})
		return
	}
	s.show(w, r, http.StatusOK, "home", homeView{
		Person: session.Person, SignedIn: err == nil, Links: s.c.Links, HasClient: s.c.Client.ID != "",
	})
}

type homeView struct {
	Person    ory.Person
	SignedIn  bool
	Links     []Link
	HasClient bool
}

func (s *Site) logoutPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "logout", logoutView{Action: "/logout"})
}

type logoutView struct {
	Action    string
	Challenge string
}

func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	to, err := s.c.Kratos.LogoutURL(r.Context(), r.Header.Get("Cookie"))
	if response, refused := errors.AsType[*ory.ResponseError](err); refused && response.Status == http.StatusUnauthorized {
		to, err = s.c.URL+"/", nil // nobody is signed in
	}
	if err != nil {
		s.showFailure(w, r, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
