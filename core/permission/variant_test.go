package permission_test

import (
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/permission/variant"
)

const guardedByVariants = `
permissions:
  admin: {activities: ["ANY /admin(/.*)?"]}
  pay: {activities: [{methods: [POST], path: "/pay/[0-9]+", require: {aal: aal2}}, {methods: [POST], path: "/Pay/[0-9]+", require: {aal: aal2}}, "POST /PAY/[0-9]+"]}
  files: {activities: ["GET /files/.+", "GET /hr/.+"]}
  payroll: {activities: ["GET /hr/payroll"]}
  api: {activities: [{methods: [GET], path: /api, hosts: [api.example.com]}, GET /docs/]}
authenticated: [GET /me, {methods: [GET], path: "/ADMIN/.*", override: true}]
public: ["ANY /.*", {methods: [GET], path: "/Admin", override: true}]
path_variants: {case: refuse, trailing_slash: refuse, suffixes: [.json, ".*"]}
`

// TestVariantOfAGuardedPathIsRefused: Express, Koa and IIS take /ADMIN for /admin,
// Rails and Spring MVC 4 /admin.json. A public rule that covers everything else, and
// even one that overrides, opens none of them.
func TestVariantOfAGuardedPathIsRefused(t *testing.T) {
	table := load(t, guardedByVariants)
	for target, want := range map[string]string{
		"GET /admin": "insufficient scope", "GET /ADMIN": "uncovered", "GET /Admin": "uncovered", "POST /admIN/users": "uncovered", "GET /ADMIN/x": "uncovered",
		"GET /admin/": "insufficient scope", "GET /ADMIN/": "uncovered", "GET /admin.json": "uncovered", "GET /admin.JSON/": "uncovered", "GET /admin.tar.gz": "uncovered",
		"GET /admın": "uncovered", "GET /ADMİN": "uncovered", "GET /admins": "public", "GET /administration.json": "public", "GET /other/admin": "public",
		"POST /pay/7": "insufficient scope", "POST /pay/7/": "uncovered", "POST /pay/7.json": "uncovered", "GET /pay/7/": "public",
		"POST /Pay/7": "insufficient scope", "POST /PAY/7": "uncovered",
		"GET /hr/payroll": "insufficient scope", "GET /hr/Payroll": "uncovered", "GET /files/README": "insufficient scope", "GET /FILES/readme": "uncovered", "GET /files/": "public",
		"GET /me": "allowed", "GET /ME": "uncovered", "GET /Me/": "uncovered", "GET /me//": "uncovered", "GET /me.xml//": "uncovered", "GET /me.xml": "uncovered",
		"GET /API": "uncovered", "GET /docs": "uncovered", "GET /docs.json": "uncovered", "GET /docs/": "insufficient scope",
	} {
		method, path, _ := strings.Cut(target, " ")
		got := decide(table, call(method, path), &core.Principal{Scopes: []string{"x"}})
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s is %s, want %s", target, got, want)
		}
	}
	elsewhere := call("GET", "/API")
	elsewhere.Host = "www.example.com"
	if got := decide(table, elsewhere, nil); got != "public" {
		t.Errorf("the variant of a path that is guarded on another host is %s", got)
	}
}

// A variant that is listed with at least the demands of the guarded path is open to
// those who meet them. Of two paths that are one, the less strict is refused.
func TestVariantWithAtLeastTheSameDemandsIsOpen(t *testing.T) {
	const one = `{pay: {activities: [{methods: [POST], path: "/pay", require: {aal: aal2}}, {methods: [POST], path: "/Pay", require: {aal: LEVEL}}]}}`
	for level, want := range map[string][2]string{"aal2": {"allowed", "allowed"}, "aal3": {"uncovered", "allowed"}, "aal1": {"allowed", "uncovered"}} {
		table := load(t, "path_variants: {case: refuse}\npermissions: "+strings.Replace(one, "LEVEL", level, 1)+"\npublic: ['ANY /.*']\n")
		for i, path := range []string{"/pay", "/Pay"} {
			if got := decide(table, call("POST", path), &core.Principal{Scopes: []string{"pay"}, AAL: "aal3"}); got != want[i] {
				t.Errorf("%s beside %s: %s, want %s", path, level, got, want[i])
			}
			if got := decide(table, call("POST", "/PAY"), nil); got != "uncovered" {
				t.Errorf("another variant is %s", got)
			}
		}
	}
}

func TestPathVariantsAreStatedOnce(t *testing.T) {
	for _, rules := range [][2]string{{"{case: refuse}", "{case: refuse}"}, {"{case: refuse}", "{suffixes: [.json]}"}} {
		var files []*permission.File
		for i, text := range rules {
			f, err := tablefile.Parse([]string{"a.yaml", "b.yaml"}[i], []byte("public: [GET /a]\npath_variants: "+text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		_, err := permission.Compile(files...)
		const want = "b.yaml:2:16: path_variants is here and at a.yaml:2:16; it holds for the whole table, so state it once"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	code := &permission.File{PathVariants: &permission.PathVariants{Rules: variant.Rules{Suffixes: []string{"a/b"}}}}
	if _, err := permission.Compile(code); err == nil || !strings.HasPrefix(err.Error(), `path_variants: suffixes: "a/b" has a slash`) {
		t.Errorf("got %v", err)
	}
}
