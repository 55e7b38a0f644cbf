package offlinetest_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// TestDelegatedTokenOpensWhatSubjectAndActorHaveInCommon asks gates, as hosts build them,
// about real tokens with act: each is decided as a token that nobody acts by and that has the
// permissions which subject and actor have in common, and an actor whom the table does not
// name does nothing but what is public. What the actor has is read from the text of the
// table here.
func TestDelegatedTokenOpensWhatSubjectAndActorHaveInCommon(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := map[string]*offlinetest.Person{}
	person := func(base *offline.Caller, by *core.Actor, permissions []string) *offlinetest.Person {
		c := *base
		c.Actor = by
		key := c.AAL + c.Subject + strings.Join(permissions, " ")
		for _, a := range by.Chain() {
			key += " " + a.String()
		}
		if people[key] == nil {
			people[key] = world.Person(c.With(nil, nil, permissions))
		}
		return people[key]
	}
	allowed, refused, less := 0, 0, 0
	for seed := uint64(3); seed < 1000; seed += 4 {
		world.AnswerBy(offlinetest.AnswersOf(seed))
		table := offlinetest.New(t, seed, 3+int(seed%4)).ByCertificate(t)
		if strings.Contains(table.Text, "actor: ") { // a requirement, which tells a delegated token from one that is not
			continue
		}
		gate, named := world.Gate(t, table.Text), actorsIn(t, table.Text)
		for _, r := range some(table.Requests(), seed, 12) {
			for _, base := range []*offline.Caller{{Kind: core.KindJWT, AAL: "aal2", Subject: "u"}, {Kind: core.KindJWT, AAL: "aal1", Subject: "v"}} {
				for _, held := range [][]string{nil, {"p"}, {"p", "q"}} {
					for _, a := range offlinetest.Actors() {
						common, isNamed := named.common(a, held)
						got := person(base, a, held).Ask(t, gate, r)
						plain := person(base, nil, common).Ask(t, gate, r)
						want := plain.Outcome == core.Allow && (isNamed || plain.Principal == nil)
						if (got.Outcome == core.Allow) != want {
							t.Fatalf("seed %d: %s %s on %s with %v by %v: status %d %v, and both have %v, named: %t\n%s", seed, r.Method, r.Target, r.Host, held, a.Chain(), got.Status, got.Cause, common, isNamed, table.Text)
						}
						if want {
							allowed++
						} else {
							refused++
						}
						if !want && person(base, nil, held).Ask(t, gate, r).Outcome == core.Allow {
							less++
						}
					}
				}
			}
		}
	}
	t.Logf("%d calls allowed, %d refused, %d of them open to the subject alone", allowed, refused, less)
	if min(allowed, refused, less) < 1000 {
		t.Error("the test shows little")
	}
}

// actorsOf are the entries of actors in a table, read as the documentation says.
type actorsOf struct {
	entries map[string][]string
	chain   bool
}

func actorsIn(t *testing.T, text string) (in actorsOf) {
	t.Helper()
	var table struct {
		Actors map[string][]string `yaml:"actors"`
		Chain  bool                `yaml:"actor_chain"`
		Roles  map[string][]string `yaml:"roles"`
	}
	if err := yaml.Unmarshal([]byte(text), &table); err != nil {
		t.Fatal(err)
	}
	in.entries, in.chain = map[string][]string{}, table.Chain
	for id, grants := range table.Actors {
		in.entries[id] = []string{}
		for _, grant := range grants {
			if role, isRole := strings.CutPrefix(grant, "role:"); isRole {
				in.entries[id] = append(in.entries[id], table.Roles[role]...)
			} else {
				in.entries[id] = append(in.entries[id], grant)
			}
		}
	}
	return in
}

// common is what a subject and the actors that count have in common, and whether all of
// these are named.
func (in actorsOf) common(a *core.Actor, held []string) (common []string, named bool) {
	common, named = slices.Clone(held), true
	for ; a != nil; a = a.Before {
		var grants []string
		found := false
		for pattern, of := range in.entries {
			form := strings.NewReplacer(`\*\*`, ".+", `\*`, "[^/]*").Replace(regexp.QuoteMeta(pattern))
			if regexp.MustCompile("^" + form + "$").MatchString(a.String()) {
				grants, found = append(grants, of...), true
			}
		}
		named = named && found
		common = slices.DeleteFunc(common, func(p string) bool { return !slices.Contains(grants, p) })
		if !in.chain {
			break
		}
	}
	return common, named
}
