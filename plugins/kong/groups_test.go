package main

import (
	"reflect"
	"slices"
	"testing"
)

const (
	withGroups = "authenticated_groups_claim: roles"
	setShared  = "kong.ctx.shared.set"
	headersSet = "kong.service.request.set_headers"
)

func bearer(token string) map[string]any {
	return map[string]any{"authorization": "Bearer " + token}
}

// The groups are what Kong's acl plugin reads, and cost one exchange, before
// the one that lets the request go on.
func TestGroupsAreOneMoreExchange(t *testing.T) {
	s := &kongSide{line: "GET /me HTTP/1.1", headers: bearer("role-admin")}
	s.access(t, testHandler(t, withGroups))
	if want := []string{getLine, "kong.request.get_headers", setShared, headersSet}; !slices.Equal(s.calls, want) {
		t.Errorf("%v, want %v", s.calls, want)
	}
	if want := map[string]any{"authenticated_groups": []any{"admin", "staff"}}; !reflect.DeepEqual(s.shared, want) {
		t.Errorf("shared %v, want %v", s.shared, want)
	}
}

// A caller without groups is in none, for which acl responds with 403; where
// no plugin has set groups it would respond with 401.
func TestCallerWithoutGroupsIsInNone(t *testing.T) {
	s := &kongSide{line: "GET /me HTTP/1.1", headers: bearer("good")}
	s.access(t, testHandler(t, withGroups))
	if list, ok := s.shared["authenticated_groups"].([]any); !ok || len(list) != 0 {
		t.Errorf("shared %v, want an empty list", s.shared)
	}
}

func TestClientDoesNotChooseItsGroups(t *testing.T) {
	s := &kongSide{line: "GET /me?roles=root HTTP/1.1", headers: bearer("role-admin")}
	for _, name := range []string{"x-authenticated-groups", "x_authenticated_groups", "authenticated_groups", "roles"} {
		s.headers[name] = []any{"root", "root"}
	}
	s.access(t, testHandler(t, withGroups))
	if want := []any{"admin", "staff"}; !reflect.DeepEqual(s.shared["authenticated_groups"], want) {
		t.Errorf("shared %v, want %v", s.shared, want)
	}
	for _, name := range []string{"X-Authenticated-Groups", "x_authenticated_groups"} {
		if value, set := s.set[name]; !set || !reflect.DeepEqual(value, []any{}) {
			t.Errorf("the client's %s reaches the upstream: %v", name, s.set)
		}
	}
}

func TestGroupsAreNotLeftFromAnotherRequest(t *testing.T) {
	h := testHandler(t, withGroups)
	for _, c := range []struct {
		path, token string
		want        []any // nil: not set
	}{
		{"/me", "role-admin", []any{"admin", "staff"}},
		{"/me", "role-guest", []any{"guest", "staff"}},
		{"/me", "good", []any{}},
		{"/public", "role-admin", nil},
		{"/users", "role-admin", nil}, // refused
		{"/me", "bad", nil},
	} {
		s := &kongSide{line: "GET " + c.path + " HTTP/1.1", headers: bearer(c.token)}
		s.access(t, h)
		if got, _ := s.shared["authenticated_groups"].([]any); !slices.Equal(got, c.want) || (s.shared == nil) != (c.want == nil) {
			t.Errorf("%s with %s: groups %v, want %v", c.path, c.token, got, c.want)
		}
	}
}

func TestPublicRouteSetsNoGroups(t *testing.T) {
	s := &kongSide{line: "GET /public HTTP/1.1", headers: bearer("role-admin")}
	s.access(t, testHandler(t, withGroups))
	if slices.Contains(s.calls, setShared) || s.calls[len(s.calls)-1] != headersSet {
		t.Errorf("%v", s.calls)
	}
}

func TestNoGroupsWithoutTheSetting(t *testing.T) {
	s := &kongSide{line: "GET /me HTTP/1.1", headers: bearer("role-admin")}
	s.access(t, testHandler(t))
	if slices.Contains(s.calls, setShared) {
		t.Errorf("%v", s.calls)
	}
}
