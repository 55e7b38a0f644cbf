// Package webhook reads what is revoked as JSON: from an identity provider's webhooks,
// such as those of Ory Kratos, and from any other system of the operator.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
)

// Options of a Protocol.
type Options struct {
	// Name of the sender: messages of two senders are never one.
	Name string
	// Secrets authenticate the sender.
	Secrets receive.Secrets
	// Kinds are those that the sender may revoke.
	Kinds []revocation.Kind
	// Issuer is the one of which the sender may speak; empty: any.
	Issuer string
	// Verify has whatever the sender names asked about instead of refused.
	Verify bool
}

const (
	// MaxBody is how many bytes a message may have.
	MaxBody = 64 << 10
	// maxEvents is how many events a message may have.
	maxEvents = 100
)

// Protocol is a receive.Protocol.
type Protocol struct{ options Options }

var _ receive.Protocol = (*Protocol)(nil)

// New makes a protocol.
func New(o Options) *Protocol { return &Protocol{o} }

// Accepted has no content.
func (*Protocol) Accepted() core.Response {
	return core.Response{Status: http.StatusNoContent, Header: []core.Header{receive.NoStore}}
}

// Refused says what to mend.
func (p *Protocol) Refused(r *receive.Refusal) core.Response {
	document := map[string]string{"error": r.Code, "error_description": r.Detail}
	if r.Status == http.StatusUnauthorized {
		return receive.JSON(r.Status, document, core.Header{Name: "WWW-Authenticate", Value: `Bearer realm="revocation"`})
	}
	return receive.JSON(r.Status, document)
}

// Read authenticates the sender, before it looks at the body.
func (p *Protocol) Read(_ context.Context, call *core.Call, body []byte) (receive.Message, error) {
	if err := p.options.Secrets.Check(call); err != nil {
		return receive.Message{}, receive.Unauthenticated(err)
	}
	if err := receive.ContentType(call, "application/json"); err != nil {
		return receive.Message{}, refusal(err)
	}
	document, err := claims.Decode(body)
	if err != nil {
		return receive.Message{}, refusal(fmt.Errorf("the body %w", err))
	}
	m, err := p.message(document)
	if err != nil {
		return receive.Message{}, refusal(err)
	}
	return m, nil
}

// refusal tells the sender all: it is known.
func refusal(err error) *receive.Refusal {
	return &receive.Refusal{Status: http.StatusBadRequest, Code: "invalid_request", Detail: err.Error()}
}

// message reads one event, or an object with a list of them.
func (p *Protocol) message(document claims.Set) (receive.Message, error) {
	id, err := document.Text("id")
	if err != nil {
		return receive.Message{}, err
	}
	m := receive.Message{}
	if id != "" {
		m.ID = fmt.Sprintf("webhook %q %q", p.options.Name, id)
	}
	list, several := document["events"]
	if !several {
		e, err := p.event(document)
		m.Events = []revocation.Event{e}
		return m, err
	}
	if err := onlyKnown(document, "id", "events"); err != nil {
		return m, err
	}
	events, isList := list.([]any)
	if !isList || len(events) == 0 || len(events) > maxEvents {
		return m, fmt.Errorf("events must be a list of 1 to %d events", maxEvents)
	}
	for i, one := range events {
		object, isObject := one.(map[string]any)
		if !isObject || object["id"] != nil {
			return m, fmt.Errorf("events[%d] must be an object without an id", i)
		}
		e, err := p.event(object)
		if err != nil {
			return m, fmt.Errorf("events[%d]: %w", i, err)
		}
		m.Events = append(m.Events, e)
	}
	return m, nil
}

func onlyKnown(object claims.Set, names ...string) error {
	for name := range object {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%.40q is not known; want %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// The actions of an event.
const (
	refuse = "refuse"
	verify = "verify"
)

// event reads an event. Its moment is that of the one who keeps it.
func (p *Protocol) event(object claims.Set) (revocation.Event, error) {
	if err := onlyKnown(object, "id", "kind", "value", "token", "issuer", "action", "reason"); err != nil {
		return revocation.Event{}, err
	}
	texts := map[string]string{}
	for name := range object {
		text, err := object.Text(name)
		if err != nil {
			return revocation.Event{}, err
		}
		texts[name] = text
	}
	e := revocation.Event{Kind: revocation.Kind(texts["kind"]), Value: texts["value"], Issuer: texts["issuer"], Reason: texts["reason"], Verify: p.options.Verify}
	if !slices.Contains(p.options.Kinds, e.Kind) {
		return e, fmt.Errorf("kind must be one of %s", p.kinds())
	}
	switch texts["action"] {
	case "":
	case verify:
		e.Verify = true
	case refuse:
		if p.options.Verify {
			return e, errors.New("action must be verify: this sender may not have credentials refused")
		}
	default:
		return e, fmt.Errorf("action must be %s or %s", refuse, verify)
	}
	if token := texts["token"]; token != "" {
		if e.Kind != revocation.Token || e.Value != "" {
			return e, errors.New("token goes with kind token alone, and without value")
		}
		e.Value = revocation.TokenDigest(token)
	}
	return p.checked(e)
}

// checked keeps an event from naming more than was meant.
func (p *Protocol) checked(e revocation.Event) (revocation.Event, error) {
	ofIssuer := e.Kind == revocation.Issuer
	switch {
	case ofIssuer && e.Value != "":
		return e, errors.New("an event of kind issuer has no value; name it by issuer")
	case ofIssuer && e.Issuer == "":
		return e, errors.New("an event of kind issuer needs issuer")
	case !ofIssuer && e.Value == "":
		return e, errors.New("value is absent or empty: the event names nobody")
	case p.options.Issuer == "" || e.Issuer == p.options.Issuer:
		return e, nil
	case e.Issuer != "":
		return e, errors.New("issuer is one of which this sender may not speak")
	}
	e.Issuer = p.options.Issuer
	return e, nil
}

func (p *Protocol) kinds() string {
	names := make([]string, len(p.options.Kinds))
	for i, kind := range p.options.Kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}
