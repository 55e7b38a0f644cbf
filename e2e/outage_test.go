package e2e

import (
	"testing"

	"gatehouse/e2e/vector"
)

// Kratos and then Hydra stop under load: what can still be known gets its decision
// rightly, everything else with 503. /live asks them about every request.
func TestStoppedIdentityProviderLetsNoRequestThrough(t *testing.T) {
	s := ownEnvironment(t)
	bySession := kind{name: "ada by session", path: "/live/users/1", headers: sessionCookie(s.Credentials.Session.Cookie), right: vector.Allow, user: s.Ada.ID}
	byToken := kind{name: "ada by token", path: "/live/users/1", headers: bearer(s.Credentials.Opaque.AccessToken), right: vector.Allow, user: s.Ada.ID}
	byJWT := kind{name: "ada by JWT", path: "/users/1", headers: bearer(s.Credentials.JWT.AccessToken), right: vector.Allow, user: s.Ada.ID}
	intruder := kind{name: "intruder", path: "/live/users/1", headers: sessionCookie("MTc2MzEwMDAwMHxndWVzc2Vk"), right: vector.InvalidToken}
	kinds := strangersAnd(bySession, byToken, byJWT, intruder)

	unavailable := func(c vector.Class) bool { return c == vector.Unavailable }
	var loads []*load
	for _, url := range s.gatewayURLs() {
		loads = append(loads, startLoad(t, url, unavailable, kinds...))
	}
	is := func(class vector.Class) func(kind) vector.Class { return func(kind) vector.Class { return class } }
	for _, l := range loads {
		l.awaitRight(20)
	}
	s.Kratos.Stop()
	for _, l := range loads {
		l.await(20, is(vector.Unavailable), bySession)
		l.await(20, is(vector.Allow), byToken, byJWT)
	}
	s.Hydra.Stop()
	for _, l := range loads {
		l.await(20, is(vector.Unavailable), bySession, byToken)
		l.await(20, is(vector.Allow), byJWT) // verified with the keys at hand
		l.check(s.Upstreams)
	}
	for _, l := range loads {
		for _, k := range []kind{byJWT} {
			if n := l.count(k.name, vector.Unavailable); n > 0 {
				t.Errorf("%s was responded with 503 %d times, though its keys were at hand", k.name, n)
			}
		}
	}
}
