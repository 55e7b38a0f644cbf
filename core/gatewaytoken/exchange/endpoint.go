// Package exchange is the endpoint at which apps get an access token of the gate for a token
// that they have of an identity provider: token exchange (RFC 8693) by public clients.
//
// What it takes is the token itself, which names the app that it was issued to. An app is
// not authenticated: what it says of itself proves nothing.
package exchange

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/upstreamtoken/mint"
)

// Options of an endpoint.
type Options struct {
	// Path of the endpoint.
	Path string
	// Tokens issues what clients get.
	Tokens *gatewaytoken.Tokens
	// Audience is whom a token can be asked for; all of them if none is named.
	Audience []string
	// Subjects judges subject tokens, and limits attempts that fail. It gets each as a
	// credential in the place that Place names.
	Subjects core.Authenticator
	// Own judges what is issued: a caller may be revoked by a name that Enrich gives them.
	Own core.TokenAuthenticator
	// Enrich completes a caller, whose principal it may change; nil: nothing does.
	Enrich func(ctx context.Context, p *core.Principal) error
	// MaxAge is the age from which a subject token of another issuer does not count; 0: it
	// counts until it ends.
	MaxAge time.Duration
	// Renewable is how long after the sign-in a token of the gate can be exchanged for
	// another one; 0: it cannot.
	Renewable time.Duration
	// Log gets a line for each token that is issued and each that is not.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// MaxBody is how many bytes a request may have: a token, and what is said of it.
const MaxBody = core.MaxCredential + 4<<10

// Methods are those of the endpoint.
func Methods() []string { return []string{http.MethodPost} }

// Endpoint makes the endpoint.
func Endpoint(o Options) core.Endpoint {
	return core.Endpoint{Path: o.Path, Methods: Methods(), MaxBody: MaxBody, Handler: &handler{o}}
}

type handler struct{ options Options }

// Respond issues a token for that of a request.
func (h *handler) Respond(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	r, err := h.serve(ctx, call, body)
	var wrong *fault
	if errors.As(err, &wrong) {
		h.options.Log.Info("no token is issued in exchange", "request_id", call.Identify(), "error", wrong.code, "reason", err.Error())
		return wrong.response(), nil
	}
	return r, err // what could not be found out becomes 503, too many attempts 429
}

func (h *handler) serve(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	r, err := read(call, body)
	if err != nil {
		return core.Response{}, err
	}
	audience, err := r.audienceOf(h.options.Audience)
	if err != nil {
		return core.Response{}, err
	}
	p, err := h.subject(ctx, call, r)
	if err != nil {
		return core.Response{}, err
	}
	scopes, err := r.scopesOf(p)
	if err != nil {
		return core.Response{}, err
	}
	p.Scopes = scopes
	return h.issue(ctx, call, r, p, audience)
}

// subject is whom the subject token speaks of, and who they are to the gate: a principal
// of its own.
func (h *handler) subject(ctx context.Context, call *core.Call, r *request) (*core.Principal, error) {
	a, err := h.options.Subjects.Authenticate(ctx, call, core.Credential{Place: Place(r.subjectType), Value: r.subject})
	switch {
	case errors.Is(err, core.ErrInvalid):
		return nil, &fault{code: invalidRequest, detail: "The subject token is not accepted.", err: err}
	case err != nil:
		return nil, err
	}
	p := *a.Principal
	p.Claims = maps.Clone(p.Claims)
	if err := h.check(&p, r); err != nil {
		return nil, err
	}
	if h.isOwn(&p) {
		return &p, nil
	}
	startSession(&p)
	if h.options.Enrich == nil {
		return &p, nil
	}
	err = h.options.Enrich(ctx, &p)
	if errors.Is(err, core.ErrForbidden) {
		err = &fault{code: "access_denied", detail: "This user gets no token.", err: err}
	}
	return &p, err
}

// isOwn reports whether a token of the gate itself has been presented.
func (h *handler) isOwn(p *core.Principal) bool {
	return p.Claims["iss"] == h.options.Tokens.Place().Issuer
}

// check decides about what a token that holds says of its age and of the app.
func (h *handler) check(p *core.Principal, r *request) error {
	age, refuse := h.options.Now().Sub(p.IssuedAt), func(format string, args ...any) error {
		return &fault{code: invalidRequest, detail: "The subject token is not accepted.", err: fmt.Errorf(format, args...)}
	}
	switch own := h.isOwn(p); {
	case r.client != "" && r.client != p.ClientID:
		return refuse("client_id is %.80q, and the token was issued to %.80q", r.client, p.ClientID)
	case own && h.options.Renewable == 0:
		return refuse("is a token of the gate itself, and none can be exchanged for another one (renewable_for)")
	case own && age >= h.options.Renewable:
		return refuse("goes back to a sign-in %s ago, and can be exchanged for %s (renewable_for)", age.Round(time.Second), h.options.Renewable)
	case !own && h.options.MaxAge > 0 && (p.IssuedAt.IsZero() || age > h.options.MaxAge):
		return refuse("was issued %s ago, and may be %s old (max_token_age)", age.Round(time.Second), h.options.MaxAge)
	}
	return nil
}

// startSession begins a session of the gate, and keeps the name that the issuer has for its
// own. What a token says of other tokens does not count.
func startSession(p *core.Principal) {
	for _, name := range mint.Origins() {
		delete(p.Claims, name)
	}
	if p.SessionID != "" {
		p.Claims[mint.IssuerSessionClaim] = p.SessionID
	}
	p.SessionID = gatewaytoken.NewSession()
}

// issue responds with a token. It ends with the token that it was issued for, unless that
// is an ID token, which says nothing of how long somebody may act.
func (h *handler) issue(ctx context.Context, call *core.Call, r *request, p *core.Principal, audience []string) (core.Response, error) {
	end := p.Expiry
	switch {
	case h.isOwn(p):
		end = p.IssuedAt.Add(h.options.Renewable)
	case r.subjectType == idToken:
		end = endOfTime
	}
	issued, err := h.options.Tokens.IssueFor(p, audience, end)
	if err == nil {
		_, err = h.options.Own.AuthenticateToken(ctx, core.Credential{Place: core.BearerToken, Value: issued.Token})
	}
	if errors.Is(err, core.ErrForbidden) || errors.Is(err, core.ErrInvalid) {
		err = &fault{code: invalidRequest, detail: "There is no access token for this subject token.", err: err}
	}
	if err != nil {
		return core.Response{}, err
	}
	h.options.Log.Info("a token is issued in exchange", "request_id", call.Identify(), "sub", p.Subject, "iss", p.Issuer, "client_id", p.ClientID, "sid", p.SessionID)
	answer := map[string]any{
		"access_token": issued.Token, "issued_token_type": cmp.Or(r.requestedType, accessToken), "token_type": "Bearer",
		"expires_in": int(issued.Expiry.Sub(h.options.Now()) / time.Second),
	}
	if len(p.Scopes) > 0 {
		answer["scope"] = strings.Join(p.Scopes, " ")
	}
	return respond(http.StatusOK, answer), nil
}

// endOfTime is after the end of every token.
var endOfTime = time.Unix(1<<40, 0)

// scopesOf are those that a token is to have: of those of the subject token the ones that
// are asked for, or all.
func (r *request) scopesOf(p *core.Principal) ([]string, error) {
	if len(r.scopes) == 0 {
		return p.Scopes, nil
	}
	for _, scope := range r.scopes {
		if !slices.Contains(p.Scopes, scope) {
			return nil, &fault{code: "invalid_scope", detail: "The subject token does not grant this scope.", err: fmt.Errorf("scope %.80q is asked for, and the subject token grants %d others", scope, len(p.Scopes))}
		}
	}
	return r.scopes, nil
}

// respond is a response that nobody keeps (RFC 6749 section 5.1).
func respond(status int, document any) core.Response {
	body, err := json.Marshal(document)
	if err != nil { // texts and numbers always encode
		panic(err)
	}
	return core.Response{Status: status, Body: body, Header: []core.Header{
		{Name: "Content-Type", Value: "application/json"}, {Name: "Cache-Control", Value: "no-store"}, {Name: "Pragma", Value: "no-cache"},
	}}
}
