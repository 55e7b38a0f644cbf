// Package actor has the parties that act for the subject of a credential (RFC 8693
// section 4.1), and the ids by which they are named.
package actor

import (
	"errors"
	"strings"
)

// Actor is a party that acts for the subject of a credential.
type Actor struct {
	Subject, Issuer, ClientID string
	// Before is who acted before, which decides nothing unless a policy says so; nil: nobody.
	Before *Actor
}

// What stands between the issuer of an actor and its sub, or its client_id where it has no
// sub. The URL of an issuer has neither a query nor a fragment (RFC 8414 section 2), so that
// an id has one reading.
const (
	SubjectMark = "#"
	ClientMark  = "?client_id="
)

// MaxID is how long an id can be, in bytes.
const MaxID = 2048

// ID names the actor and its issuer: two issuers may have actors of one name. ok is false
// where nothing could name it.
func (a *Actor) ID() (id string, ok bool) {
	name, mark := a.Subject, SubjectMark
	if name == "" {
		name, mark = a.ClientID, ClientMark
	}
	return a.Issuer + mark + name, name != "" && CheckIssuer(a.Issuer) == nil
}

// String is the id, for people.
func (a *Actor) String() string {
	id, _ := a.ID()
	return id
}

// CheckIssuer refuses an issuer that no id can name.
func CheckIssuer(issuer string) error {
	switch {
	case issuer == "":
		return errors.New("has no issuer")
	case strings.ContainsAny(issuer, "#?"):
		return errors.New("has an issuer with # or ? in it, which no issuer has (RFC 8414 section 2)")
	}
	return nil
}

// Split takes an id apart. Its parts are never empty.
func Split(id string) (issuer, mark, name string, err error) {
	end := strings.IndexAny(id, "#?")
	if end < 0 {
		return "", "", "", errForm
	}
	issuer, rest := id[:end], id[end:]
	for _, mark := range []string{SubjectMark, ClientMark} {
		if name, ok := strings.CutPrefix(rest, mark); ok && issuer != "" && name != "" {
			return issuer, mark, name, nil
		}
	}
	return "", "", "", errForm
}

var errForm = errors.New("is no id of an actor; write its issuer, # and its sub, as in https://login.example.com/#agent-7, or ?client_id= and its client_id where it has no sub")

// Parse reads an id. The error follows it.
func Parse(id string) (*Actor, error) {
	issuer, mark, name, err := Split(id)
	switch {
	case err != nil:
		return nil, err
	case mark == SubjectMark:
		return &Actor{Issuer: issuer, Subject: name}, nil
	}
	return &Actor{Issuer: issuer, ClientID: name}, nil
}

// Chain lists the actor and those before it.
func (a *Actor) Chain() (all []*Actor) {
	for ; a != nil; a = a.Before {
		all = append(all, a)
	}
	return all
}

// Same reports whether two chains name the same parties in the same order.
func Same(a, b *Actor) bool {
	for a != nil && b != nil && a.Subject == b.Subject && a.Issuer == b.Issuer && a.ClientID == b.ClientID {
		a, b = a.Before, b.Before
	}
	return a == nil && b == nil
}

// Claim is the chain as the claim act.
func (a *Actor) Claim() map[string]any {
	act := map[string]any{}
	for name, value := range map[string]string{"sub": a.Subject, "iss": a.Issuer, "client_id": a.ClientID} {
		if value != "" {
			act[name] = value
		}
	}
	if a.Before != nil {
		act["act"] = a.Before.Claim()
	}
	return act
}
