package host

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"gatehouse/core/config/token"
)

// ofIssuer serves a document of the issuer that the parameter issuer names, which can be
// left out where there is one.
func ofIssuer(g gates, document func(token.Published) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all := g.PublishedKeys()
		names := slices.Sorted(maps.Keys(all))
		issuer := r.URL.Query().Get("issuer")
		if issuer == "" && len(names) == 1 {
			issuer = names[0]
		}
		published, known := all[issuer]
		switch {
		case len(names) == 0:
			http.Error(w, "no configuration in use mints tokens (upstream_token, gateway_token)", http.StatusNotFound)
		case !known:
			http.Error(w, fmt.Sprintf("name one with ?issuer=: %s", strings.Join(names, ", ")), http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "public, max-age=300")
			_, _ = w.Write(document(published))
		}
	})
}
