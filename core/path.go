package core

import (
	"gatehouse/core/httpsyntax"
	"gatehouse/core/request"
)

// PathOptions relaxes single classes of refusal for teams whose upstreams need them.
type PathOptions = httpsyntax.PathOptions

// Canonical returns the one path that a raw request target stands for, or an ErrBadRequest.
func Canonical(target string, o PathOptions) (string, error) { return request.Canonical(target, o) }
