package offlinetest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission/openapi"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// described is one operation of a random document as its text means it.
type described struct {
	method, template string
	// enough are the sets of scopes of which each is enough; an empty set stands for
	// any credential.
	enough [][]string
	// anybody says that no credential is needed, nobody that what is needed cannot be
	// read.
	anybody, nobody bool
}

func (d *described) may(anonymous bool, scopes []string) bool {
	return !d.nobody && (d.anybody || !anonymous && slices.ContainsFunc(d.enough, func(set []string) bool {
		return !slices.ContainsFunc(set, func(s string) bool { return !slices.Contains(scopes, s) })
	}))
}

func (d *described) covers(method, path string) bool {
	if d.method != method {
		return false
	}
	a, b := strings.Split(d.template, "/"), strings.Split(path, "/")
	return len(a) == len(b) && segmentsMatch(a, b)
}

func segmentsMatch(template, path []string) bool {
	for i := range template {
		before, rest, parameter := strings.Cut(template[i], "{")
		_, after, _ := strings.Cut(rest, "}")
		fits := len(path[i]) > len(before)+len(after) && strings.HasPrefix(path[i], before) && strings.HasSuffix(path[i], after)
		if template[i] != path[i] && (!parameter || !fits) {
			return false
		}
	}
	return true
}

// literals are which segments of a template have no parameter, whole: 2, in part: 1.
func (d *described) literals() []int {
	var all []int
	for _, s := range strings.Split(d.template, "/") {
		switch {
		case !strings.Contains(s, "{"):
			all = append(all, 2)
		case len(s) > len("{x}"):
			all = append(all, 1)
		default:
			all = append(all, 0)
		}
	}
	return all
}

// beats reports whether a path is more concrete than another that matches the same
// call. A literal beats a part of one, though no sentence of OpenAPI says so.
func (d *described) beats(other *described) bool {
	more := false
	for i, n := range d.literals() {
		if of := other.literals()[i]; n < of || n == of && n == 1 && d.template != other.template {
			return false
		} else if n > of {
			more = true
		}
	}
	return more
}

// securities are what may be said about security, with what it means.
var securities = []struct {
	text    string
	means   described
	inherit bool
}{
	{"", described{}, true}, {"[]", described{anybody: true}, false}, {"[{}]", described{anybody: true}, false},
	{"[{oauth: [s]}]", described{enough: [][]string{{"s"}}}, false}, {"[{oauth: [s, t]}]", described{enough: [][]string{{"s", "t"}}}, false},
	{"[{oauth: [s]}, {oidc: [t]}]", described{enough: [][]string{{"s"}, {"t"}}}, false}, {"[{oauth: [t]}, {}]", described{anybody: true}, false},
	{"[{bearer: []}]", described{enough: [][]string{{}}}, false}, {"[{key: []}]", described{enough: [][]string{{}}}, false},
	{"[{oauth: [s], key: []}]", described{enough: [][]string{{"s"}}}, false}, {"[{oauth: [s], oidc: [t]}]", described{enough: [][]string{{"s", "t"}}}, false},
	{"[{absent: []}]", described{nobody: true}, false}, {"[{bearer: [s]}]", described{nobody: true}, false}, {"[text]", described{nobody: true}, false}, {"text", described{nobody: true}, false},
	{"[{far: [t]}]", described{enough: [][]string{{"t"}}}, false},
}

