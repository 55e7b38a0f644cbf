// Package signals reads security event tokens (RFC 8417) that a transmitter of the
// Shared Signals Framework pushes (RFC 8935), and says what they revoke: events of the
// Continuous Access Evaluation Profile (CAEP) and of RISC.
package signals

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
)

// Type is the typ of a security event token (RFC 8417 section 2.3).
const Type = "secevent+jwt"

// Options of a Protocol.
type Options struct {
	// Verifier knows the transmitters, the audiences of their streams, and Type.
	Verifier *jwt.Verifier
	// Transmitters by the issuers of their tokens.
	Transmitters map[string]Transmitter
	// Secrets authenticate the stream beside the signature; without values it needs
	// no more than that.
	Secrets receive.Secrets
	// MaxAge is the age of a token from which it does not count.
	MaxAge time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Transmitter is what one who sends events may speak of.
type Transmitter struct {
	// Issuer is that of the credentials of subjects that are named without an
	// issuer. Issuers are all of which it may speak.
	Issuer  string
	Issuers []string
	// EmailIsSubject says that the subject of a credential is an address, so that
	// subjects can be named by it.
	EmailIsSubject bool
}

// MaxBody is how many bytes a token may have.
const MaxBody = core.MaxCredential

// Protocol is a receive.Protocol.
type Protocol struct{ options Options }

var _ receive.Protocol = (*Protocol)(nil)

// New makes a protocol.
func New(o Options) *Protocol { return &Protocol{o} }

// Accepted is the response of RFC 8935 section 2.2.
func (*Protocol) Accepted() core.Response {
	return core.Response{Status: http.StatusAccepted, Header: []core.Header{receive.NoStore}}
}

// Refused is the response of RFC 8935 section 2.3, which has the status 400 for a
// sender who is not known, too.
func (*Protocol) Refused(r *receive.Refusal) core.Response {
	return receive.JSON(http.StatusBadRequest, map[string]string{"err": r.Code, "description": r.Detail}, core.Header{Name: "Content-Language", Value: "en"})
}

// The error codes of RFC 8935 section 2.4.
const (
	invalidRequest       = "invalid_request"
	invalidKey           = "invalid_key"
	invalidIssuer        = "invalid_issuer"
	invalidAudience      = "invalid_audience"
	authenticationFailed = "authentication_failed"
)

func refusal(code, detail string, err error) *receive.Refusal {
	return &receive.Refusal{Status: http.StatusBadRequest, Code: code, Detail: detail, Err: err}
}

// Read verifies a token.
func (p *Protocol) Read(ctx context.Context, call *core.Call, body []byte) (receive.Message, error) {
	if err := p.authenticate(call); err != nil {
		r := receive.Unauthenticated(err)
		r.Code = authenticationFailed
		return receive.Message{}, r
	}
	if err := receive.ContentType(call, "application/"+Type); err != nil {
		return receive.Message{}, refusal(invalidRequest, "The body must be of the type application/secevent+jwt.", err)
	}
	set, err := p.options.Verifier.Statement(ctx, string(body))
	if err != nil {
		return receive.Message{}, refused(err)
	}
	if err := p.check(set); err != nil {
		return receive.Message{}, refusal(invalidRequest, "The token is not a security event token, or it is stale.", fmt.Errorf("the token %w", err))
	}
	m, err := p.message(set)
	if err != nil {
		return receive.Message{}, refusal(invalidRequest, err.Error(), nil)
	}
	return m, nil
}

func (p *Protocol) authenticate(call *core.Call) error {
	for _, value := range p.options.Secrets.Values {
		if value != "" {
			return p.options.Secrets.Check(call)
		}
	}
	return nil
}

// refused sorts what the verifier says.
func refused(err error) error {
	switch {
	case !errors.Is(err, core.ErrInvalid):
		return err
	case errors.Is(err, jwt.ErrIssuer):
		return refusal(invalidIssuer, "The issuer is not one that is configured.", err)
	case errors.Is(err, jwt.ErrKey):
		return refusal(invalidKey, "No key of the issuer has signed the token.", err)
	case errors.Is(err, jwt.ErrAudience):
		return refusal(invalidAudience, "The token is for another audience.", err)
	}
	return refusal(invalidRequest, "The body is not a security event token that can be accepted.", err)
}

// check is what RFC 8417 section 2.2 wants beside what the verifier has done.
func (p *Protocol) check(set claims.Set) error {
	now := p.options.Now()
	if set["exp"] != nil { // which the RFC advises against
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
	if jti, err := set.Text("jti"); err != nil || jti == "" {
		return errors.New("has no jti")
	}
	if _, isID := set["nonce"]; isID {
		return errors.New("has a nonce, as an ID token has")
	}
	return nil
}

// message is all that the events of a token revoke together.
func (p *Protocol) message(set claims.Set) (receive.Message, error) {
	issuer, _ := set.Text("iss")
	jti, _ := set.Text("jti")
	issued, _, _ := set.Time("iat")
	events, isObject := set["events"].(map[string]any)
	if !isObject || len(events) == 0 {
		return receive.Message{}, errors.New("the token holds no events")
	}
	m := receive.Message{ID: fmt.Sprintf("secevent %q %q", issuer, jti)}
	var without []string
	for _, name := range sorted(events) {
		payload, isObject := events[name].(map[string]any)
		if !isObject {
			return receive.Message{}, errors.New("an event is not an object")
		}
		effect, known := effects[name]
		if known && effect.counts(payload) {
			revoked, err := p.options.Transmitters[issuer].revoked(effect, set, payload)
			if err != nil {
				return receive.Message{}, err
			}
			m.Events = append(m.Events, revoked...)
			continue
		}
		without = append(without, fmt.Sprintf("%.200q", name))
	}
	for i := range m.Events {
		m.Events[i].At = issued
	}
	m.Note = "there is nothing to revoke for " + strings.Join(without, ", ")
	return m, nil
}

// effect is what an event does.
type effect struct {
	// ofSession says that the event can be about one session of a user.
	ofSession bool
	// verify has the credentials asked about instead of refused.
	verify bool
	// unless is a value of change_type with which the event has no effect.
	unless string
	reason string
}

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
)

// effects of the events that revoke something. All others are acknowledged alone, and so
// is the verification event of a stream: the transmitter wants to see the response.
var effects = map[string]effect{
	caep + "session-revoked":       {ofSession: true, reason: "session revoked"},
	caep + "credential-change":     {verify: true, unless: "create", reason: "credential changed"},
	risc + "sessions-revoked":      {reason: "sessions revoked"},
	risc + "account-disabled":      {reason: "account disabled"},
	risc + "account-purged":        {reason: "account purged"},
	risc + "credential-compromise": {reason: "credential compromised"},
}

func (e effect) counts(payload claims.Set) bool {
	change, err := payload.Text("change_type")
	return e.unless == "" || err != nil || change != e.unless
}

// revoked is what one event revokes.
func (t Transmitter) revoked(e effect, set, payload claims.Set) ([]revocation.Event, error) {
	subject, err := subjectOf(set, payload)
	if err != nil {
		return nil, err
	}
	events, err := t.events(subject, e.ofSession)
	if err != nil {
		return nil, err
	}
	reason := e.reason
	if why, err := payload.Text("initiating_entity"); err == nil && why != "" {
		reason += " by " + why
	}
	for i := range events {
		events[i].Verify, events[i].Reason = e.verify, reason
	}
	return events, nil
}
