package signinimport

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// MaxDocument is the size of the largest file that is read.
const MaxDocument = 4 << 20

// Plugin is a configuration of openid-connect in a gateway's file.
type Plugin struct {
	// At is the name of the route, the service or whatever else has it.
	At     string
	Values map[string]any
}

// Plugins finds the configurations of openid-connect in a file of Kong or APISIX, YAML or
// JSON, however deep: a plugin in the form of Kong, in that of APISIX, a resource of
// Kubernetes, or the settings alone.
func Plugins(text []byte) ([]Plugin, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("the file is larger than %d MiB", MaxDocument>>20)
	}
	var found []Plugin
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	for n := 0; ; n++ {
		var document any
		if err := decoder.Decode(&document); err != nil {
			if n > 0 && err.Error() == "EOF" {
				break
			}
			return nil, errors.New("the file is neither YAML nor JSON")
		}
		if m, ok := document.(map[string]any); ok && len(found) == 0 && n == 0 && isSettings(m) {
			return []Plugin{{"", m}}, nil
		}
		found = search(found, document, "")
	}
	if len(found) == 0 {
		return nil, errors.New("the file has no openid-connect that is switched on")
	}
	return found, nil
}

// isSettings reports whether a document is the settings of a plugin.
func isSettings(m map[string]any) bool {
	return m["plugins"] == nil && m["client_id"] != nil && (m["issuer"] != nil || m["discovery"] != nil)
}

const pluginName = "openid-connect"

func search(found []Plugin, value any, at string) []Plugin {
	switch v := value.(type) {
	case []any:
		for _, member := range v {
			found = search(found, member, at)
		}
	case map[string]any:
		at = nameOf(v, at)
		config, hasConfig := v["config"].(map[string]any)
		if hasConfig && (v["name"] == pluginName || v["plugin"] == pluginName) {
			if v["enabled"] != false && v["disabled"] != true {
				found = append(found, Plugin{at, config})
			}
			return found
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if inner, ok := v[name].(map[string]any); ok && name == pluginName {
				if meta, _ := inner["_meta"].(map[string]any); meta["disable"] != true {
					inner = maps.Clone(inner)
					delete(inner, "_meta")
					found = append(found, Plugin{at, inner})
				}
				continue
			}
			found = search(found, v[name], at)
		}
	}
	return found
}

// nameOf is the name of what a mapping is, unless it is a plugin.
func nameOf(m map[string]any, otherwise string) string {
	if m["name"] == pluginName {
		if label, ok := m["instance_name"].(string); ok {
			return label
		}
		for _, of := range []string{"route", "service"} {
			if name, ok := m[of].(string); ok {
				return name
			}
		}
		return otherwise
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		m = meta
	}
	for _, key := range []string{"name", "id"} {
		switch name := m[key].(type) {
		case string:
			return name
		case int:
			return fmt.Sprint(name)
		}
	}
	return otherwise
}

// Choose picks one of several plugins by the name of what has it; empty where there is
// one.
func Choose(all []Plugin, at string) (map[string]any, error) {
	var fit []Plugin
	var names []string
	for _, p := range all {
		if at == "" || p.At == at {
			fit = append(fit, p)
		}
		if !slices.Contains(names, p.At) {
			names = append(names, p.At)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0].Values, nil
	case at != "" && len(fit) == 0:
		return nil, fmt.Errorf("no %s is at %q; there are: %s", pluginName, at, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("there are %d of %s; choose one with --route: %s", len(fit), pluginName, strings.Join(names, ", "))
}

// ReadOAuth2Proxy reads one file of oauth2-proxy: its configuration (TOML), the alpha
// configuration (YAML), variables (OAUTH2_PROXY_NAME=value) or flags (--name=value).
func ReadOAuth2Proxy(text []byte) (map[string]any, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("the file is larger than %d MiB", MaxDocument>>20)
	}
	switch lines := significant(string(text)); {
	case all(lines, isVariable):
		return pairs(lines, func(line string) string {
			return strings.TrimPrefix(strings.TrimPrefix(line, "export "), variablePrefix)
		}), nil
	case all(lines, isFlag):
		return pairs(lines, func(line string) string { return strings.TrimLeft(flagOf(line), "-") }), nil
	}
	var values map[string]any
	err := toml.Unmarshal(text, &values)
	if err == nil {
		return values, nil
	}
	var alpha map[string]any
	if yaml.Unmarshal(text, &alpha) == nil && (alpha["providers"] != nil || alpha["upstreamConfig"] != nil || alpha["injectRequestHeaders"] != nil) {
		return fromAlpha(alpha)
	}
	return nil, errors.New("the file is no configuration of oauth2-proxy: neither TOML, nor an alpha configuration, nor variables OAUTH2_PROXY_..., nor flags --...")
}

const variablePrefix = "OAUTH2_PROXY_"

// significant are the lines that say something.
func significant(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, strings.TrimSuffix(line, " \\"))
		}
	}
	return lines
}

