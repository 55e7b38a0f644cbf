package config

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/identity"
)

// validator checks a decoded configuration and collects every problem.
type validator struct {
	problems []Problem
	// unread are the settings whose values could not be read. Nothing is said of
	// them a second time.
	unread []Problem
}

func (v *validator) add(path, format string, args ...any) {
	if !slices.ContainsFunc(v.unread, func(m Problem) bool { return within(path, m.Path) }) {
		v.problems = append(v.problems, Problem{path, fmt.Sprintf(format, args...)})
	}
}

// within tells whether a path is that of a setting or of something in it.
func within(path, setting string) bool {
	rest, ok := strings.CutPrefix(path, setting)
	return ok && setting != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// section checks what the tags say, for every field of every present section.
func (v *validator) section(path string, s reflect.Value) {
	for i := range s.NumField() {
		field := s.Type().Field(i)
		v.field(join(path, configKey(field)), field, s.Field(i))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (v *validator) field(path string, field reflect.StructField, value reflect.Value) {
	if field.Tag.Get("required") == "true" && value.IsZero() {
		v.add(path, "is required: %s", field.Tag.Get("doc"))
		return
	}
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			v.section(path, value.Elem())
		}
	case reflect.Struct:
		v.section(path, value)
	case reflect.String:
		v.text(path, field, value.String())
	case reflect.Int:
		v.between(path, field, float64(value.Int()))
	case reflect.Float64:
		v.between(path, field, value.Float())
	case reflect.Slice:
		v.filled(path, field, value)
		for i := range value.Len() {
			item := path + "[" + strconv.Itoa(i) + "]"
			if value.Index(i).Kind() == reflect.Struct {
				v.section(item, value.Index(i))
			} else {
				v.text(item, field, value.Index(i).String())
			}
		}
	}
}

// filled refuses an empty list where it would be read as the default.
func (v *validator) filled(path string, field reflect.StructField, list reflect.Value) {
	normal, ok := field.Tag.Lookup("default")
	if least, _ := strconv.Atoi(field.Tag.Get("len_min")); ok && list.Len() < least {
		v.add(path, "is an empty list; leave it out for the default (%s)", strings.ReplaceAll(normal, ",", ", "))
	}
}

func (v *validator) text(path string, field reflect.StructField, text string) {
	if text == "" && field.Type.Kind() != reflect.Slice {
		return
	}
	if allowed, ok := field.Tag.Lookup("one_of"); ok && !slices.Contains(strings.Split(allowed, ","), text) {
		v.add(path, "must be one of %s", strings.ReplaceAll(allowed, ",", ", "))
	}
	if field.Tag.Get("starts_with") == "http" {
		v.url(path, text)
	}
	if text == "" {
		v.add(path, "is empty")
	}
}

func (v *validator) between(path string, field reflect.StructField, number float64) {
	limits, ok := field.Tag.Lookup("between")
	if !ok {
		return
	}
	low, high, _ := strings.Cut(limits, ",")
	lowest, _ := strconv.ParseFloat(low, 64)
	highest, _ := strconv.ParseFloat(high, 64)
	if number < lowest || number > highest {
		v.add(path, "must be between %s and %s", low, high)
	}
}

func (v *validator) url(path, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		v.add(path, "must be a complete http or https URL")
		return
	}
	if u.User != nil {
		v.add(path, "must not hold a user name or password")
	}
}

// config checks what no single tag can say.
func (v *validator) config(c *Config) {
	if len(c.sections()) == 0 && !v.mentions(core.KindNames()...) {
		v.add("", "no way to authenticate: set %s", alternatives(core.KindNames()))
	}
	if c.Realm == "" {
		v.add("realm", "is empty; leave it out, or name what the gate protects")
	}
	if c.PermissionTable == "" && len(c.PermissionTableFiles) == 0 {
		v.add("permission_table", "is needed, or permission_table_files: without a table every request is denied")
	}
	if c.PermissionTable != "" && len(c.PermissionTableFiles) > 0 {
		v.add("permission_table", "cannot be set beside permission_table_files; put it into a file of its own")
	}
	if len(c.ShadowTableFiles) > 0 && len(c.PermissionTableFiles) == 0 {
		v.add("shadow_table_files", "needs permission_table_files to be compared with")
	}
	if c.TokenCookie != "" && c.JWT == nil && c.Introspection == nil {
		v.add("token_cookie", "needs jwt or introspection to verify the token")
	}
	if c.TokenCookie != "" && c.Session != nil && c.TokenCookie == c.Session.CookieName {
		v.add("token_cookie", "is the session cookie's name; use two names")
	}
	v.upstreamHeaders(c)
	v.claims("authenticated_groups_claim", c.AuthenticatedGroupsClaim)
	for _, s := range c.sections() {
		s.check(v)
	}
	for _, s := range fieldsOf[endpointSection](c) {
		s.checkEndpoints(v)
	}
}

func (v *validator) mentions(paths ...string) bool {
	return slices.ContainsFunc(v.problems, func(m Problem) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return within(m.Path, path) })
	})
}

func (v *validator) upstreamHeaders(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.UpstreamHeaders)) {
		if _, err := identity.New(identity.Options{Claims: map[string]string{name: c.UpstreamHeaders[name]}}); err != nil {
			v.add("upstream_headers", "%v", err)
		}
	}
	if v.mentions("upstream_headers", "strip_headers") {
		return
	}
	if _, err := identity.New(identity.Options{Claims: c.UpstreamHeaders, Strip: c.StripHeaders}); err != nil {
		v.add("upstream_headers", "%v", err)
	}
}

func (v *validator) claims(path, list string) {
	if _, err := claimPaths(list); err != nil {
		v.add(path, "%v", err)
	}
}

func (v *validator) audience(path string, audience []string, insecure bool) {
	if len(audience) == 0 && !insecure {
		v.add(path+".audience", "is needed, so that a token for another service does not pass; or set insecure_any_audience")
	}
	if len(audience) > 0 && insecure {
		v.add(path+".insecure_any_audience", "contradicts audience; remove one of them")
	}
}

func (v *validator) audienceClaim(path, list string) {
	v.claims(path+".audience_claim", list)
	if paths, err := claimPaths(list); err == nil && len(paths) == 0 {
		v.add(path+".audience_claim", "names no claim; leave it out for aud")
	}
}

// alternatives joins names as in "a, b or c".
func alternatives(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// claimPaths reads a list of claim paths, separated by commas.
func claimPaths(list string) ([]core.ClaimPath, error) {
	paths := []core.ClaimPath{} // not nil: the authenticators would read that as their default
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		path, err := core.ParseClaimPath(text)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
