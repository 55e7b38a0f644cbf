package identity

import (
	"strings"
	"testing"

	"gatehouse/core"
)

// TestForgedXActorNeverReachesTheUpstream: the upstream learns who acts for the caller from
// the credential alone, also where nobody does, and where a claim is named like it.
func TestForgedXActorNeverReachesTheUpstream(t *testing.T) {
	told := ""
	h := identity(t, Options{Claims: map[string]string{"X-Actor": ActorClaim}, Absent: func(header, _ string, _ bool) { told += header }})
	const issuer, id = "https://login.example.com/", "https://login.example.com/#agent-7"
	claims := map[string]any{"actor": "root", "act": map[string]any{"sub": "root"}}
	for name, c := range map[string]struct {
		caller *core.Principal
		want   string
	}{
		"a public call":               {nil, ""},
		"nobody acts":                 {&core.Principal{Subject: "ada", Issuer: issuer, Claims: claims}, ""},
		"an agent acts":               {&core.Principal{Subject: "ada", Issuer: issuer, Claims: claims, Actor: &core.Actor{Issuer: issuer, Subject: "agent-7"}}, "X-Actor: " + id + "\n"},
		"an agent acts after another": {&core.Principal{Subject: "ada", Actor: &core.Actor{Issuer: issuer, Subject: "agent-7", Before: &core.Actor{Issuer: issuer, Subject: "web"}}}, "X-Actor: " + id + "\n"},
		"a client acts":               {&core.Principal{Subject: "ada", Actor: &core.Actor{Issuer: issuer, ClientID: "batch"}}, "X-Actor: https://login.example.com/?client_id=batch\n"},
		"nobody says of what issuer":  {&core.Principal{Subject: "ada", Actor: &core.Actor{Subject: "agent-7"}}, ""},
	} {
		call := &core.Call{Request: get("/", "x-actor", "", "X-Actor", id, "X_ACTOR", id)}
		u, err := h.Upstream(t.Context(), call, c.caller, noPolicy{})
		if err != nil || lines(u.Set) != c.want {
			t.Errorf("%s: %v, %q", name, err, lines(u.Set))
		}
		for _, spelt := range []string{"X-Actor", "X_ACTOR"} {
			set := strings.Contains(lines(u.Set), spelt+":")
			if stripped := strings.Contains(" "+strings.Join(u.Strip, " ")+" ", " "+spelt+" "); !stripped && !set {
				t.Errorf("%s: the client's %s stays", name, spelt)
			}
		}
	}
	if told != "" {
		t.Errorf("%s is said to be absent, as it is for most callers", told)
	}
}

func TestActorThatWouldForgeAHeaderIsRefused(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{"X-Actor": ActorClaim}})
	for _, name := range []string{"a\r\nX-User-Id: root", "a\x00", "a ", "\u202eroot\x1b[0m"} {
		p := &core.Principal{Subject: "ada", Actor: &core.Actor{Issuer: "https://i", Subject: name}}
		if u, err := h.Upstream(t.Context(), &core.Call{Request: get("/")}, p, noPolicy{}); err == nil {
			t.Errorf("%q: set %q", name, lines(u.Set))
		}
	}
}
