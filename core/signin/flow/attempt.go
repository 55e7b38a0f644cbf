package flow

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/signin/oidc"
)

// attempt is what the browser keeps of one sign-in.
type attempt struct {
	Provider string      `json:"p,omitempty"`
	Nonce    string      `json:"n,omitempty"`
	Verifier string      `json:"v,omitempty"`
	Demand   oidc.Demand `json:"d,omitzero"`
	ReturnTo string      `json:"r,omitempty"`
	Begun    time.Time   `json:"b"`
	// Done is when the sign-in has succeeded. The attempt is kept for a while: for who
	// goes back to it, and to notice that one leads to the next.
	Done time.Time `json:"e,omitzero"`
	// Page is a short digest of ReturnTo, which outlasts a long one.
	Page string `json:"g,omitempty"`

	name string // of its cookie
	size int    // of its cookie
}

const (
	// cookiePrefix begins the name of the cookie of an attempt. Its own prefix keeps
	// other hosts, subdomains among them, from setting one (RFC 6265bis section 4.1.3.2).
	cookiePrefix = "__Host-gatehouse_signin_"
	// maxAttempts and maxAttemptBytes bound what a browser keeps of attempts; the oldest
	// go first. nginx takes header lines of 8 KiB.
	maxAttempts     = 5
	maxAttemptBytes = 4 << 10
	// maxCookies bounds those that are opened of what a client sends.
	maxCookies = 20
	// afterwards is how long an attempt that has succeeded is kept.
	afterwards = 5 * time.Minute
)

// attempts seals them.
type attempts struct {
	box      *seal.Box
	now      func() time.Time
	lifetime time.Duration
}

// nameOf is the name of the cookie for a state: who knows the name does not know the
// state.
func nameOf(state string) string {
	sum := sha256.Sum256([]byte(state))
	return cookiePrefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// of returns the attempts of a browser that are not over, the newest first, and the
// names of what else it keeps under such names.
func (as *attempts) of(r *core.Request) (found []*attempt, useless []string) {
	seen := map[string]bool{}
	for i := range r.Header {
		if !strings.EqualFold(r.Header[i].Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(r.Header[i].Value, ";") {
			name, value, ok := httpsyntax.CookiePair(pair)
			if !ok || !strings.HasPrefix(name, cookiePrefix) || seen[name] || !httpsyntax.IsToken(name) || len(seen) >= maxCookies {
				continue
			}
			seen[name] = true
			if a, err := as.open(name, value); err == nil {
				found = append(found, a)
			} else {
				useless = append(useless, name)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *attempt) int { return b.Begun.Compare(a.Begun) })
	return found, useless
}

var (
	errNoAttempt = errors.New("this browser has begun no such sign-in, or too long ago")
	errTampered  = errors.New("the cookie of the attempt is not one of this gate")
)

// find returns the attempt for a state. There can be one value of its cookie only.
func (as *attempts) find(r *core.Request, state string) (*attempt, error) {
	name := nameOf(state)
	var values []string
	for i := range r.Header {
		if strings.EqualFold(r.Header[i].Name, "Cookie") {
			for pair := range strings.SplitSeq(r.Header[i].Value, ";") {
				if key, value, ok := httpsyntax.CookiePair(pair); ok && key == name {
					values = append(values, value)
				}
			}
		}
	}
	switch len(values) {
	case 0:
		return nil, errNoAttempt
	case 1:
		return as.open(name, values[0])
	}
	return nil, fmt.Errorf("%w: there are %d of it", errTampered, len(values))
}

func (as *attempts) open(name, value string) (*attempt, error) {
	if len(value) > maxAttemptBytes {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errTampered, maxAttemptBytes)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || strings.ContainsAny(value, "\r\n") {
		return nil, fmt.Errorf("%w: it is not base64url", errTampered)
	}
	text, err := as.box.Open([]byte(name), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w, or it was sealed with a secret that is not configured any more", errTampered)
	}
	a := &attempt{name: name, size: len(name) + len(value)}
	if err := json.Unmarshal(text, a); err != nil {
		return nil, errTampered
	}
	end := a.Begun.Add(as.lifetime)
	if !a.Done.IsZero() {
		end = a.Done.Add(afterwards)
	}
	if now := as.now(); !now.Before(end) || now.Before(a.Begun.Add(-time.Minute)) {
		return nil, errNoAttempt
	}
	return a, nil
}

// keep returns the header that has the browser keep an attempt.
func (as *attempts) keep(a *attempt, sameSite string) (core.Header, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return core.Header{}, err
	}
	value := base64.RawURLEncoding.EncodeToString(as.box.Seal([]byte(a.name), text))
	a.size = len(a.name) + len(value)
	if a.size > maxAttemptBytes {
		return core.Header{}, fmt.Errorf("the attempt needs a cookie of %d bytes", a.size)
	}
	lifetime := as.lifetime
	if !a.Done.IsZero() {
		lifetime = afterwards
	}
	return setCookie(a.name, value, cmp.Or(sameSite, "Lax"), lifetime), nil
}

func setCookie(name, value, sameSite string, lifetime time.Duration) core.Header {
	return core.Header{Name: "Set-Cookie", Value: fmt.Sprintf("%s=%s; Path=/; Max-Age=%d; Secure; HttpOnly; SameSite=%s", name, value, int(lifetime.Seconds()), sameSite)}
}

func deleteCookie(name string) core.Header { return setCookie(name, "", "Lax", 0) }

// makeRoom deletes the oldest attempts of a browser until a new one of a size fits in.
func makeRoom(found []*attempt, useless []string, size int) (header []core.Header) {
	count := 1
	for _, a := range found {
		count, size = count+1, size+a.size
		if count > maxAttempts || size > maxAttemptBytes {
			useless = append(useless, a.name)
		}
	}
	for _, name := range useless {
		header = append(header, deleteCookie(name))
	}
	return header
}

const (
	// rounds of signing in for one page within loopTime are a loop.
	rounds   = 3
	loopTime = time.Minute
)

// maxKept is the length of a ReturnTo that is kept once the attempt has succeeded: several
// of these have to fit in.
const maxKept = 300

// finished is what is kept of an attempt that has succeeded.
func (as *attempts) finished(a *attempt) *attempt {
	done := &attempt{Begun: a.Begun, Done: as.now(), Page: digest(a.ReturnTo), name: a.name}
	if len(a.ReturnTo) <= maxKept {
		done.ReturnTo = a.ReturnTo
	}
	return done
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// loops reports whether sign-ins for a page succeed one after the other.
func (as *attempts) loops(found []*attempt, returnTo string) bool {
	n, page := 0, digest(returnTo)
	for _, a := range found {
		if !a.Done.IsZero() && a.Page == page && as.now().Sub(a.Done) < loopTime {
			n++
		}
	}
	return n >= rounds
}
