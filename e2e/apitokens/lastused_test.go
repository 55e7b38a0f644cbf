package apitokens

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
)

func TestLastUseIsThatOfAnAcceptedToken(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{Permissions: []string{"orders:read"}}, false)
	want := manage.Request{Owner: nightly, Grants: apitoken.Grants{Permissions: []string{"orders:read"}}}
	good, _ := r.create(want)
	revoked, record := r.create(want)
	if err := r.manager.Revoke(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	want.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	elsewhere, _ := r.create(want)
	want.Networks, want.Hosts = nil, []string{"other.example.test"}
	otherHost, _ := r.create(want)
	addresses, _ := services(t, 1, r.server.Addr, "", "last_used_interval: 1")
	for token, want := range map[string]int{good: http.StatusOK, revoked: 401, elsewhere: 401, otherHost: 401} {
		if got := status(t, addresses[0], "Authorization", "Bearer "+token); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	await(t, "the use is written", func() bool {
		found, err := r.manager.Find(t.Context(), good)
		return err == nil && time.Since(found.LastUsed) < time.Minute
	})
	for _, token := range []string{revoked, elsewhere, otherHost} {
		if found, err := r.manager.Find(t.Context(), token); err != nil || !found.LastUsed.IsZero() {
			t.Errorf("a use that was refused counts: %+v, %v", found, err)
		}
	}
}
