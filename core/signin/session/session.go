// Package session keeps what is remembered of a browser that signed in at the gate: in
// sealed cookies, so that nothing has to be run for it, or in Redis.
//
// It knows nothing of the protocol by which somebody signs in: that makes a Session,
// and renews one by a Renewer.
package session

import (
	"context"
	"fmt"
	"time"

	"gatehouse/core"
	"gatehouse/core/signin/enrich"
)

// Session is what is remembered of a browser that signed in. One that a Store has
// returned may be shared: it is copied to be changed.
type Session struct {
	// ID names the session, is random and is kept when the session is renewed. It is
	// core.Principal.SessionID, and what a revocation of the session names.
	ID string `json:"id"`

	// Provider is the name of the provider in the configuration; Issuer, Subject and
	// ClientID are those of its ID token.
	Provider string `json:"prv,omitempty"`
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	ClientID string `json:"cid,omitempty"`
	// ProviderSession is the claim sid of the ID token, by which the provider names its
	// session when it ends (OpenID Connect Back-Channel Logout); empty: it has none.
	ProviderSession string `json:"sid,omitempty"`

	// Claims are those that are kept of the ID token and of what else was asked at
	// sign-in. Numbers are json.Number.
	Claims map[string]any `json:"clm,omitempty"`
	// Enriched is what a service of the team's own says of the person; nil: none is asked.
	Enriched *enrich.Result `json:"enr,omitempty"`
	// Scopes were granted.
	Scopes []string `json:"scp,omitempty"`

	// ACR and AMR are the claims of these names; AAL is the assurance level that the
	// configuration makes of them; AuthenticatedAt is auth_time, or zero.
	ACR             string    `json:"acr,omitempty"`
	AMR             []string  `json:"amr,omitempty"`
	AAL             string    `json:"aal,omitempty"`
	AuthenticatedAt time.Time `json:"aat,omitzero"`

	// CreatedAt is when the browser signed in, SeenAt when it was last noted that it
	// used the session. A Store fills in both, and ID, where they are empty.
	CreatedAt time.Time `json:"cat"`
	SeenAt    time.Time `json:"sat"`
	// Expires ends the session whatever the configuration says; zero: the
	// configuration alone ends it.
	Expires time.Time `json:"exp,omitzero"`

	// The tokens that are kept; each may be empty. IDToken is kept for id_token_hint.
	IDToken      string `json:"idt,omitempty"`
	AccessToken  string `json:"act,omitempty"`
	RefreshToken string `json:"rft,omitempty"`
	// TokenExpires is when the access token ends, and with it what is known of the
	// session without asking the provider; zero: never.
	TokenExpires time.Time `json:"tex,omitzero"`
	// RenewedAt is when the tokens were renewed last; zero: never.
	RenewedAt time.Time `json:"ren,omitzero"`

	// handle is the name under which a store has it; empty: none has.
	handle string
	// stored is what that store has under it.
	stored string
}

// Store keeps sessions. It is safe for concurrent use.
type Store interface {
	// Save keeps a session, a new or a changed one, and returns the Set-Cookie headers
	// that hand it to the browser of a request. Cookies of that request which would be
	// left over are deleted by the same headers. A session that is too large for its
	// store is a *TooLargeError.
	Save(ctx context.Context, s *Session, r *core.Request) ([]core.Header, error)
	// Load returns the session of a credential that was found in the place
	// core.SignInCookie. The error wraps core.ErrInvalid for one that holds no session
	// or whose time is over; any other means that nobody could tell.
	Load(ctx context.Context, c core.Credential) (*Session, error)
	// Current is Load for an endpoint: the session of the browser that makes a
	// request. The error wraps core.ErrMissing where that has none.
	Current(ctx context.Context, r *core.Request) (*Session, error)
	// Delete forgets a session and returns the Set-Cookie headers that delete all of
	// its cookies. A nil session deletes the cookies alone.
	Delete(ctx context.Context, s *Session, r *core.Request) ([]core.Header, error)
}

// Renewer gets new tokens for a session from its provider.
type Renewer interface {
	// Renew returns a copy of the session with new tokens and what the provider says
	// with them. The error wraps core.ErrInvalid where the provider refuses the refresh
	// token, which ends the session; any other error leaves it as it is, to be tried
	// again.
	Renew(ctx context.Context, s *Session) (*Session, error)
}

// TooLargeError is of a session that does not fit into its store.
type TooLargeError struct {
	// Bytes is what it needs, Limit what there is.
	Bytes, Limit int
	// Advice names what to leave out.
	Advice string
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the session needs %d bytes, and %d is the most: %s", e.Bytes, e.Limit, e.Advice)
}
