package core

import (
	"errors"
	"strings"
	"time"

	"gatehouse/core/request"
)

// The sentinels below are the whole vocabulary of refusal. Any error that
// wraps none of them means "could not tell" and becomes 503.
var (
	// ErrBadRequest: the request has two readings or is malformed (400).
	ErrBadRequest = request.ErrBadRequest
	// ErrMissing: no credential where one is needed (401 or a login redirect).
	ErrMissing = errors.New("no credential")
	// ErrInvalid: a credential that does not hold (401 or a login redirect).
	ErrInvalid = errors.New("invalid credential")
	// ErrUnsettled beside ErrInvalid: a credential that may hold in a moment, so
	// that no cache keeps the refusal.
	ErrUnsettled = errors.New("may hold in a moment")
	// ErrForbidden: a caller, known or not, who may not do this (403).
	ErrForbidden = errors.New("forbidden")
	// ErrNoConsumer: a caller who is to be a consumer of the gateway, and is none (403).
	ErrNoConsumer = errors.New("no consumer")
	// ErrTooLarge: more headers than the gateway can show in full (431).
	ErrTooLarge = errors.New("request header fields too large")
	// ErrBodyTooLarge: more of a body than an endpoint takes (413).
	ErrBodyTooLarge = request.ErrBodyTooLarge
	// ErrTooMany: a client that has to wait (429).
	ErrTooMany = errors.New("too many attempts")
)

// Later is an error that says, in the Retry-After of 429 and 503, when to try again.
type Later struct {
	Err  error
	Wait time.Duration
}

func (e *Later) Error() string { return e.Err.Error() }
func (e *Later) Unwrap() error { return e.Err }

// InsufficientScope is an ErrForbidden that knows which scopes would have
// been enough; RFC 6750 section 3.1 lets the client read them.
type InsufficientScope struct {
	Scopes []string
	// Detail is for the log: what was missing, in the operator's words.
	Detail string
}

func (e *InsufficientScope) Error() string {
	msg := "insufficient scope"
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	if len(e.Scopes) > 0 {
		msg += " (enough: " + strings.Join(e.Scopes, " ") + ")"
	}
	return msg
}

// Is makes errors.Is(err, ErrForbidden) true.
func (e *InsufficientScope) Is(target error) bool { return target == ErrForbidden }

// BadProof is an ErrInvalid: the proof of possession beside a credential is absent or
// does not hold for this call (RFC 9449 section 7.1).
type BadProof struct {
	// Code is the error code of the challenge.
	Code string
	// Header goes to the client with the refusal, such as a nonce.
	Header []Header
	// Err is for the log.
	Err error
}

func (e *BadProof) Error() string   { return "invalid proof of possession: " + e.Err.Error() }
func (e *BadProof) Unwrap() []error { return []error{ErrInvalid, e.Err} }

// StepUp asks for a stronger or a more recent authentication (RFC 9470).
type StepUp struct {
	// AAL is the assurance level that is needed, such as "aal2"; empty when
	// only the age of the authentication is at fault.
	AAL string
	// MaxAge is the greatest age of the authentication; zero when the age
	// does not matter.
	MaxAge time.Duration
}

func (e *StepUp) Error() string {
	var need []string
	if e.AAL != "" {
		need = append(need, "assurance level "+e.AAL)
	}
	if e.MaxAge > 0 {
		need = append(need, "an authentication no older than "+e.MaxAge.String())
	}
	return "insufficient user authentication: needs " + strings.Join(need, " and ")
}

// Is makes errors.Is(err, ErrInvalid) true: the credential does not hold for
// this call, and authenticating again can mend it.
func (e *StepUp) Is(target error) bool { return target == ErrInvalid }
