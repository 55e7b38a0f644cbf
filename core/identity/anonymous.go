package identity

import (
	"fmt"

	"gatehouse/core"
	"gatehouse/core/extract"
)

// addAnonymous adds the header that tells of a caller without a name to those that
// no client may send.
func (h *Headers) addAnonymous() error {
	if h.anonymous == "" {
		return nil
	}
	if err := checkHeaderName(h.anonymous); err != nil {
		return err
	}
	if other, twice := h.named(h.anonymous); twice {
		return fmt.Errorf("%s and %s are one header to many upstreams", other, h.anonymous)
	}
	h.strip = append(h.strip, h.anonymous)
	return nil
}

// hidden returns what knows the places that credentials are removed from, for one
// call; nil: they stay. A credential that does not hold goes no further where it was
// ignored: an upstream that reads the token itself would take it for a verified one.
// A host that cannot keep it back refuses it.
func (h *Headers) hidden(call *core.Call) (*extract.Extractor, error) {
	switch {
	case h.hide != nil || call.Ignored == nil:
		return h.hide, nil
	case call.StripsListed:
		return nil, fmt.Errorf("%w; it is refused and not ignored, because the proxy could not remove it from the request: set hide_credentials", call.Ignored)
	}
	return h.ignored, nil
}
