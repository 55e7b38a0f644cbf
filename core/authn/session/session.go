// Package session verifies browser and native app sessions with Ory Kratos:
// GET /sessions/whoami with the one credential of the request.
//
// Exactly one credential is sent. Kratos prefers X-Session-Token over the
// cookie over a bearer token, and answers 500 to a good one beside a broken
// one, so passing several on would leave the choice of who the caller is to
// an order that is not configured.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/httpsyntax"
)

// Options of an Authenticator.
type Options struct {
	// URL is the base of the public Kratos API, such as http://kratos:4433.
	URL string
	// Client calls Kratos.
	Client *idp.Client
	// CookieName is the name under which Kratos knows the session cookie.
	// Default ory_kratos_session.
	CookieName string
	// RequiredAAL is the least assurance level of a session: "aal1" or
	// "aal2". Empty for what Kratos itself demands
	// (session.whoami.required_aal).
	RequiredAAL string
	// Claims say where roles and permissions are inside the session document.
	// Default: identity.metadata_public.roles and .permissions, which only
	// the admin API can write. Traits are the user's own to change. A session
	// has no scopes unless a path is given.
	Claims claims.Paths
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.CookieName == "" {
		o.CookieName = "ory_kratos_session"
	}
	if o.Claims.Roles == nil {
		o.Claims.RolesGuessed = true
		o.Claims.Roles = claims.MustPaths("identity.metadata_public.roles")
	}
	if o.Claims.Permissions == nil {
		o.Claims.PermissionsGuessed = true
		o.Claims.Permissions = claims.MustPaths("identity.metadata_public.permissions")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Authenticator asks Kratos. It is a core.TokenAuthenticator.
type Authenticator struct {
	options Options
	whoami  string
}

var _ core.TokenAuthenticator = (*Authenticator)(nil)

// New makes an authenticator. Nothing is called yet.
func New(o Options) (*Authenticator, error) {
	o = o.withDefaults()
	base, err := idp.ParseURL(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the Kratos URL %w", err)
	case base.RawQuery != "":
		return nil, errors.New("the Kratos URL has a query")
	case o.Client == nil:
		return nil, errors.New("no HTTP client")
	case !httpsyntax.IsToken(o.CookieName):
		return nil, fmt.Errorf("%q is not a cookie name (RFC 6265 section 4.1.1)", o.CookieName)
	}
	if o.RequiredAAL != "" && levels[o.RequiredAAL] == 0 {
		return nil, fmt.Errorf("assurance level %q is not aal1 or aal2", o.RequiredAAL)
	}
	return &Authenticator{options: o, whoami: strings.TrimSuffix(base.String(), "/") + whoamiPath}, nil
}

const whoamiPath = "/sessions/whoami"

// tokenPrefix starts every session token of Ory Kratos.
const tokenPrefix = "ory_st_"

// Judges accepts session credentials: whatever sat in a place for them and, where
// asked for, bearer tokens with the prefix of session tokens.
func Judges(bearer bool) func(core.Credential) (parsed any, ok bool) {
	return func(c core.Credential) (any, bool) {
		switch c.Place {
		case core.SessionCookie, core.SessionToken:
			return nil, true
		case core.BearerToken, core.TokenCookie, core.TokenHeader, core.TokenParameter:
			return nil, bearer && strings.HasPrefix(c.Value, tokenPrefix)
		}
		return nil, false
	}
}

// levels orders the assurance levels; an unknown one is below all.
var levels = map[string]int{"aal1": 1, "aal2": 2}

// maxSession is well above a session with its devices and a large identity.
const maxSession = 256 << 10

// AuthenticateToken asks Kratos whose session it is.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	req, err := a.request(idp.WithProbe(ctx, a.probe), c)
	if err != nil {
		return nil, err
	}
	response, err := a.options.Client.Do(req, maxSession)
	if err != nil {
		return nil, err
	}
	if err := a.refusal(response); err != nil {
		return nil, err
	}
	return a.principal(response)
}

// probe asks about a session that nobody has.
func (a *Authenticator) probe(ctx context.Context) (*http.Request, error) {
	return a.request(ctx, core.Credential{Place: core.SessionToken, Value: "ory_st_" + rand.Text()})
}

func (a *Authenticator) request(ctx context.Context, c core.Credential) (*http.Request, error) {
	if len(c.Value) > core.MaxCredential || !httpsyntax.IsCredential(c.Value) {
		return nil, fmt.Errorf("%w: not a session credential", core.ErrInvalid)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.whoami, nil)
	if err != nil {
		return nil, errors.New("the Kratos URL cannot be asked")
	}
	req.Header.Set("Accept", "application/json")
	if c.Place == core.SessionCookie {
		req.Header.Set("Cookie", a.options.CookieName+"="+c.Value)
	} else {
		req.Header.Set("X-Session-Token", c.Value)
	}
	return req, nil
}

// refusal sorts every response but 200. Kratos says 401 to each kind of bad
// credential alike; a 403 that is not its own may come from anything in
// between and says nothing about the session.
func (a *Authenticator) refusal(response *idp.Response) error {
	switch response.Status {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: Kratos knows no such session", core.ErrInvalid)
	case http.StatusForbidden:
		if id, ok := errorID.Lookup(decoded(response.Body)); ok && isJSON(response) && id == "session_aal2_required" {
			return &core.StepUp{AAL: "aal2"}
		}
	}
	return fmt.Errorf("Kratos: %w%s", response.Unexpected(), publicHint(response.Status))
}

// publicHint is for what Kratos' admin API and other servers say to whoami.
func publicHint(status int) string {
	if status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
		return "; kratos_url has to be the URL of Kratos' public API, not of its admin API or an application"
	}
	return ""
}