// randomDocument writes a document, the files that it refers to, and what it means.
func randomDocument(r *rand.Rand) (text string, referred map[string]string, all []described) {
	referred = map[string]string{"schemes.yaml": "far: {type: oauth2}\n"}
	root := securities[r.IntN(len(securities))]
	base := []string{"", "", "/v1"}[r.IntN(3)]
	var b strings.Builder
	b.WriteString("openapi: 3.1.0\ninfo: {title: T, version: '1'}\n")
	if base != "" {
		fmt.Fprintf(&b, "servers: [{url: 'https://api.test%s'}]\n", base)
	}
	if root.text != "" {
		fmt.Fprintf(&b, "security: %s\n", root.text)
	}
	b.WriteString("components: {securitySchemes: {oauth: {type: oauth2}, oidc: {type: openIdConnect}, bearer: {type: http, scheme: Bearer}, key: {type: apiKey}, far: {$ref: 'schemes.yaml#/far'}}}\npaths:\n")
	templates := []string{"/a", "/b", "/{x}", "/a/b", "/a/{y}", "/{x}/b", "/{x}/{y}", "/a.{x}", "/{x}.b"}
	if r.IntN(3) == 0 {
		templates = []string{"/a/b/c", "/a/b/{z}", "/a/{y}/c", "/{x}/b/c", "/a/{y}/{z}", "/{x}/b/{z}", "/{x}/{y}/c", "/{x}/{y}/{z}", "/a/b/c.{z}"}
	}
	r.Shuffle(len(templates), func(i, j int) { templates[i], templates[j] = templates[j], templates[i] })
	for _, template := range templates[:1+r.IntN(6)] {
		item := ""
		for _, method := range []string{"get", "post"} {
			if r.IntN(3) == 0 {
				continue
			}
			s := securities[r.IntN(len(securities))]
			means := s.means
			if s.inherit {
				means = root.means
				means.nobody = means.nobody || root.inherit // nothing is said at all
			}
			means.method, means.template = strings.ToUpper(method), base+template
			operation := "{summary: x}"
			if s.text != "" {
				operation = "{summary: x, security: " + s.text + "}"
			}
			switch name := fmt.Sprintf("op%d.yaml", len(referred)); r.IntN(8) {
			case 0:
				referred[name] = operation
				operation = "{$ref: " + name + "}"
			case 1:
				referred[name] = "x: {y: " + operation + "}"
				operation = "{$ref: './" + name + "#/x/y'}"
			case 2:
				operation, means.nobody = "{$ref: none.yaml}", true
			case 3:
				operation, means.nobody = "{$ref: '#/paths/nothing', security: []}", true
			}
			item += ", " + method + ": " + operation
			all = append(all, means)
		}
		item = "{" + strings.TrimPrefix(item, ", ") + "}"
		switch name := fmt.Sprintf("item%d.yaml", len(referred)); r.IntN(8) {
		case 0:
			referred[name] = item
			item = "{$ref: " + name + "}"
		case 1:
			item = "{$ref: none.yaml}"
			for i := range all {
				all[i].nobody = all[i].nobody || all[i].template == base+template
			}
		}
		fmt.Fprintf(&b, "  %s: %s\n", template, item)
	}
	return b.String(), referred, all
}

// TestImportedTableIsNoWeakerThanTheDocument holds the gates of imported tables
// against a plain reading of random documents. In OpenAPI the more concrete path
// decides; of several, none of which is more concrete, all must be satisfied.
func TestImportedTableIsNoWeakerThanTheDocument(t *testing.T) {
	world := offlinetest.NewReal(t)
	type one struct {
		*offlinetest.Person
		scopes []string
	}
	people := []one{{world.Person(&offline.Caller{Anonymous: true}), nil}}
	for _, scopes := range [][]string{nil, {"s"}, {"t"}, {"s", "t"}} {
		people = append(people, one{world.Person(&offline.Caller{Kind: core.KindJWT, Subject: "u", Scopes: scopes}), scopes})
	}
	allowed, denied, stricter := 0, 0, 0
	var asked []string
	for _, path := range []string{"/a", "/b", "/c", "/a.b", "/a.c", "/c.b", "/a/b", "/a/c", "/c/b", "/c/d", "/a/b/c", "/a/b/d", "/a/d/c", "/d/b/c", "/a/d/d", "/d/b/d", "/d/d/c", "/d/d/d", "/a/b/c.d"} {
		asked = append(asked, path, "/v1"+path)
	}
	for seed := range uint64(1000) {
		text, referred, all := randomDocument(rand.New(rand.NewPCG(seed, 4)))
		open := func(name string) ([]byte, error) {
			if file, ok := referred[name]; ok {
				return []byte(file), nil
			}
			return nil, errors.New("no such file")
		}
		document, err := openapi.Read("api.yaml", []byte(text), openapi.Options{Open: open})
		if err != nil {
			if len(all) > 0 {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			continue
		}
		for _, by := range []openapi.By{openapi.ByOperation, openapi.ByTag, openapi.ByScope}[seed%3:][:1] {
			table, err := document.Table(by).YAML()
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			gate := world.Gate(t, string(table))
			for _, path := range asked {
				for _, method := range []string{"GET", "POST", "HEAD"} {
					operations := deciding(all, method, path)
					for _, p := range people {
						may := len(operations) > 0 && !slices.ContainsFunc(operations, func(d described) bool { return !d.may(p.Anonymous, p.scopes) })
						got := p.Ask(t, gate, &core.Request{Method: method, Target: path, Host: "api.test"}).Outcome == core.Allow
						switch {
						case got && !may:
							t.Fatalf("seed %d, by %s: %s %s is open to %v, anonymous %t, and not in the document\n%s%v\n%s", seed, by, method, path, p.scopes, p.Anonymous, text, referred, table)
						case got:
							allowed++
						case may:
							stricter++
						default:
							denied++
						}
					}
				}
			}
		}
	}
	t.Logf("%d allowed, %d denied, %d stricter than the document", allowed, denied, stricter)
	if min(allowed, denied) < 1000 || stricter > allowed {
		t.Error("the test shows little")
	}
}

// deciding are the operations that a request is for: those that cover it and that no
// more concrete one beats.
func deciding(all []described, method, path string) []described {
	covering := slices.DeleteFunc(slices.Clone(all), func(d described) bool { return !d.covers(method, path) })
	return slices.DeleteFunc(slices.Clone(covering), func(d described) bool {
		return slices.ContainsFunc(covering, func(other described) bool { return other.beats(&d) })
	})
}
