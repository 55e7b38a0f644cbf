package request

import (
	"errors"

	"gatehouse/core/httpsyntax"
)

// Canonical returns the one path that a raw request target stands for. A target
// with two readings is an error that wraps ErrBadRequest.
func Canonical(target string, o httpsyntax.PathOptions) (string, error) {
	path, err := httpsyntax.Canonical(target, o)
	if err != nil {
		return "", badPath{err}
	}
	return path, nil
}

// badPath is an error of httpsyntax that is an ErrBadRequest.
type badPath struct{ error }

func (badPath) Is(target error) bool { return target == ErrBadRequest }
func (e badPath) Unwrap() error      { return e.error }

// Malformed is an ErrBadRequest that tells the client what is wrong. Detail holds nothing
// of the request.
type Malformed struct{ Detail string }

func (e *Malformed) Error() string { return e.Detail }

// Is makes errors.Is(err, ErrBadRequest) true.
func (e *Malformed) Is(target error) bool { return target == ErrBadRequest }

// Fault is what the client reads of an ErrBadRequest.
func Fault(err error) string {
	if malformed, ok := errors.AsType[*Malformed](err); ok {
		return malformed.Detail
	}
	return "The request is malformed or has more than one meaning."
}
