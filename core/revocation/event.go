// Package revocation refuses credentials that hold by themselves and do not count any
// more: a session that was ended, a subject that left, a token that leaked.
//
// An event revokes what was issued until a moment; who signs in afterwards passes. Nodes
// of a fleet tell each other of events (core/fleet/revocations). What is known is
// looked at after every cache, on every call.
package revocation

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what an event revokes.
type Kind string

// The kinds of events.
const (
	Session Kind = "session" // all credentials of one session: of Kratos, or by the claim sid
	Subject Kind = "subject" // all credentials of one subject
	Client  Kind = "client"  // all tokens that were issued to one client
	Token   Kind = "token"   // one token, by TokenDigest or by the claim jti
	Issuer  Kind = "issuer"  // all credentials of one issuer
)

// Event revokes credentials. It holds no credential.
type Event struct {
	// ID tells this event from any other. One that comes twice is one.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Value names what is revoked. Of an issuer it is empty.
	Value string `json:"value,omitempty"`
	// Issuer is the issuer of the session, the subject, the client or the jti; empty:
	// whichever it is.
	Issuer string `json:"issuer,omitempty"`
	// Verify has every credential that the event names asked about at its provider
	// once more, instead of refused: what is active there stays. One that cannot be
	// asked about anywhere is refused.
	Verify bool `json:"verify,omitempty"`
	// At is the moment: what was issued until then, and what does not say when it was
	// issued, is revoked. A session and a token are revoked as a whole: neither comes
	// back, whatever a later token of the session says. Zero: the publisher's now, by
	// the clock that nodes share.
	At time.Time `json:"at"`
	// Until is when no credential that the event names can be valid any more. Zero:
	// the publisher knows how long credentials are accepted.
	Until time.Time `json:"until"`
	// Source and Reason are for logs: who said so, and why.
	Source string `json:"source,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// The most that an event holds, in bytes. Texts for logs are cut.
const (
	maxID    = 128
	maxValue = 2048
	maxText  = 256
)

// maxAhead is how far in the future an event can be: as far as clocks may differ, that
// of a node and that which nodes share. One
// further ahead would keep a subject out for as long.
const maxAhead = time.Hour

// Check reports why an event cannot be kept.
func (e Event) Check() error {
	switch e.Kind {
	case Session, Subject, Client, Token:
		if e.Value == "" {
			return fmt.Errorf("the event names no %s", e.Kind)
		}
	case Issuer:
		if e.Value != "" || e.Issuer == "" {
			return errors.New("an event of an issuer names the issuer, and no value")
		}
	default:
		return fmt.Errorf("the event is of the kind %.40q; want session, subject, client, token or issuer", e.Kind)
	}
	if e.Kind == Token && isDigest(e.Value) {
		if d, err := hex.DecodeString(e.Value[len(digestPrefix):]); err != nil || len(d) != sha256.Size || strings.ToLower(e.Value) != e.Value {
			return errors.New("the event names a token by a digest that is none; want sha256: and 64 lower-case hexadecimal digits")
		}
	}
	switch {
	case e.ID == "" || len(e.ID) > maxID:
		return fmt.Errorf("the event has an id of %d bytes; want 1 to %d", len(e.ID), maxID)
	case len(e.Value) > maxValue || len(e.Issuer) > maxValue:
		return fmt.Errorf("the event names a %s of more than %d bytes", e.Kind, maxValue)
	case e.At.IsZero() || e.Until.IsZero():
		return errors.New("the event does not say from when (at) and until when (until) it holds")
	}
	return nil
}

// keepAtMost bounds how long an event stays, whatever it says.
const keepAtMost = 400 * 24 * time.Hour

// bounded cuts what is for logs, and what would hold forever or from a moment that is
// not near.
func (e Event) bounded(now time.Time) Event {
	if latest := now.Add(maxAhead); e.At.After(latest) {
		e.At = latest
	}
	if latest := e.At.Add(keepAtMost); e.Until.After(latest) {
		e.Until = latest
	}
	e.Source, e.Reason = cut(e.Source), cut(e.Reason)
	return e
}

func cut(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ToValidUTF8(text, "")
}

// with is one event for two about the same: it revokes what either does.
func (e Event) with(other Event) Event {
	if other.At.Before(e.At) {
		e, other = other, e
	}
	other.Until = later(e.Until, other.Until)
	return other
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

const digestPrefix = "sha256:"

func isDigest(value string) bool { return strings.HasPrefix(value, digestPrefix) }

// TokenDigest names a token without revealing it: tokens hold too much chance to be
// guessed from it. Of a JWT the signature is left out: whoever holds the token can
// write the signature otherwise.
func TokenDigest(token string) string {
	if signed, isJWT := signedPart(token); isJWT {
		token = signed
	}
	return digest(token)
}

// signedPart is a JWT without its signature.
func signedPart(token string) (signed string, isJWT bool) {
	if strings.Count(token, ".") != 2 {
		return "", false
	}
	return token[:strings.LastIndexByte(token, '.')], true
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return digestPrefix + hex.EncodeToString(sum[:])
}

// Identified are events each with an ID, so that one which is published again is one.
func Identified(events []Event) []Event {
	events = slices.Clone(events)
	for i := range events {
		if events[i].ID == "" {
			events[i].ID = rand.Text()
		}
	}
	return events
}

// Stamped is the event with its moment, and with how long it is kept, where it has none.
func (e Event) Stamped(now time.Time, life time.Duration) Event {
	if e.At.IsZero() {
		e.At = now
	}
	if e.Until.IsZero() {
		e.Until = e.At.Add(life)
	}
	return e
}

// Publisher takes events to all nodes. It returns nil once they are kept where a node
// that starts later finds them; with an error nothing may be taken for revoked.
type Publisher interface {
	Publish(ctx context.Context, events ...Event) error
}
