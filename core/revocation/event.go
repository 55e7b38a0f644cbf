// Package revocation refuses credentials that hold by themselves and do not count any
// more: a session that was ended, a subject that left, a token that leaked.
//
// An event revokes what was issued until a moment; who signs in afterwards passes. Nodes
// of a fleet tell each other of events (core/fleet/revocations). What is known is
// looked at after every cache, on every call.
package revocation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	// issued, is revoked. Zero: the publisher's now, by the clock that nodes share.
	At time.Time `json:"at"`
	// Until is when no credential that the event names can be valid any more. Zero:
	// the publisher knows how long credentials are accepted.
	Until time.Time `json:"until"`
	// Source and Reason are for logs: who said so, and why.
	Source string `json:"source,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// TokenDigest names a token without revealing it: tokens hold too much chance to be
// guessed from it.
func TokenDigest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Publisher takes events to all nodes. It returns nil once they are kept where a node
// that starts later finds them; with an error nothing may be taken for revoked.
type Publisher interface {
	Publish(ctx context.Context, events ...Event) error
}
