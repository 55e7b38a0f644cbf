package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	leakLength = 24 // bytes of a credential that are too many
	leakStep   = 8
)

// leaks names the secrets of which a text holds a good part. A credential cut
// short in a log is one that can be guessed.
func leaks(secrets map[string]string, text string) []string {
	var found []string
	for name, secret := range secrets {
		for i := 0; i+leakLength-leakStep <= len(secret); i += leakStep {
			if part := secret[i : i+leakLength-leakStep]; strings.Contains(text, part) && !common(secrets, name, part) {
				found = append(found, fmt.Sprintf("bytes %d to %d of %s", i, i+len(part), name))
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

// common parts are no secret: the header of a JWT is the same in all of them.
func common(secrets map[string]string, name, part string) bool {
	for other, secret := range secrets {
		if other != name && strings.Contains(secret, part) {
			return strings.HasPrefix(part, "eyJ") || len(strings.TrimRight(part, "a")) == 0
		}
	}
	return false
}

func TestLeaksAreFound(t *testing.T) {
	secrets := map[string]string{"opaque": "ory_at_0123456789abcdefghijklmnopqrstuvwxyz", "session": strings.Repeat("x7Qp", 20)}
	for text, want := range map[string]int{
		"nothing here":                           0,
		"token=" + secrets["opaque"]:             1,
		"cut " + secrets["opaque"][9:36] + "...": 1,
		secrets["opaque"] + secrets["session"]:   2,
		"short " + secrets["opaque"][:10]:        0,
	} {
		if got := leaks(secrets, text); len(got) != want {
			t.Errorf("%q: found %v, want %d", text, got, want)
		}
	}
}
