package signals

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatehouse/core/authn/claims"
	"gatehouse/core/revocation"
)

func sorted(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }

// subjectOf finds whom an event is about: sub_id of the token (Shared Signals
// Framework 1.0), or subject of the event, as drafts and RISC have it. Two would be two
// readings.
func subjectOf(set, payload claims.Set) (claims.Set, error) {
	_, outside := set["sub_id"]
	_, inside := payload["subject"]
	if outside && inside {
		return nil, errors.New("the token has sub_id and the event has subject; want one of them")
	}
	subject, isObject := set["sub_id"].(map[string]any)
	if inside {
		subject, isObject = payload["subject"].(map[string]any)
	}
	if !isObject {
		return nil, errors.New("the event names nobody: want sub_id, an object (RFC 9493)")
	}
	return subject, nil
}

// events are those about a subject identifier (RFC 9493).
func (t Transmitter) events(subject claims.Set, ofSession bool) ([]revocation.Event, error) {
	if format, err := formatOf(subject); err != nil {
		return nil, err
	} else if format != "complex" {
		return t.simple(subject, ofSession)
	}
	session, user := subject["session"], subject["user"]
	switch {
	case ofSession && session != nil:
		return t.member("session", session, t.session)
	case user != nil: // of a device of the user nobody here knows
		return t.member("user", user, t.user)
	}
	return nil, errors.New("the complex subject has neither a user nor a session of a kind that is known here")
}

func (t Transmitter) member(name string, value any, read func(claims.Set) (revocation.Event, error)) ([]revocation.Event, error) {
	object, isObject := value.(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("%s of the subject is not an object", name)
	}
	e, err := read(object)
	if err != nil {
		return nil, fmt.Errorf("%s of the subject: %w", name, err)
	}
	return []revocation.Event{e}, nil
}

// simple reads a subject that is no complex one. What an opaque subject of
// session-revoked names is either a session or a user: both are revoked.
func (t Transmitter) simple(subject claims.Set, ofSession bool) ([]revocation.Event, error) {
	format, err := formatOf(subject)
	if err != nil {
		return nil, err
	}
	if format == "aliases" {
		return t.aliases(subject, ofSession)
	}
	if format == "jwt_id" && ofSession {
		return t.member("jwt_id", map[string]any(subject), t.session)
	}
	events, err := t.member("user", map[string]any(subject), t.user)
	if err == nil && format == "opaque" && ofSession {
		session := events[0]
		session.Kind = revocation.Session
		events = append(events, session)
	}
	return events, err
}

// maxAliases is how many identifiers a subject may have.
const maxAliases = 16

// aliases are identifiers of one subject: those that can be used are.
func (t Transmitter) aliases(subject claims.Set, ofSession bool) ([]revocation.Event, error) {
	list, isList := subject["identifiers"].([]any)
	if !isList || len(list) == 0 || len(list) > maxAliases {
		return nil, fmt.Errorf("the subject needs a list of 1 to %d identifiers", maxAliases)
	}
	var events []revocation.Event
	var problems []error
	for _, one := range list {
		identifier, isObject := one.(map[string]any)
		if format, err := formatOf(identifier); !isObject || err != nil || format == "aliases" || format == "complex" {
			return nil, errors.New("an identifier of the subject is none")
		}
		more, err := t.simple(identifier, ofSession)
		if err != nil {
			problems = append(problems, err)
		}
		events = append(events, more...)
	}
	if len(events) == 0 {
		return nil, errors.Join(problems...)
	}
	return events, nil
}

// formatOf is the format of an identifier. Complex subjects of drafts have none, and
// RISC had subject_type and a hyphen.
func formatOf(identifier claims.Set) (string, error) {
	format, err := identifier.Text("format")
	if err != nil {
		return "", err
	}
	if format == "" {
		old, err := identifier.Text("subject_type")
		if err != nil || old != "iss-sub" {
			return "", errors.New("the subject has no format (RFC 9493)")
		}
		return "iss_sub", nil
	}
	return format, nil
}

func (t Transmitter) user(identifier claims.Set) (revocation.Event, error) {
	format, err := formatOf(identifier)
	if err != nil {
		return revocation.Event{}, err
	}
	e := revocation.Event{Kind: revocation.Subject, Issuer: t.Issuer}
	switch format {
	case "iss_sub":
		return t.ofIssuer(e, identifier, "sub")
	case "opaque":
		e.Value, err = needed(identifier, "id")
	case "email":
		if !t.EmailIsSubject {
			return e, errors.New("the format email says nothing here: subjects of credentials are no addresses (email_is_subject)")
		}
		e.Value, err = needed(identifier, "email")
	default:
		return e, fmt.Errorf("the format %.40q is not known here; want iss_sub or opaque", format)
	}
	return e, err
}

// session reads an identifier of a session, which CAEP writes like one of a user, or of
// one token.
func (t Transmitter) session(identifier claims.Set) (revocation.Event, error) {
	format, err := formatOf(identifier)
	if err != nil {
		return revocation.Event{}, err
	}
	e := revocation.Event{Kind: revocation.Session, Issuer: t.Issuer}
	switch format {
	case "iss_sub":
		return t.ofIssuer(e, identifier, "sub")
	case "jwt_id":
		e.Kind = revocation.Token
		return t.ofIssuer(e, identifier, "jti")
	case "opaque":
		e.Value, err = needed(identifier, "id")
		return e, err
	}
	return e, fmt.Errorf("the format %.40q is not known here; want opaque, iss_sub or jwt_id", format)
}

// ofIssuer keeps a transmitter to the issuers of which it may speak.
func (t Transmitter) ofIssuer(e revocation.Event, identifier claims.Set, name string) (revocation.Event, error) {
	issuer, err := needed(identifier, "iss")
	if err != nil {
		return e, err
	}
	if !slices.Contains(t.Issuers, issuer) {
		return e, errors.New("the subject is of an issuer of which this transmitter may not speak")
	}
	e.Issuer = issuer
	e.Value, err = needed(identifier, name)
	return e, err
}

// needed is a member without which an event would name everybody, or nobody.
func needed(identifier claims.Set, name string) (string, error) {
	text, err := identifier.Text(name)
	if err == nil && text == "" {
		err = fmt.Errorf("%s is absent or empty: the event names nobody", name)
	}
	return text, err
}
