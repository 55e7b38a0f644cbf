package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/extract"
	"gatehouse/core/httpsyntax"
)

// InCookie is a Store whose sessions are in the cookies themselves.
type InCookie struct {
	in     *browser
	life   Life
	values Values
}

// Values writes sessions as values of a cookie.
type Values interface {
	// Write returns the value for a session, a copy that it may change.
	Write(ctx context.Context, s *Session) (string, error)
	// Read wraps core.ErrInvalid in its error for what is no such value.
	Read(ctx context.Context, c core.Credential) (*Session, error)
	// Advice says what to leave out of a session that is too long.
	Advice(s *Session) string
}

// NewSealed makes a store of cookies that are encrypted and bound to their name. The
// first secret seals, all of them open.
func NewSealed(cookie Cookie, life Life, secrets ...string) (*InCookie, error) {
	c, err := newCodec("gatehouse session cookie", secrets)
	if err != nil {
		return nil, err
	}
	return NewInCookie(cookie, life, sealed{c, cookie.Name})
}

// NewInCookie makes a store of cookies with values of another form.
func NewInCookie(cookie Cookie, life Life, values Values) (*InCookie, error) {
	in, err := newBrowser(cookie)
	return &InCookie{in, life.withDefaults(), values}, err
}

// Save puts a session into cookies.
func (s *InCookie) Save(ctx context.Context, session *Session, r *core.Request) (lines []core.Header, err error) {
	session, err = s.life.begun(session)
	if err != nil {
		return nil, err
	}
	value, err := s.values.Write(ctx, session)
	if err != nil {
		return nil, err
	}
	if limit := s.in.cookie.MaxSize; len(value) > limit {
		err = &TooLargeError{Bytes: len(value), Limit: limit}
	} else {
		lines, err = s.in.cookie.set(value, s.life.end(session), s.life.Now(), r)
	}
	var large *TooLargeError
	if errors.As(err, &large) {
		large.Advice = s.values.Advice(session)
	}
	return lines, err
}

// Load opens what cookies hold.
func (s *InCookie) Load(ctx context.Context, c core.Credential) (*Session, error) {
	session, err := s.values.Read(ctx, c)
	if err == nil {
		err = s.life.usable(session)
	}
	if err != nil {
		return nil, err
	}
	return session, nil
}

// Current opens what the browser of a request holds.
func (s *InCookie) Current(ctx context.Context, r *core.Request) (*Session, error) {
	return s.in.current(ctx, r, s.Load)
}

// Delete deletes the cookies. A copy that somebody has made holds on, until the
// session is revoked by its ID.
func (s *InCookie) Delete(_ context.Context, _ *Session, r *core.Request) ([]core.Header, error) {
	return s.in.cookie.expire(r, nil), nil
}

// browser reads the cookies of a request.
type browser struct {
	cookie    Cookie
	extractor *extract.Extractor
}

func newBrowser(c Cookie) (*browser, error) {
	if c.SameSite == "" {
		c.SameSite = "Lax"
	}
	if c.MaxSize == 0 {
		c.MaxSize = DefaultMaxSize
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	e, err := extract.New(c.Place())
	return &browser{c, e}, err
}

// sealed are values that are encrypted and bound to the name of their cookie.
type sealed struct {
	*codec
	cookie string
}

func (v sealed) Write(_ context.Context, s *Session) (string, error) {
	value, err := v.encode([]byte(v.cookie), s)
	return text.EncodeToString(value), err
}

func (v sealed) Read(_ context.Context, c core.Credential) (*Session, error) {
	value, err := read(c)
	if err != nil {
		return nil, err
	}
	if s, err := v.decode([]byte(v.cookie), value); err == nil {
		return s, nil
	}
	return nil, errNone
}

func (sealed) Advice(s *Session) string { return s.advice() }

// read refuses what no store has written before anything is decrypted.
func read(c core.Credential) ([]byte, error) {
	if c.Place != core.SignInCookie || httpsyntax.CredentialFault(c.Value, MaxSize) != "" {
		return nil, errNone
	}
	sealed, err := text.DecodeString(c.Value)
	if err != nil {
		return nil, errNone
	}
	return sealed, nil
}

// current is the session of a request. Of several cookies of one name the one that holds
// is picked, so that another host that has planted one stops no logout; of several
// sessions none is.
func (b *browser) current(ctx context.Context, r *core.Request, load func(context.Context, core.Credential) (*Session, error)) (*Session, error) {
	var cookies core.Request
	for _, h := range r.Header {
		if strings.EqualFold(h.Name, "Cookie") {
			cookies.Header = append(cookies.Header, h)
		}
	}
	c, err := b.extractor.Extract(&cookies)
	if err != nil {
		return nil, err
	}
	found, err := load(ctx, core.Credential{Place: c.Place, Value: c.Value})
	for _, value := range c.Others {
		if value == "" || err != nil && !errors.Is(err, core.ErrInvalid) {
			break
		}
		other, failed := load(ctx, core.Credential{Place: c.Place, Value: value})
		switch {
		case failed != nil && found != nil && errors.Is(failed, core.ErrInvalid):
		case failed == nil && found != nil && other.ID != found.ID:
			return nil, fmt.Errorf("%w: the cookie %s is repeated, with several sessions", core.ErrInvalid, b.cookie.Name)
		default:
			found, err = other, failed
		}
	}
	return found, err
}

// advice names the greatest parts of a session, the greatest first, and how to leave
// each out.
func (s *Session) advice() string {
	type part struct {
		bytes int
		what  string
	}
	parts := []part{
		{len(s.IDToken), "the ID token (session.keep_id_token)"},
		{len(s.AccessToken), "the access token (session.keep_access_token)"},
		{len(s.RefreshToken), "the refresh token (renew_access_token_on_expiry)"},
		{sizeOf(s.Claims), "the claims (session.claims lists those that are kept)"},
		{sizeOf(s.Enriched), "what the service of enrich says"},
	}
	slices.SortStableFunc(parts, func(a, b part) int { return b.bytes - a.bytes })
	var named []string
	for _, p := range parts[:2] {
		if p.bytes > 0 {
			named = append(named, fmt.Sprintf("%s, %d bytes", p.what, p.bytes))
		}
	}
	return "leave out " + strings.Join(named, ", or ") + "; or keep sessions in Redis (session.storage: redis), which has no such limit"
}
