package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/extract"
	"gatehouse/core/httpsyntax"
)

// Sealed is a Store whose sessions are in the cookies themselves, encrypted and bound to
// the name of the cookie.
type Sealed struct {
	in    *browser
	life  Life
	codec *codec
}

var _ Store = (*Sealed)(nil)

// NewSealed makes a store of cookies. The first secret seals, all of them open.
func NewSealed(cookie Cookie, life Life, secrets ...string) (*Sealed, error) {
	in, err := newBrowser(cookie)
	if err != nil {
		return nil, err
	}
	c, err := newCodec("gatehouse session cookie", secrets)
	if err != nil {
		return nil, err
	}
	return &Sealed{in, life.withDefaults(), c}, nil
}

// Save puts a session into cookies.
func (s *Sealed) Save(_ context.Context, session *Session, r *core.Request) ([]core.Header, error) {
	session, err := s.life.begun(session)
	if err != nil {
		return nil, err
	}
	sealed, err := s.codec.encode([]byte(s.in.cookie.Name), session)
	if err != nil {
		return nil, err
	}
	value := text.EncodeToString(sealed)
	limit := s.in.cookie.MaxSize
	if len(value) > limit {
		return nil, &TooLargeError{Bytes: len(value), Limit: limit, Advice: session.advice()}
	}
	lines, err := s.in.cookie.set(value, s.life.end(session), s.life.Now(), r)
	var large *TooLargeError
	if errors.As(err, &large) {
		large.Advice = session.advice()
	}
	return lines, err
}

// Load opens what cookies hold.
func (s *Sealed) Load(_ context.Context, c core.Credential) (*Session, error) {
	sealed, err := s.in.read(c)
	if err != nil {
		return nil, err
	}
	session, err := s.codec.decode([]byte(s.in.cookie.Name), sealed)
	if err != nil {
		return nil, errNone
	}
	if err := s.life.usable(session); err != nil {
		return nil, err
	}
	return session, nil
}

// Current opens what the browser of a request holds.
func (s *Sealed) Current(ctx context.Context, r *core.Request) (*Session, error) {
	return s.in.current(ctx, r, s.Load)
}

// Delete deletes the cookies. A copy that somebody has made holds on, until the
// session is revoked by its ID.
func (s *Sealed) Delete(_ context.Context, _ *Session, r *core.Request) ([]core.Header, error) {
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

// read refuses what no store has written before anything is decrypted.
func (b *browser) read(c core.Credential) ([]byte, error) {
	if c.Place != core.SignInCookie || httpsyntax.CredentialFault(c.Value, MaxSize) != "" {
		return nil, errNone
	}
	sealed, err := text.DecodeString(c.Value)
	if err != nil {
		return nil, errNone
	}
	return sealed, nil
}

// current is the session of a request. Of several cookies of one name none is picked.
func (b *browser) current(ctx context.Context, r *core.Request, load func(context.Context, core.Credential) (*Session, error)) (*Session, error) {
	var cookies core.Request
	for _, h := range r.Header {
		if strings.EqualFold(h.Name, "Cookie") {
			cookies.Header = append(cookies.Header, h)
		}
	}
	c, err := b.extractor.Extract(&cookies)
	switch {
	case err != nil:
		return nil, err
	case c.Others[0] != "":
		return nil, fmt.Errorf("%w: the cookie %s is repeated", core.ErrInvalid, b.cookie.Name)
	}
	return load(ctx, c)
}

func cookieNames(r *core.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		if r == nil {
			return
		}
		for i := range r.Header {
			if !strings.EqualFold(r.Header[i].Name, "Cookie") {
				continue
			}
			for pair := range strings.SplitSeq(r.Header[i].Value, ";") {
				if name, _, ok := httpsyntax.CookiePair(pair); ok && httpsyntax.IsToken(name) && !yield(name) {
					return
				}
			}
		}
	}
}

// advice names the greatest parts of a session, the greatest first, and how to leave
// each out.
func (s *Session) advice() string {
	parts := []struct {
		bytes int
		what  string
	}{
		{len(s.IDToken), "the ID token (session.keep_id_token)"},
		{len(s.AccessToken), "the access token (session.keep_access_token)"},
		{len(s.RefreshToken), "the refresh token (renew_access_token_on_expiry)"},
		{sizeOf(s.Claims), "the claims (session.claims lists those that are kept)"},
	}
	slices.SortStableFunc(parts, func(a, b struct {
		bytes int
		what  string
	}) int {
		return b.bytes - a.bytes
	})
	var named []string
	for _, p := range parts[:2] {
		if p.bytes > 0 {
			named = append(named, fmt.Sprintf("%s, %d bytes", p.what, p.bytes))
		}
	}
	return "leave out " + strings.Join(named, ", or ") + "; or keep sessions in Redis (session.storage: redis), which has no such limit"
}