var errorID = claims.MustPaths("error.id")[0]

func decoded(body []byte) map[string]any {
	document, _ := claims.Decode(body)
	return document
}

func (a *Authenticator) principal(response *idp.Response) (*core.Principal, error) {
	if !isJSON(response) {
		return nil, fmt.Errorf("Kratos: the response of %s has Content-Type %.60q, not application/json%s", response.From, response.Header.Get("Content-Type"), publicHint(http.StatusNotFound))
	}
	document, err := claims.Decode(response.Body)
	if err != nil {
		return nil, fmt.Errorf("Kratos: the session of %s %w", response.From, err)
	}
	p, err := a.Principal(document)
	if err != nil {
		return nil, err
	}
	p.FreshUntil = a.freshUntil(response)
	return p, nil
}

func isJSON(response *idp.Response) bool {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// Principal checks a session document of Kratos and reads whose session it is.
func (a *Authenticator) Principal(document map[string]any) (*core.Principal, error) {
	p, err := a.read(document)
	if err != nil {
		return nil, fmt.Errorf("%w: session %w", core.ErrInvalid, err)
	}
	if required := a.options.RequiredAAL; levels[p.AAL] < levels[required] {
		return nil, &core.StepUp{AAL: required}
	}
	return p, nil
}

var (
	identityID    = claims.MustPaths("identity.id")[0]
	identityState = claims.MustPaths("identity.state")[0]
)

func (a *Authenticator) read(session claims.Set) (*core.Principal, error) {
	if session["active"] != true {
		return nil, errors.New("is not active")
	}
	if state, _ := identityState.Lookup(session); state != "active" {
		return nil, errors.New("belongs to an identity that is not active")
	}
	expiry, err := date(session, "expires_at")
	if err != nil {
		return nil, err
	}
	if !expiry.After(a.options.Now()) {
		return nil, fmt.Errorf("expired at %s", expiry.UTC().Format(time.RFC3339))
	}
	id, _ := identityID.Lookup(session)
	subject, _ := id.(string)
	if subject == "" {
		return nil, errors.New("names no identity")
	}
	p := &core.Principal{Kind: core.KindSession, Subject: subject, Expiry: expiry}
	// Absent or misshapen, both stay empty, which no check passes.
	p.AAL, _ = session.Text("authenticator_assurance_level")
	p.AuthenticatedAt, _ = date(session, "authenticated_at")
	// Who revokes the session names it by these.
	p.SessionID, _ = session.Text("id")
	p.IssuedAt, _ = date(session, "issued_at")
	if err := a.options.Claims.Grants(session, p); err != nil {
		return nil, err
	}
	p.Claims = withoutSecrets(session)
	return p, nil
}

func date(session claims.Set, name string) (time.Time, error) {
	text, err := session.Text(name)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("has no %s", name)
	}
	return t, nil
}

// withoutSecrets drops what could stand for the session or for the identity
// elsewhere, because claims travel on into headers and logs.
func withoutSecrets(session claims.Set) map[string]any {
	delete(session, "token")
	delete(session, "tokenized")
	if identity, ok := session["identity"].(map[string]any); ok {
		delete(identity, "credentials")
	}
	return session
}

// freshUntil reads Ory-Session-Cache-For, the seconds for which Kratos allows
// its response to be kept. A value that cannot be read allows none.
func (a *Authenticator) freshUntil(response *idp.Response) time.Time {
	text := response.Header.Get("Ory-Session-Cache-For")
	if text == "" {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(text, 10, 32)
	if err != nil || seconds < 0 {
		seconds = 0
	}
	return a.options.Now().Add(time.Duration(seconds) * time.Second)
}
