package core

import (
	"errors"
	"testing"

	"gatehouse/core/httpsyntax"
)

func TestPathWithTwoReadingsIsABadRequest(t *testing.T) {
	_, err := Canonical("/a/../b", PathOptions{})
	var path *httpsyntax.PathError
	if !errors.Is(err, ErrBadRequest) || !errors.As(err, &path) || err.Error() != "ambiguous path: dot segment" {
		t.Errorf("%v", err)
	}
}
