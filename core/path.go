package core

import "gatehouse/core/httpsyntax"

// PathOptions relaxes single classes of refusal for teams whose upstreams
// need them.
type PathOptions = httpsyntax.PathOptions

// Canonical returns the one path that a raw request target stands for. A target
// with two readings is an error that wraps ErrBadRequest.
func Canonical(target string, o PathOptions) (string, error) {
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