func all(lines []string, is func(string) bool) bool {
	return len(lines) > 0 && !slices.ContainsFunc(lines, func(line string) bool { return !is(line) })
}

func isVariable(line string) bool {
	return strings.HasPrefix(strings.TrimPrefix(line, "export "), variablePrefix) && strings.Contains(line, "=")
}

// flagOf is a line of flags without what a list of arguments puts around it.
func flagOf(line string) string {
	return strings.Trim(strings.TrimSpace(strings.TrimPrefix(line, "-  ")), `"',`)
}

func isFlag(line string) bool {
	line = strings.TrimPrefix(line, "- ")
	return strings.HasPrefix(flagOf(line), "--")
}

// pairs reads lines of name=value. A list is split at commas, and grows by repetition.
func pairs(lines []string, rest func(string) string) map[string]any {
	values := map[string]any{}
	for _, line := range lines {
		name, value, hasValue := strings.Cut(rest(strings.TrimPrefix(line, "- ")), "=")
		setting := settingOf(strings.TrimSpace(name))
		value = unquoted(strings.TrimSpace(value))
		switch {
		case isList(setting):
			list, _ := values[setting].([]any)
			for one := range strings.SplitSeq(value, ",") {
				list = append(list, strings.TrimSpace(one))
			}
			values[setting] = list
		case !hasValue || value == "true":
			values[setting] = true
		case value == "false":
			values[setting] = false
		default:
			values[setting] = value
		}
	}
	return values
}

func unquoted(text string) string {
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		return text[1 : len(text)-1]
	}
	return text
}

// alphaNames are the settings of the alpha configuration that the file has, too.
var alphaNames = map[string]string{
	"clientID": "client_id", "clientSecret": "client_secret", "clientSecretFile": "client_secret_file", "provider": "provider", "name": "provider_display_name", "caFiles": "provider_ca_files",
	"useSystemTrustStore": "use_system_trust_store", "loginURL": "login_url", "redeemURL": "redeem_url", "profileURL": "profile_url", "skipClaimsFromProfileURL": "skip_claims_from_profile_url",
	"resource": "resource", "validateURL": "validate_url", "scope": "scope", "allowedGroups": "allowed_groups", "code_challenge_method": "code_challenge_method", "backendLogoutURL": "backend_logout_url",
	"authRequestResponseMode": "auth_request_response_mode", "oidcConfig.issuerURL": "oidc_issuer_url", "oidcConfig.insecureAllowUnverifiedEmail": "insecure_oidc_allow_unverified_email",
	"oidcConfig.insecureSkipIssuerVerification": "insecure_oidc_skip_issuer_verification", "oidcConfig.insecureSkipNonce": "insecure_oidc_skip_nonce", "oidcConfig.skipDiscovery": "skip_oidc_discovery",
	"oidcConfig.jwksURL": "oidc_jwks_url", "oidcConfig.publicKeyFiles": "oidc_public_key_files", "oidcConfig.emailClaim": "oidc_email_claim", "oidcConfig.groupsClaim": "oidc_groups_claim",
	"oidcConfig.userIDClaim": "user_id_claim", "oidcConfig.audienceClaims": "oidc_audience_claims", "oidcConfig.extraAudiences": "oidc_extra_audiences",
	"oidcConfig.enabledSigningAlgs": "oidc_enabled_signing_algs", "keycloakConfig.groups": "keycloak_groups", "keycloakConfig.roles": "allowed_roles", "azureConfig.tenant": "azure_tenant",
	"microsoftEntraIDConfig.allowedTenants": "entra_id_allowed_tenants", "gitlabConfig.group": "gitlab_groups", "gitlabConfig.projects": "gitlab_projects", "googleConfig.group": "google_groups",
}

// fromAlpha writes an alpha configuration with the names of the file. Of several providers
// oauth2-proxy takes the first.
func fromAlpha(alpha map[string]any) (map[string]any, error) {
	values := map[string]any{}
	for name, value := range alpha {
		if name != "providers" {
			values[name] = value
		}
	}
	list, _ := alpha["providers"].([]any)
	if len(list) == 0 {
		return values, nil
	}
	provider, ok := list[0].(map[string]any)
	if !ok {
		return nil, errors.New("providers: is no list of mappings")
	}
	// Headers are those of injectRequestHeaders alone.
	values["pass_user_headers"] = false
	flatten(values, "", provider)
	return values, nil
}

func flatten(values map[string]any, prefix string, of map[string]any) {
	for name, value := range of {
		full := prefix + name
		inner, isMapping := value.(map[string]any)
		switch {
		case alphaNames[full] != "":
			values[alphaNames[full]] = value
		case isMapping:
			flatten(values, full+".", inner)
		case full != "id":
			values["providers."+full] = value
		}
	}
}

// Merge puts what several files say into one. Of two that name a setting the later
// counts.
func Merge(files ...map[string]any) map[string]any {
	merged := map[string]any{}
	for _, file := range files {
		maps.Copy(merged, file)
	}
	return merged
}
