// Package backchannel reads logout tokens: OpenID Connect Back-Channel Logout 1.0.
package backchannel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
)

// Types are the accepted values of typ: that of section 2.4, and those of providers
// that write none of their own.
func Types() []string { return []string{"logout+jwt", "JWT", ""} }

// Options of a Protocol.
type Options struct {
	// Verifier knows the providers, the clients that they end sessions of, and Types.
	Verifier *jwt.Verifier
	// BySubject are the issuers of which a token with both sid and sub revokes the
	// subject: access tokens of them hold no sid.
	BySubject map[string]bool
	// MaxAge is the age of a logout token from which it does not count.
	MaxAge time.Duration
	// RequireExpiry refuses a logout token without exp.
	RequireExpiry bool
	// Now is the clock.
	Now func() time.Time
}

// MaxBody is how many bytes a logout request may have.
const MaxBody = core.MaxCredential + 4<<10

// Protocol is a receive.Protocol.
type Protocol struct{ options Options }

var _ receive.Protocol = (*Protocol)(nil)

// New makes a protocol.
func New(o Options) *Protocol { return &Protocol{o} }

// Accepted is the response of section 2.8.
func (*Protocol) Accepted() core.Response {
	return core.Response{Status: http.StatusOK, Header: []core.Header{receive.NoStore}}
}

// Refused is the response of section 2.8.
func (*Protocol) Refused(r *receive.Refusal) core.Response {
	return receive.JSON(r.Status, map[string]string{"error": r.Code, "error_description": r.Detail})
}

// Read verifies a logout request.
func (p *Protocol) Read(ctx context.Context, call *core.Call, body []byte) (receive.Message, error) {
	text, err := logoutToken(call, body)
	if err != nil {
		return receive.Message{}, refusal("The request is not a logout request.", err)
	}
	set, err := p.options.Verifier.Statement(ctx, text)
	if err == nil {
		err = p.check(set)
	}
	switch {
	case errors.Is(err, core.ErrInvalid):
		return receive.Message{}, refusal("The logout token does not hold.", err)
	case err != nil:
		return receive.Message{}, err
	}
	return p.message(set), nil
}

func refusal(detail string, err error) *receive.Refusal {
	return &receive.Refusal{Status: http.StatusBadRequest, Code: "invalid_request", Detail: detail, Err: err}
}

// logoutToken is the one parameter of section 2.5. Others are ignored.
func logoutToken(call *core.Call, body []byte) (string, error) {
	if err := receive.ContentType(call, "application/x-www-form-urlencoded"); err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", errors.New("the body is not a form")
	}
	if n := len(form["logout_token"]); n != 1 {
		return "", fmt.Errorf("the form has %d logout tokens; want one", n)
	}
	return form.Get("logout_token"), nil
}

// event is the member of events that makes a token a logout token.
const event = "http://schemas.openid.net/event/backchannel-logout"

// check is section 2.6, beside what the verifier has done.
func (p *Protocol) check(set claims.Set) error {
	err := p.checkTimes(set)
	events, _ := set["events"].(map[string]any)
	_, isLogout := events[event].(map[string]any)
	_, isID := set["nonce"]
	switch jti, textErr := set.Text("jti"); {
	case err != nil:
	case !isLogout:
		err = fmt.Errorf("is not a logout token: events has no object %s", event)
	case isID:
		err = errors.New("is not a logout token: it has a nonce")
	case textErr != nil || jti == "":
		err = errors.New("has no jti")
	case !named(set, "sid") && !named(set, "sub"):
		err = errors.New("names neither a session (sid) nor a subject (sub)")
	}
	for _, name := range []string{"sid", "sub"} {
		if _, present := set[name]; err == nil && present && !named(set, name) {
			err = fmt.Errorf("has an empty %s, or one that is not a text", name)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: logout token %w", core.ErrInvalid, err)
	}
	return nil
}

func named(set claims.Set, name string) bool {
	text, err := set.Text(name)
	return err == nil && text != ""
}

// checkTimes wants a young token: some providers write no exp.
func (p *Protocol) checkTimes(set claims.Set) error {
	now := p.options.Now()
	if set["exp"] != nil || p.options.RequireExpiry {
		if _, err := set.Expiry(now); err != nil {
			return err
		}
	}
	issued, present, err := set.Time("iat")
	switch {
	case err != nil:
		return err
	case !present:
		return errors.New("has no iat")
	case now.Sub(issued) > p.options.MaxAge:
		return fmt.Errorf("is stale: it was issued at %s", issued.UTC().Format(time.RFC3339))
	}
	return nil
}

// message ends the session, or where no session is named all of the subject. What was
// issued after the token, at the provider's own clock, is of a later sign-in.
func (p *Protocol) message(set claims.Set) receive.Message {
	issuer, _ := set.Text("iss")
	subject, _ := set.Text("sub")
	session, _ := set.Text("sid")
	jti, _ := set.Text("jti")
	issued, _, _ := set.Time("iat")
	e := revocation.Event{Kind: revocation.Session, Value: session, Issuer: issuer, At: issued, Reason: "logout at the identity provider"}
	if session == "" || subject != "" && p.options.BySubject[issuer] {
		e.Kind, e.Value = revocation.Subject, subject
	}
	return receive.Message{ID: fmt.Sprintf("logout %q %q", issuer, jti), Events: []revocation.Event{e}}
}
