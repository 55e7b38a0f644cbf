package authzen_test

import (
	"strings"
	"testing"

	"gatehouse/core/authzen"
)

func TestSearchWantsAllButWhatIsSought(t *testing.T) {
	const user, ada = `"subject":{"type":"user"}`, `"subject":{"type":"user","id":"ada"}`
	const view = `"action":{"name":"view"}`
	const documents, seven = `"resource":{"type":"document"}`, `"resource":{"type":"document","id":"7"}`
	for _, c := range []struct {
		sought  authzen.Sought
		members []string
		want    string
	}{
		{authzen.SoughtSubjects, []string{user, view, seven}, ""},
		{authzen.SoughtSubjects, []string{ada, view, seven}, ""},
		{authzen.SoughtSubjects, []string{user, view, documents}, "resource.id is absent"},
		{authzen.SoughtSubjects, []string{user, seven}, "action is absent"},
		{authzen.SoughtSubjects, []string{view, seven}, "subject is absent"},
		{authzen.SoughtSubjects, []string{`"subject":{"id":"ada"}`, view, seven}, "subject.type is absent"},
		{authzen.SoughtResources, []string{ada, view, documents}, ""},
		{authzen.SoughtResources, []string{ada, view, seven}, ""},
		{authzen.SoughtResources, []string{user, view, documents}, "subject.id is absent"},
		{authzen.SoughtActions, []string{ada, seven}, ""},
		{authzen.SoughtActions, []string{ada, view, seven}, ""},
		{authzen.SoughtActions, []string{ada}, "resource is absent"},
		{authzen.SoughtActions, []string{ada, documents}, "resource.id is absent"},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"limit":5,"token":"abc","properties":{}}`}, ""},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"limit":-5}`}, "page.limit is not a whole number of zero or more"},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"limit":1.5}`}, "page.limit is not a whole number of zero or more"},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"limit":99999999999999999999}`}, "page.limit is not a whole number of zero or more"},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"limit":"5"}`}, "page.limit is not a number"},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"token":5}`}, "page.token is not a string"},
		{authzen.SoughtActions, []string{ada, seven, `"page":{"token":"` + strings.Repeat("x", 5000) + `"}`}, "page.token has 5000 bytes, 4096 at most"},
		{authzen.SoughtActions, []string{ada, seven, `"page":[]`}, "page is not an object"},
		{authzen.SoughtActions, []string{ada, seven, seven}, "the body has a member twice"},
	} {
		body := "{" + strings.Join(c.members, ",") + "}"
		_, err := authzen.DecodeSearch([]byte(body), c.sought)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s of %.200s: %q, want %q", c.sought, body, got, c.want)
		}
	}
}
