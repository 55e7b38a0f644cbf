package openapi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gatehouse/core"
)

// referred are files beside the document.
var referred = map[string]string{
	"op.yaml":        "summary: Read a\noperationId: a\nsecurity: [{oauth: [s]}]\n",
	"chain.yaml":     "$ref: op.yaml\n",
	"loop.yaml":      "$ref: loop.yaml\n",
	"item.yaml":      "get: {$ref: op.yaml}\n",
	"dir/item.yaml":  "get: {$ref: ../op.yaml}\n",
	"whole.yaml":     "openapi: 3.1.0\nsecurity: [{oauth: [s]}]\npaths: {/a: {get: {operationId: a}}}\n",
	"inner.yaml":     "get: {$ref: '#/ops/a'}\nops: {a: {operationId: a, security: [{oauth: [s]}]}}\n",
	"broken.yaml":    "a: [",
	"nothing.yaml":   "just text",
	"mergeItem.yaml": "x: &x {security: [{oauth: [s]}]}\nget: {<<: *x, operationId: a}\n",
}

func readWithFiles(t *testing.T, paths, rest string) *Document {
	t.Helper()
	text := "openapi: 3.1.0\nsecurity: []\ncomponents: {securitySchemes: {oauth: {type: oauth2}}" + rest + "}\npaths:\n  /open: {get: {security: []}}\n" + paths
	d, err := Read("api.yaml", []byte(text), Options{Open: func(name string) ([]byte, error) {
		if file, ok := referred[name]; ok {
			return []byte(file), nil
		}
		return nil, fmt.Errorf("%s: no such file", name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOperationBehindAReferenceIsNotPublic refers to an operation that demands a
// scope in every way. Nobody may make the call without the scope, whatever the
// document demands otherwise and whatever template covers the path too.
func TestOperationBehindAReferenceIsNotPublic(t *testing.T) {
	inside := ", pathItems: {a: {get: {$ref: op.yaml}}}, x-ops: {a: {operationId: a, security: [{oauth: [s]}]}}, x-chain: {$ref: '#/components/x-ops/a'}"
	for item, followed := range map[string]bool{
		"{get: {$ref: op.yaml}}": true, "{get: {$ref: './op.yaml'}}": true, "{get: {$ref: 'op.yaml#'}}": true, "{get: {$ref: chain.yaml}}": true,
		"{get: {$ref: '#/components/x-ops/a'}}": true, "{get: {$ref: '#/components/x-chain'}}": true, "{$ref: item.yaml}": true,
		"{$ref: dir/item.yaml}": true, "{$ref: inner.yaml}": true, "{$ref: '#/components/pathItems/a'}": true, "{$ref: mergeItem.yaml}": true,
		"{get: {<<: {security: [{oauth: [s]}]}}}": true, "{<<: {get: {security: [{oauth: [s]}]}}}": true,

		"{get: {$ref: loop.yaml}}": false, "{get: {$ref: absent.yaml}}": false, "{get: {$ref: 'https://example.com/op.yaml'}}": false,
		"{get: {$ref: /etc/op.yaml}}": false, "{get: {$ref: '#/nowhere'}}": false, "{get: {$ref: broken.yaml}}": false, "{get: {$ref: nothing.yaml}}": false,
		"{get: {$ref: [op.yaml]}}": false, "{$ref: absent.yaml}": false, "{$ref: 'https://example.com/item.yaml'}": false, "{$ref: 'whole.yaml#/paths/~1a'}": false,
		"{get: {$ref: '#/paths/~1open/get', security: [{oauth: [s]}]}}": false,
		"{$ref: '#/paths/~1open', get: {security: [{oauth: [s]}]}}":     false,
		"{get: text}": false,
	} {
		for _, template := range []string{"", "  /{any}: {get: {security: []}}\n"} {
			d := readWithFiles(t, template+"  /a: "+item+"\n", inside)
			if !followed && len(d.Missing)+len(d.Notes) == 0 {
				t.Errorf("%s: nothing is noted", item)
			}
			for _, by := range []By{ByOperation, ByTag, ByScope} {
				table := compiled(t, d, by)
				access := table.Match(context.Background(), call("GET", "/a"))
				allows := func(p *core.Principal) bool {
					return access != nil && (access.Public() || access.Allows(context.Background(), call("GET", "/a"), p) == nil)
				}
				if allows(&core.Principal{Kind: core.KindJWT}) {
					t.Errorf("%s%s by %s: the call is open without the scope", template, item, by)
				}
				if followed && template == "" && !allows(&core.Principal{Kind: core.KindJWT, Scopes: []string{"s"}}) {
					t.Errorf("%s by %s: the call is closed to the scope; %v %v", item, by, d.Missing, d.Notes)
				}
			}
		}
	}
}

func TestAnchorThatContainsItselfIsRead(t *testing.T) {
	d := readWithFiles(t, "  /a: &a {<<: *a, get: {security: [{oauth: [s]}]}}\n  /b: {$ref: loop.yaml}\n", "")
	if len(d.Missing) != 1 {
		t.Errorf("%v", d.Missing)
	}
}

func TestRepeatedNotesAreFolded(t *testing.T) {
	var paths strings.Builder
	for i := range 20 {
		fmt.Fprintf(&paths, "  /p%d: {get: {security: [null]}}\n", i)
	}
	d := readWithFiles(t, paths.String(), "")
	if len(d.Notes) != 1 || !strings.HasSuffix(d.Notes[0], "(and 19 more like this)") {
		t.Errorf("%q", d.Notes)
	}
}

func TestSummaryBecomesTheDescription(t *testing.T) {
	text, err := readWithFiles(t, "  /a: {get: {$ref: op.yaml}}\n", "").Table(ByOperation).YAML()
	if err != nil || !strings.Contains(string(text), "description: Read a") {
		t.Errorf("%v\n%s", err, text)
	}
}

// What is left out is left out below the path of the servers, too: a more general
// public path must not open it.
func TestOperationThatIsLeftOutStaysClosedBelowTheServersPath(t *testing.T) {
	for _, item := range []string{"{$ref: none.yaml}", "{get: {$ref: none.yaml}}", "{servers: [{url: /v2}], get: {$ref: none.yaml}}"} {
		text := "openapi: 3.1.0\nservers: [{url: /v1}]\nsecurity: []\npaths:\n  /{x}: {get: {}, servers: [{url: /v1}]}\n  /a: " + item + "\n  /v2/{x}: {get: {}, servers: [{url: ''}, {url: '/'}]}\n"
		d, err := Read("api.yaml", []byte(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		path := "/v1/a"
		if strings.Contains(item, "v2") {
			path = "/v2/a"
		}
		table := compiled(t, d, ByOperation)
		access := table.Match(context.Background(), call("GET", path))
		if access == nil || access.Public() {
			t.Errorf("%s: GET %s is public or not covered: %v", item, path, d.Missing)
		}
		if other := table.Match(context.Background(), call("GET", "/v1/b")); other == nil || !other.Public() {
			t.Errorf("%s: another path is not public", item)
		}
	}
}
