package config

import (
	"strings"
	"testing"
)

func TestSettingsOfTheDatabaseThatCannotHold(t *testing.T) {
	const database = "postgres: {host: db.test, user: node}\n"
	for settings, want := range map[string]string{
		"permission_table_name: main":                                                                           "permission_table_name: needs the section postgres, the database that holds the table",
		database + "permission_table_name: Main":                                                                `permission_table_name: "Main" is no name of a table; use lower-case letters, digits`,
		database + "permission_table_name: ../main":                                                             `permission_table_name: "../main" is no name of a table`,
		database + "permission_table_name: main\npermission_table: 'public: [GET /]'":                           "permission_table: cannot be set beside permission_table_name",
		database + "permission_table_name: main\npermission_table_files: [/t.yaml]":                             "permission_table_name: cannot be set beside permission_table_files: a table has one source",
		database + "permission_table_name: main\nbundle: {urls: ['https://a.test/']}":                           "bundle: cannot be set beside permission_table_name: a table has one source",
		database + "shadow_table_name: main":                                                                    "shadow_table_name: needs permission_table_files, permission_table_name, bundle or classic_tables to be compared with",
		database + "permission_table: 'public: [GET /]'\nshadow_table_name: main":                               "shadow_table_name: needs permission_table_files, permission_table_name, bundle or classic_tables to be compared with",
		"permission_table_files: [/t.yaml]\nshadow_table_name: main":                                            "shadow_table_name: needs the section postgres",
		database + "permission_table_name: main\nshadow_table_name: a\nshadow_table_files: [/t.yaml]":           "shadow_table_name: cannot be set beside shadow_table_files",
		"postgres: {host: db.test}\npermission_table_name: main":                                                "postgres.user: is required",
		"postgres: {user: node}\npermission_table_name: main":                                                   "postgres.host: is required",
		"postgres: {host: db.test, user: node, schema: 'a\"b'}\npermission_table_name: main":                    "postgres.schema: want lower-case letters, digits and '_', at most 31, not first a digit",
		"postgres: {host: db.test, user: node, ca_file: /ca.pem}\npermission_table_name: main":                  "postgres.ssl: is needed for ca_file, server_name and ssl_cert",
		"postgres: {host: db.test, user: node, ssl: true, ssl_cert: /a}\npermission_table_name: main":           "postgres.ssl_cert_key: is needed beside ssl_cert, and only there",
		"postgres: {host: db.test, user: node, standby_hosts: [db2]}\npermission_table_name: main":              "postgres.standby_hosts[0]: want HOST:PORT",
		"postgres: {host: db.test, user: node, standby_hosts: ['db2:x']}\npermission_table_name: main":          "postgres.standby_hosts[0]: want HOST:PORT",
		"postgres: {host: db.test, user: node, target_session_attrs: standby}\npermission_table_name: main":     "postgres.target_session_attrs: must be ",
		"postgres: {host: db.test, user: node, ssl: true, ca_file: /absent}\npermission_table_name: main":       "postgres.ca_file: open /absent",
		"postgres: {host: db.test, user: node, password: $env://GATEHOUSE_ABSENT}\npermission_table_name: main": "postgres.password: the environment variable GATEHOUSE_ABSENT is not set",
		"postgres: {host: db.test, user: node, port: 0}\npermission_table_name: main":                           "postgres.port: must be between 1 and 65535",
		"postgres: {host: db.test, user: node, poll_interval: 0}\npermission_table_name: main":                  "postgres.poll_interval: must be between 0.1 and 3600",
		"postgres: {host: db.test, user: node, pg_password: x}\npermission_table_name: main":                    "postgres.pg_password: ",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte("session: {kratos_url: http://127.0.0.1:1}\n" + settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n  %v\n  want %s", settings, err, want)
		}
	}
	for _, good := range []string{
		database + "permission_table_name: main\nshadow_table_name: main.shadow", database + "permission_table_name: main\nshadow_table_files: [/t.yaml]",
		database + "permission_table_files: [/t.yaml]\nshadow_table_name: main", "postgres: {host: /run/postgresql, user: node}\npermission_table_name: main",
		database + "permission_table: 'public: [GET /]'",
	} {
		if _, err := Load([]byte("session: {kratos_url: http://127.0.0.1:1}\n" + good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
