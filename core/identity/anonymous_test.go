package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
)

// An upstream behind a gate that verifies tokens may read a token itself.
func TestIgnoredCredentialNeverReachesTheUpstream(t *testing.T) {
	ignored := fmt.Errorf("%w: expired", core.ErrInvalid)
	request := func() *core.Request {
		return &core.Request{Header: headers("Authorization", "Bearer a", "X_Session_Token", "b", "X-User-Id", "root", "Cookie", "theme=dark; ory_kratos_session=s")}
	}
	for name, c := range map[string]struct {
		options Options
		call    core.Call
		strip   string
		set     string
		refused error
	}{
		"ignored": {Options{Ignored: everywhere(t)}, core.Call{Anonymous: true, Ignored: ignored}, "X-User-Id Authorization X_Session_Token", "Cookie: theme=dark\n", nil},
		"good":    {Options{Ignored: everywhere(t)}, core.Call{}, "X-User-Id", "", nil},
		"hidden":  {Options{Ignored: everywhere(t), Hide: everywhere(t)}, core.Call{Anonymous: true, Ignored: ignored}, "X-User-Id Authorization X_Session_Token", "Cookie: theme=dark\n", nil},
		"ignored, at a host that removes listed headers":         {Options{Ignored: everywhere(t)}, core.Call{Anonymous: true, Ignored: ignored}, "", "", core.ErrInvalid},
		"malformed, at a host that removes listed headers":       {Options{Ignored: everywhere(t)}, core.Call{Anonymous: true, Ignored: core.ErrBadRequest}, "", "", core.ErrBadRequest},
		"hidden and ignored, at a host that removes listed ones": {Options{Ignored: everywhere(t), Hide: everywhere(t)}, core.Call{Anonymous: true, Ignored: ignored}, "X-User-Id Authorization X_Session_Token", "Cookie: theme=dark\n", nil},
		"no credential, at a host that removes listed headers":   {Options{Ignored: everywhere(t)}, core.Call{Anonymous: true}, "X-User-Id", "", nil},
		"a public call, at a host that removes listed headers":   {Options{Ignored: everywhere(t)}, core.Call{}, "X-User-Id", "", nil},
	} {
		c.options.Claims = map[string]string{"X-User-Id": "sub"}
		c.call.Request = request()
		c.call.StripsListed = strings.Contains(name, "listed")
		u, err := identity(t, c.options).Upstream(context.Background(), &c.call, nil, noPolicy{})
		if c.refused != nil {
			if !errors.Is(err, c.refused) || !strings.Contains(err.Error(), "hide_credentials") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := strings.Join(u.Strip, " "); err != nil || got != c.strip || lines(u.Set) != c.set {
			t.Errorf("%s: strip %q, set %q, %v", name, got, lines(u.Set), err)
		}
	}
}

func TestUpstreamLearnsThatACallerIsAnonymous(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub"}, Anonymous: "X-Anonymous"})
	for name, c := range map[string]struct {
		call core.Call
		p    *core.Principal
		set  string
	}{
		"anonymous": {core.Call{Anonymous: true}, nil, "X-Anonymous: true\n"},
		"ignored":   {core.Call{Anonymous: true, Ignored: core.ErrInvalid}, nil, "X-Anonymous: true\n"},
		"public":    {core.Call{}, nil, ""},
		"named":     {core.Call{}, &core.Principal{Subject: "ada"}, "X-User-Id: ada\n"},
	} {
		for _, forged := range []string{"X-Anonymous", "x_anonymous", "X_Anonymous"} {
			c.call.Request = get("/", forged, "true", "X-User-Id", "root")
			u, err := h.Upstream(context.Background(), &c.call, c.p, noPolicy{})
			if err != nil || lines(u.Set) != c.set {
				t.Errorf("%s: set %q, %v", name, lines(u.Set), err)
			}
			for _, sent := range []string{forged, "X-User-Id"} {
				isSet := func(s core.Header) bool { return strings.EqualFold(s.Name, sent) }
				if !slices.ContainsFunc(u.Strip, func(s string) bool { return strings.EqualFold(s, sent) }) && !slices.ContainsFunc(u.Set, isSet) {
					t.Errorf("%s: the client's %s reaches the upstream", name, sent)
				}
			}
		}
	}
	for want, o := range map[string]Options{
		"X-User-Id and X_User_Id are one header to many upstreams":       {Claims: map[string]string{"X-User-Id": "sub"}, Anonymous: "X_User_Id"},
		"Host frames or routes the request and cannot carry an identity": {Anonymous: "Host"},
	} {
		if _, err := New(o); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
