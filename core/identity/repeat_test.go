package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
)

// linesOf are the values of X-Roles that an upstream gets.
func linesOf(t *testing.T, tooLong string, claim any) (values []string, err error) {
	t.Helper()
	h := identity(t, Options{Claims: map[string]string{"X-Roles": "groups", "X-User-Id": "sub"}, Join: JoinRepeat, TooLong: tooLong})
	p := &core.Principal{Subject: "ada", Claims: map[string]any{"groups": claim}}
	u, err := upstream(h, &core.Request{Header: []core.Header{{Name: "X-Roles", Value: "root"}, {Name: "x_roles", Value: "root"}}}, p, nil)
	for _, s := range u.Set {
		if s.Name == "X-Roles" {
			values = append(values, s.Value)
		}
	}
	if err == nil && (slices.Contains(u.Strip, "X-Roles") != (len(values) == 0) || !slices.Contains(u.Strip, "x_roles")) {
		t.Errorf("%v: strips %v, sets %v", claim, u.Strip, u.Set)
	}
	return values, err
}

func TestMembersOfAListOnLinesOfTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		claim any
		want  []string
	}{
		"spaces and commas": {[]any{"Domain Admins", "CN=a,OU=b", "ä"}, []string{"Domain Admins", "CN=a,OU=b", "ä"}},
		"texts":             {[]string{"a", "b"}, []string{"a", "b"}},
		"one":               {[]any{"a"}, []string{"a"}},
		"twice the same":    {[]any{"a", "a"}, []string{"a", "a"}},
		"one text":          {"a,b c", []string{"a,b c"}},
		"objects":           {[]any{map[string]any{"n": "a"}}, []string{`[{"n":"a"}]`}},
		"nothing":           {[]any{}, nil},
	} {
		if got, err := linesOf(t, "", c.claim); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, member := range []string{"", "a\nX-Roles: admin", "a\rb", "a\x00", " a", "a\u00a0", "a\u0085", "\xff"} {
		if got, err := linesOf(t, "", []any{"user", member}); !errors.Is(err, core.ErrForbidden) {
			t.Errorf("%q: %q, %v", member, got, err)
		}
	}
}

func TestListOfTooManyLines(t *testing.T) {
	var many []any
	for n := range maxLines + 1 {
		many = append(many, fmt.Sprint("role-", n))
	}
	long := []any{strings.Repeat("a", 2000), strings.Repeat("b", 2000), strings.Repeat("c", 2000)}
	for name, c := range map[string]struct {
		claim any
		kept  int
	}{"lines": {many, maxLines - 1}, "bytes": {long, 2}, "one member": {[]any{strings.Repeat("a", 5000)}, 0}} {
		for _, refuse := range []string{"", TooLongRefuse} {
			if _, err := linesOf(t, refuse, c.claim); !errors.Is(err, core.ErrForbidden) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := linesOf(t, TooLongOmit, c.claim); err != nil || len(got) != 0 {
			t.Errorf("%s: %d lines, %v", name, len(got), err)
		}
		got, err := linesOf(t, TooLongTruncate, c.claim)
		if want := append(slices.Clone(c.claim.([]any)[:c.kept]), "..."); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %d lines, %v", name, len(got), err)
		}
	}
	if got, err := linesOf(t, "", many[:maxLines]); err != nil || len(got) != maxLines {
		t.Errorf("%d lines: %v", len(got), err)
	}
}
