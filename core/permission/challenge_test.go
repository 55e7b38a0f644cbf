package permission_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// TestChallengeNamesNoScopeOfAnActivityWhoseConditionDoesNotHold: two activities cover
// the call, and the first one applies to other callers or calls. A client that is
// told its scope would ask for one that opens nothing.
func TestChallengeNamesNoScopeOfAnActivityWhoseConditionDoesNotHold(t *testing.T) {
	caller := &core.Principal{Kind: core.KindJWT, Subject: "u", Claims: map[string]any{"sub": "u"}}
	for condition, known := range map[string]bool{
		"method == 'POST'":                              true,
		"headers['x-a'] == 'b'":                         true,
		"query.a == 'b'":                                true,
		"path.id == '8'":                                true,
		"path.id == '8' && claims.sub == 'u'":           true,
		"claims.sub == 'u' && path.id == '8'":           true,
		"claims.sub == 'v'":                             false, // a caller without a credential may be v
		"claims.sub == path.id || claims.admin == true": false,
		"!has(claims.sub)":                              false,
	} {
		for _, require := range []string{"{when: \"" + condition + "\"}", "{all_scopes: [more], when: \"" + condition + "\"}"} {
			table := mustCompile(t, `
permissions:
  wrong: {activities: [{methods: [GET], path: "/x/(?P<id>[0-9]+)", require: `+require+`}]}
  right: {activities: [{methods: [GET], path: "/x/(?P<id>[0-9]+)", require: {when: path.id == '7'}}]}
authenticated: [{methods: [GET], path: "/x/(?P<id>[0-9]+)", override: true, require: `+require[:1]+"any_scope: [other], when: \""+condition+"\"}"+`}]
`)
			c := &core.Call{Request: &core.Request{Method: "GET", Target: "/x/7", Host: "h"}, Path: "/x/7"}
			access := table.Match(context.Background(), c)
			var lacking *core.InsufficientScope
			if err := access.Allows(context.Background(), c, caller); !errors.As(err, &lacking) || !slices.Equal(lacking.Scopes, []string{"right"}) {
				t.Errorf("%s: refused with %v, want the scope right", require, err)
			}
			if scopes := access.Scopes(c, caller); !slices.Equal(scopes, []string{"right"}) {
				t.Errorf("%s: the challenge to a caller names %v", require, scopes)
			}
			if scopes := access.Scopes(c, nil); known && !slices.Equal(scopes, []string{"right"}) {
				t.Errorf("%s: the challenge to a client without a credential names %v", require, scopes)
			}
		}
	}
}

func mustCompile(t *testing.T, text string) *permission.Table {
	t.Helper()
	file, err := tablefile.Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
