package openapi

import (
	"context"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

func document(security string) string {
	return `openapi: 3.1.0
paths:
  /a/{id}:
    get: {operationId: a, security: ` + security + `}
components: {securitySchemes: {oauth: {type: oauth2}, token: {type: http, scheme: bearer}}}
`
}

func compile(t testing.TB, text string, by By) *permission.Table {
	t.Helper()
	d, err := Read("api", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return compiled(t, d, by)
}

func compiled(t testing.TB, d *Document, by By) *permission.Table {
	t.Helper()
	written, err := d.Table(by).YAML()
	if err != nil {
		t.Fatal(err)
	}
	file, err := tablefile.Parse("table", written)
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func call(method, path string) *core.Call {
	return &core.Call{Request: &core.Request{Method: method, Target: path, Host: "h"}, Path: path}
}

func TestUnreadableSecurityOpensNothing(t *testing.T) {
	everything := &core.Principal{Kind: core.KindJWT, Scopes: []string{"s", "a", "two", "words", "oauth", "token"}}
	for _, security := range []string{
		"null", "{}", "''", "oauth", "[null]", "[[]]", "[oauth]", "[{oauth: null}]", "[{oauth: s}]", "[{oauth: {s: s}}]", "[{oauth: ['two words']}]", "[{oauth: ['']}]",
		"[{token: [s]}]", "[{nowhere: []}]", "[{token: [], oauth: [s]}]",
	} {
		for _, by := range []By{ByOperation, ByTag, ByScope} {
			access := compile(t, document(security), by).Match(context.Background(), call("GET", "/a/1"))
			if access != nil && (access.Public() || access.Allows(context.Background(), call("GET", "/a/1"), everything) == nil) {
				t.Errorf("security: %s by %s: the call is open", security, by)
			}
		}
	}
}

// An operation with and without a credential is optional: its caller is named where
// there is one.
func TestOperationThatTakesACredentialAndDoesWithoutIsOptional(t *testing.T) {
	for security, want := range map[string]string{
		"[]": "public", "[{}]": "public", "[{}, {}]": "public", "[{}, {oauth: []}]": "optional", "[{oauth: [s]}, {}]": "optional",
		"[{oauth: [s]}, {token: []}, {}]": "optional", "[{oauth: []}]": "closed", "[{oauth: [s]}]": "closed", "[{}, null]": "optional",
	} {
		for _, by := range []By{ByOperation, ByTag, ByScope} {
			c := call("GET", "/a/1")
			access := compile(t, document(security), by).Match(context.Background(), c).(core.AnonymousAccess)
			got := "closed"
			switch {
			case access.Public():
				got = "public"
			case access.AllowsAnonymous(context.Background(), c) == nil:
				got = "optional"
			}
			if got != want {
				t.Errorf("security: %s by %s: %s, want %s", security, by, got, want)
			}
		}
	}
}

func TestParameterDoesNotCrossSegments(t *testing.T) {
	table := compile(t, document("[]"), ByOperation)
	for path, want := range map[string]bool{"/a/1": true, "/a/é": true, "/a/1/2": false, "/a/": false, "/a": false, "/a/1?x": false, "/x/a/1": false} {
		if got := table.Match(context.Background(), call("GET", path)) != nil; got != want {
			t.Errorf("%s: covered %v, want %v", path, got, want)
		}
	}
}

// FuzzTableLoads: whatever a document holds, its table loads, and a caller
// without a credential gets to what the document calls public and nothing else.
func FuzzTableLoads(f *testing.F) {
	for _, s := range []string{"[]", "[{}]", "[{}, {oauth: [s]}]", "[{oauth: []}, {}]", "[{oauth: [s]}, {oauth: [a, b]}]", "[{oauth: ['a,b', 'role:x', \"\\u0085\"]}]"} {
		f.Add(document(s))
	}
	f.Add("openapi: 3.0.0\npaths:\n  /a/{x}.{y}/:z/(b)*/\\Q/%41/\"é #\": {get: {tags: ['role:', ', ,', \"\\n# x\"], description: x}}\n")
	f.Add("openapi: 3.0.0\nservers: [{url: 'http://h:1/v1'}]\npaths: {/: &x {get: {security: []}}, /a: *x, /{a}: {get: {}}, '/a{b}': {post: {operationId: \"\\0\"}}}\n")
	f.Add("openapi: 3.0.0\npaths: {/é: {$ref: '#/paths/~1b~0'}, /b~: {get: {tags: [a]}, put: {tags: [a b]}, post: {tags: [a-b]}}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Read("api", []byte(text), Options{})
		if err != nil {
			return
		}
		for _, by := range []By{ByOperation, ByTag, ByScope} {
			table := compiled(t, d, by)
			for _, o := range d.Operations {
				path := strings.Join(o.parts, "x")
				access := table.Match(context.Background(), call(o.Method, path))
				if access == nil {
					t.Errorf("%s by %s: %s is not covered", o, by, path)
				} else if open := access.(core.AnonymousAccess).AllowsAnonymous(context.Background(), call(o.Method, path)) == nil; open && !o.Public() && !otherwisePublic(d, o, path) {
					t.Errorf("%s by %s: %s is public", o, by, path)
				}
			}
		}
	})
}

// otherwisePublic reports whether another operation on the path is public.
func otherwisePublic(d *Document, o *Operation, path string) bool {
	for _, other := range d.Operations {
		if other != o && other.Method == o.Method && other.Public() && other.language.Contains(path) {
			return true
		}
	}
	return false
}
