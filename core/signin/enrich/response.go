package enrich

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/upstreamtoken/mint"
)

// Bounds of a response: of a subject (as in OpenID Connect Core 1.0 section 2), a role,
// a permission and the name of a claim in bytes, and of how many there are.
const (
	maxSubject     = 255
	maxText        = 255
	maxRoles       = 1000
	maxPermissions = 5000
	maxClaims      = 100
)

// read reads a response: 200, or 201 for a user that is new, with what the service says,
// or 403 with a problem document (RFC 9457) for a person whom it refuses. A 403 in
// another form is not the service's but of something before it.
func read(r *idp.Response) (Result, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	switch {
	case r.Status == http.StatusForbidden && media == "application/problem+json":
		return Result{}, refusal(r)
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		return Result{}, fmt.Errorf("%w: it does not accept the gate; check the bearer token or the client certificate. A person is refused by 403 with application/problem+json", r.Unexpected())
	case r.Status != http.StatusOK && r.Status != http.StatusCreated:
		return Result{}, r.Unexpected()
	case media != "application/json":
		return Result{}, fmt.Errorf("the response of %s has Content-Type %.60q, not application/json", r.From, r.Header.Get("Content-Type"))
	}
	set, err := claims.Decode(r.Body)
	if err != nil {
		return Result{}, fmt.Errorf("the response of %s %w", r.From, err)
	}
	result, err := parse(set)
	if err != nil {
		return Result{}, fmt.Errorf("the response of %s: %w", r.From, err)
	}
	return result, nil
}

// refusal reads a problem document. Its words are for the log.
func refusal(r *idp.Response) error {
	set, err := claims.Decode(r.Body)
	if err != nil {
		return fmt.Errorf("the problem document of %s %w", r.From, err)
	}
	kind, title := claims.Set(set)["type"], claims.Set(set)["title"]
	return &DeniedError{fmt.Sprintf("type %.200q, title %.200q", shown(kind), shown(title))}
}

func shown(value any) string {
	text, _ := value.(string)
	return text
}

// parse reads what the service says, of which every member is known.
func parse(set claims.Set) (r Result, err error) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value := set[name]
		switch name {
		case "subject":
			r.Subject, err = text(value, maxSubject)
		case "roles":
			r.Roles, err = texts(value, maxRoles)
		case "permissions":
			r.Permissions, err = texts(value, maxPermissions)
		case "claims":
			r.Claims, err = further(value)
		default:
			return Result{}, fmt.Errorf("it has the member %.60q; want subject, roles, permissions and claims, each where the service says something of it", name)
		}
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return r, nil
}

func text(value any, most int) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok:
		return "", errors.New("is not a string")
	case s == "":
		return "", errors.New("is empty")
	case len(s) > most:
		return "", fmt.Errorf("has more than %d bytes", most)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("holds a control character")
	case strings.TrimSpace(s) != s:
		return "", errors.New("begins or ends with white space")
	}
	return s, nil
}

func texts(value any, most int) ([]string, error) {
	list, ok := value.([]any)
	switch {
	case !ok:
		return nil, errors.New("is not a list of strings")
	case len(list) > most:
		return nil, fmt.Errorf("has more than %d members", most)
	}
	all := make([]string, 0, len(list)) // not nil: the service has said that there are none
	for i, member := range list {
		one, err := text(member, maxText)
		if err != nil {
			return nil, fmt.Errorf("member %d %w", i, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// owned are claims that the service says by a member of their own, or that say how the
// person has signed in.
var owned = []string{"roles", "permissions", "amr"}

func further(value any) (map[string]any, error) {
	set, ok := value.(map[string]any)
	switch {
	case !ok:
		return nil, errors.New("is not an object")
	case len(set) > maxClaims:
		return nil, fmt.Errorf("has more than %d members", maxClaims)
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		_, err := text(name, maxText)
		switch {
		case err != nil:
			return nil, fmt.Errorf("a name %w", err)
		case mint.IsOwn(name) || slices.Contains(owned, name):
			return nil, fmt.Errorf("%q is a claim that the gate sets itself", name)
		case set[name] == nil:
			return nil, fmt.Errorf("%.60q is null; leave it out", name)
		}
		if err := finite(set[name]); err != nil {
			return nil, fmt.Errorf("%.60q %w", name, err)
		}
	}
	return set, nil
}

// finite refuses numbers that readers take for infinity, and no token can hold.
func finite(value any) error {
	switch v := value.(type) {
	case json.Number:
		if f, err := strconv.ParseFloat(v.String(), 64); err != nil || math.IsInf(f, 0) {
			return errors.New("holds a number that readers take for infinity")
		}
	case []any:
		for _, member := range v {
			if err := finite(member); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, member := range v {
			if err := finite(member); err != nil {
				return err
			}
		}
	}
	return nil
}
