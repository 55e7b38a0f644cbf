package claims

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/claimpath"
)

// Set is everything one credential claims, as Decode returns it.
type Set map[string]any

// Text returns a claim that must be a string where it is present. Absent,
// null and empty are the same: nothing.
func (s Set) Text(name string) (string, error) {
	switch v := s[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return "", fmt.Errorf("%s is not a string", name)
}

// endOfTime is the first moment that RFC 3339 cannot write. A date beyond it
// is a mistake or an overflow, not a date.
const endOfTime = 253402300800

// Time returns a NumericDate (RFC 7519 section 2): seconds since 1970,
// possibly with a fraction. ok is false where the claim is absent or null.
func (s Set) Time(name string) (t time.Time, ok bool, err error) {
	if s[name] == nil {
		return time.Time{}, false, nil
	}
	number, isNumber := s[name].(json.Number)
	if !isNumber {
		return time.Time{}, false, fmt.Errorf("%s is not a number", name)
	}
	seconds, err := strconv.ParseFloat(number.String(), 64)
	if err != nil || seconds < 0 || seconds >= endOfTime {
		return time.Time{}, false, fmt.Errorf("%s is not a date of our time", name)
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)), true, nil
}

// Expiry returns exp, which must be there and lie in the future. There is no
// leeway: a clock that runs fast then refuses early, never late.
func (s Set) Expiry(now time.Time) (time.Time, error) {
	exp, ok, err := s.Time("exp")
	switch {
	case err != nil:
		return time.Time{}, err
	case !ok:
		return time.Time{}, fmt.Errorf("exp is absent")
	case !exp.After(now):
		return time.Time{}, fmt.Errorf("expired at %s", exp.UTC().Format(time.RFC3339))
	}
	return exp, nil
}

// Begun checks nbf and iat, each where present: neither may lie further in
// the future than the issuer's clock may be ahead of ours.
func (s Set) Begun(now time.Time, leeway time.Duration) error {
	for _, name := range []string{"nbf", "iat"} {
		t, ok, err := s.Time(name)
		if err != nil {
			return err
		}
		if ok && t.After(now.Add(leeway)) {
			return fmt.Errorf("%s is in the future: %s", name, t.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// Audience returns aud: a string or a list of strings (RFC 7519 section
// 4.1.3). A single string is one audience, whatever characters it holds.
func (s Set) Audience() ([]string, error) { return audience("aud", s["aud"]) }

func audience(name string, value any) ([]string, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list, err := claimpath.Strings(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return list, nil
	}
	return nil, fmt.Errorf("%s is not a string or a list of strings", name)
}

// MeantFor checks that one of the audiences is in the first of the claims that
// is present.
func (s Set) MeantFor(in []core.ClaimPath, audiences []string) error {
	for _, path := range in {
		value, ok := path.Lookup(s)
		if !ok {
			continue
		}
		named, err := audience(path.String(), value)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(named, func(a string) bool { return slices.Contains(audiences, a) }) {
			return nil
		}
		return fmt.Errorf("is for another audience: %s is %s; accepted are %s", path, quoted(named), quoted(audiences))
	}
	return fmt.Errorf("names no audience: %s is absent (audience_claim names another claim, such as client_id); accepted are %s", joinPaths(in), quoted(audiences))
}

const (
	maxQuoted      = 5   // names in an error
	maxQuotedBytes = 200 // of each
)

// quoted writes a list for an error.
func quoted(names []string) string {
	if len(names) == 0 {
		return "empty"
	}
	texts := make([]string, 0, len(names))
	for i, name := range names {
		if i == maxQuoted {
			texts = append(texts, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		texts = append(texts, fmt.Sprintf("%.*q", maxQuotedBytes, name))
	}
	return strings.Join(texts, ", ")
}

func joinPaths(paths []core.ClaimPath) string {
	texts := make([]string, len(paths))
	for i, path := range paths {
		texts[i] = path.String()
	}
	return strings.Join(texts, " or ")
}

// list reads the values at the first path that is present.
func (s Set) list(paths []core.ClaimPath, read func(any) ([]string, error)) ([]string, error) {
	for _, path := range paths {
		list, ok, err := s.union(path, read)
		if err != nil {
			return nil, fmt.Errorf("claim %w", err)
		}
		if ok {
			return list, nil
		}
	}
	return nil, nil
}

// union reads each part of a path by itself, and leaves out what repeats.
func (s Set) union(path core.ClaimPath, read func(any) ([]string, error)) (all []string, ok bool, err error) {
	parts := path.Parts()
	for _, part := range parts {
		value, present := part.Lookup(s)
		if !present {
			continue
		}
		list, err := read(value)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", part, err)
		}
		if len(parts) == 1 {
			return list, true, nil
		}
		ok = true
		for _, word := range list {
			if !slices.Contains(all, word) {
				all = append(all, word)
			}
		}
	}
	return all, ok, nil
}
