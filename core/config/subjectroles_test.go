package config

import (
	"strings"
	"testing"
)

func TestSettingsOfSubjectRolesThatCannotHold(t *testing.T) {
	const database = "\npostgres: {host: db.test, user: gatehouse_node}\npermission_table: 'public: [GET /a]'\n"
	const introspected = "introspection: {introspection_endpoint: 'http://127.0.0.1:1/', audience: [api]%s}\n"
	for settings, want := range map[string]string{
		"session: {kratos_url: http://127.0.0.1:1}\npermission_table: 'public: [GET /a]'\nsubject_roles: {}": "subject_roles: needs the section postgres",
		strings.Replace(introspected, "%s", "", 1) + "subject_roles: {}" + database:                          "introspection.issuer: is needed for subject_roles",
		"session: {kratos_url: http://127.0.0.1:1}\nsubject_roles: {mode: merge}" + database:                 "subject_roles.mode: must be one of add, replace",
		"session: {kratos_url: http://127.0.0.1:1}\nsubject_roles: {credentials: [api_token]}" + database:    "subject_roles.credentials[0]: must be one of session, jwt, introspection",
		"session: {kratos_url: http://127.0.0.1:1}\nsubject_roles: {credentials: []}" + database:             "subject_roles.credentials: is an empty list",
		"session: {kratos_url: http://127.0.0.1:1}\nsubject_roles: {cache_ttl: 0}" + database:                "subject_roles.cache_ttl: must be between",
	} {
		_, err := Load([]byte(settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n  %v\n  want %s", settings, err, want)
		}
	}
	for _, good := range []string{
		"session: {kratos_url: http://127.0.0.1:1}\nsubject_roles: {}" + database,
		strings.Replace(introspected, "%s", ", issuer: 'https://id.test'", 1) + "subject_roles: {mode: replace, max_stale: 60}" + database,
		strings.Replace(introspected, "%s", "", 1) + "subject_roles: {credentials: [session]}" + database,
	} {
		if _, err := Load([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
