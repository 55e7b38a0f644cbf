package offlinetest_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
	"gatehouse/internal/offline"
)

// The claims of a token of the gate are decided as the gate decides the token.
func TestTokenOfTheGateIsDecidedOfflineAsByTheGate(t *testing.T) {
	key, err := signing.Generate("EdDSA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signing.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := keys.Private()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err == nil {
		err = os.WriteFile(path, private, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	const table = `{permissions: {read: {activities: ["GET /orders"]}, op: {activities: [{methods: [GET], path: /op, require: {when: "claims.iss == 'https://op.test'"}}]}}, roles: {clerk: [read, op]}}`
	text := fmt.Sprintf("permission_table: %q\ngateway_token: {issuer: 'https://g.test', audience: [a], keys: ['$file://%s']}\n", table, path)
	c, err := config.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	file, err := tablefile.Parse("table", []byte(table))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	tool, err := offline.New(c, core.PathOptions(c.Path), inspect.New(compiled, file))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*gatewaytoken.Options, *core.Principal){
		"as it is":               func(*gatewaytoken.Options, *core.Principal) {},
		"without a role":         func(_ *gatewaytoken.Options, p *core.Principal) { p.Roles = nil },
		"with a permission":      func(_ *gatewaytoken.Options, p *core.Principal) { p.Roles, p.Permissions = nil, []string{"read"} },
		"of another provider":    func(_ *gatewaytoken.Options, p *core.Principal) { p.Issuer = "https://other.test" },
		"of another gate":        func(o *gatewaytoken.Options, _ *core.Principal) { o.Place.Issuer = "https://other.test" },
		"for another audience":   func(o *gatewaytoken.Options, _ *core.Principal) { o.Audience = []string{"b"} },
		"roles in another claim": func(o *gatewaytoken.Options, _ *core.Principal) { o.PermissionsClaim = "perms" },
		"permissions in another": func(o *gatewaytoken.Options, p *core.Principal) {
			o.PermissionsClaim, p.Roles, p.Permissions = "perms", nil, []string{"read"}
		},
	} {
		o := gatewaytoken.Options{Place: mint.Place{Issuer: "https://g.test"}, Keys: keys, Audience: []string{"a"}, Lifetime: time.Hour, PermissionsClaim: "permissions", Now: time.Now}
		p := &core.Principal{Subject: "u", Issuer: "https://op.test", ClientID: "app", SessionID: "s", Roles: []string{"clerk"}}
		change(&o, p)
		tokens, err := gatewaytoken.New(o)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := tokens.Issue(p, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(issued.Token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		claims, err := offline.DecodeClaims(payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{"/orders", "/op", "/other"} {
			want := gate.Check(t.Context(), &core.Request{Method: "GET", Target: target, Header: []core.Header{{Name: "Authorization", Value: "Bearer " + issued.Token}}})
			got, err := tool.Decide(t.Context(), &core.Request{Method: "GET", Target: target}, &offline.Caller{Claims: claims, AuthAge: -1})
			if err != nil || got.Outcome != want.Outcome || got.Status != want.Status {
				t.Errorf("%s, %s: the gate says %d (%v), the tool %d (%v), %v", name, target, want.Status, want.Cause, got.Status, got.Cause, err)
			}
		}
	}
}
