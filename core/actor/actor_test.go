package actor_test

import (
	"testing"

	"gatehouse/core/actor"
)

func TestIDsNameOneActorOfOneIssuer(t *testing.T) {
	for id, want := range map[string]actor.Actor{
		"https://i#a":                {Issuer: "https://i", Subject: "a"},
		"https://i/#a#b?client_id=c": {Issuer: "https://i/", Subject: "a#b?client_id=c"},
		"https://i?client_id=c#d":    {Issuer: "https://i", ClientID: "c#d"},
	} {
		got, err := actor.Parse(id)
		if err != nil || !actor.Same(got, &want) {
			t.Errorf("%s: %+v, %v", id, got, err)
			continue
		}
		if again, ok := got.ID(); !ok || again != id {
			t.Errorf("%s is written %s, %t", id, again, ok)
		}
	}
	for _, id := range []string{"", "a", "#a", "https://i#", "https://i", "https://i?client_id=", "?client_id=c", "https://i?client=c", "https://i?x#a"} {
		if a, err := actor.Parse(id); err == nil {
			t.Errorf("%q is an id: %+v", id, a)
		}
	}
}

func TestActorWithoutAnIssuerHasNoID(t *testing.T) {
	for _, a := range []actor.Actor{{Subject: "a"}, {ClientID: "c"}, {Issuer: "https://i"}, {Issuer: "https://i#x", Subject: "a"}, {Issuer: "https://i?x", Subject: "a"}} {
		if id, ok := a.ID(); ok {
			t.Errorf("%+v: %s", a, id)
		}
	}
}

// Ids are one to one: what is written of two actors is the same only where they are.
func FuzzIDsOfTwoActors(f *testing.F) {
	f.Add("https://i", "a", "", "https://i", "", "a")
	f.Add("https://i", "a#b", "c", "https://i#a", "b", "c")
	f.Add("https://i", "x?client_id=c", "", "https://i", "", "c")
	f.Fuzz(func(t *testing.T, issuer, subject, client, issuer2, subject2, client2 string) {
		a, b := actor.Actor{Issuer: issuer, Subject: subject, ClientID: client}, actor.Actor{Issuer: issuer2, Subject: subject2, ClientID: client2}
		idA, okA := a.ID()
		idB, okB := b.ID()
		if !okA || !okB || idA != idB {
			return
		}
		if issuer != issuer2 || subject != subject2 || subject == "" && client != client2 {
			t.Errorf("%+v and %+v are both %s", a, b, idA)
		}
		if back, err := actor.Parse(idA); err != nil || back.Issuer != issuer || back.Subject != subject {
			t.Errorf("%s: %+v, %v", idA, back, err)
		}
	})
}
