package core

import (
	"context"
	"strings"
	"testing"
)

// TestReturnAddressHasTheSchemeOfTheTrustedProxy: what the configuration says
// is for hosts that cannot tell.
func TestReturnAddressHasTheSchemeOfTheTrustedProxy(t *testing.T) {
	g, _ := testGate(t, nil)
	for scheme, want := range map[string]string{"": "https", "https": "https", "http": "http"} {
		r := get("/private", "Accept", "text/html")
		r.Scheme = scheme
		if location := header(g.Check(context.Background(), r), "Location"); !strings.HasSuffix(location, "return_to="+want+"%3A%2F%2Fapp.test%2Fprivate") {
			t.Errorf("scheme %q: sent to %s, want %s", scheme, location, want)
		}
	}
}
