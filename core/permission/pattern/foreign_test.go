package pattern

import (
	"regexp"
	"strings"
	"testing"
)

// What other routers and gateways call a path is often a valid regex that matches
// nothing, or the text itself: the activity would guard nothing.
func TestPathsOfOtherRoutersAreRefusedWithWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		"/users/{id}":                "write (?P<id>[^/]+), or [{]id} for the text itself",
		"/files/{name}.json":         "write (?P<name>[^/]+),",
		"/users/{user-id}":           "write (?P<user_id>[^/]+),",
		"/users/{{id}}":              "write (?P<id>[^/]+),",
		"/users/{id?}":               "write (?P<id>[^/]+),",
		"/users/{id:[0-9]+}":         "write (?P<id>[0-9]+),",
		"/users/{id:[0-9]{3}}/x":     "write (?P<id>[0-9]{3}),",
		"/users/{id:int}":            "write (?P<id>[0-9]+),",
		"/files/{name:path}":         "write (?P<name>.+),",
		"/files/{name:.+}":           "write (?P<name>.+),",
		"/{proxy+}":                  "write (?P<proxy>.+),",
		"/a/{*rest}":                 "write (?P<rest>.+),",
		"/a/{**rest}":                "write (?P<rest>.+),",
		"/v1/{name=shelves/*}":       "write (?P<name>shelves/[^/]+),",
		"/v1/{name=**}":              "write (?P<name>.+),",
		"/a/{css,js}/b":              "write (css|js),",
		"/a/{[0-9]{3}}":              "write [0-9]{3},",
		"/users/<int:id>":            "write (?P<id>[0-9]+), or [<]int:id> for the text itself",
		"/users/<id>":                "write (?P<id>[^/]+),",
		"/users/<uuid:id>/x":         "write (?P<id>[0-9a-fA-F-]{36}),",
		"/users/<path:rest>":         "write (?P<rest>.+),",
		`/users/<id:\d+>`:            `write (?P<id>\d+),`,
		`/users/<re("[a-z]+"):name>`: "write (?P<name>[a-z]+),",
		"/users/<[0-9]+>":            "write [0-9]+,",
		"/users/<.*>":                "write .*,",
		"/users/:id":                 "write (?P<id>[^/]+), or [:]id for the text itself",
		`/users/:id(\d+)`:            `write (?P<id>\d+),`,
		"/users/:id([0-9]+)/x":       "write (?P<id>[0-9]+),",
		"/users/:id?":                "write (?P<id>[^/]+),",
		"/users/:id<int>":            "write (?P<id>[0-9]+),",
		"/files/:rest*":              "write (?P<rest>.+),",
		"/files/:name.json":          "write (?P<name>[^/]+),",
		"/users/$id":                 "write (?P<id>[^/]+), or [$]id for the text itself",
		"/users/${id}":               "write (?P<id>[^/]+), or [$][{]id} for the text itself",
		"/users/#{id}":               "write (?P<id>[^/]+),",
		"/users/[id]":                "write (?P<id>[^/]+) for a segment, or (?:i|d) for one of these characters",
		"/docs/[...slug]":            "write (?P<slug>.+) for a segment,",
		"/docs/[[...slug]]":          "write (?P<slug>.+) for a segment,",
		"^~ /api":                    "begins with ^~, a modifier of nginx's location; write /api.*",
		"~ ^/api/(.*)$":              "write /api/(.*)",
		"~ ^/api":                    "write /api.*",
		`~* \.jpg$`:                  `write (?i:/.*\.jpg)`,
		"= /exact":                   "write /exact",
		"https://api.test/users":     "names a host; write the path /users, and the host under hosts: [api.test]",
		"https://api.test:8443":      "write the path /, and the host under hosts: [api.test]",
		`https?:\/\/api\.test\/x`:    "write the path /x, and the host under hosts: [api.test]",
		"<https?>://<.*>/x":          "write the path /x, and the host under hosts: [api.example.com]",
		"(http|https)://a.test/x":    "write the path /x, and the host under hosts: [a.test]",
		"*.api.test/x":               "write the path /x, and the host under hosts: [*.api.test]",
		"api.test/x":                 "write the path /x, and the host under hosts: [api.test]",
		"localhost:8080/x":           "write the path /x, and the host under hosts: [localhost]",
		"//api.test/x":               "write the path /x, and the host under hosts: [api.test]",
		"//things/admin":             "begins with a double slash, which no request may; write /things/admin",
		"/things?page=1&x":           `holds the query "?page=1&x"`,
		`/things\?page=[0-9]+`:       "a query takes no part in a match",
		"/a/**":                      "a regex is no glob",
		"/a/*":                       "a regex is no glob",
		"/a/*/b":                     "a regex is no glob",
		"/a/*rest":                   "a regex is no glob",
		"*.jpg":                      "a regex is no glob",
	} {
		_, err := ParsePath(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestReplacementsAreRegexes: what an error tells people to write is accepted.
func TestReplacementsAreRegexes(t *testing.T) {
	write := regexp.MustCompile(`write (?:the path )?(.+?)(?:, or | for a segment|, and the host|$)`)
	for _, text := range []string{
		"{id}", "{id:[0-9]{3}}", "{*rest}", "{a,b}", "{x=**}", "{a-b.c}", "<int:id>", "<[0-9]+>", `<id:\d+>`, ":id", `:id(\d+)`, "$id", "[id]", "[[...slug]]",
	} {
		_, err := ParsePath("/x/" + text)
		if err == nil {
			t.Errorf("%s is accepted", text)
			continue
		}
		parts := write.FindStringSubmatch(err.Error())
		if parts == nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if _, err := ParsePath("/x/" + parts[1]); err != nil {
			t.Errorf("%s: what to write is refused: %v", text, err)
		}
	}
}

func TestRegexesThatOnlyLookLikeThoseOfRouters(t *testing.T) {
	for _, text := range []string{
		"/users/(?P<id>[^/]+)", "/users/(?<id>[0-9]+)", "/a/[0-9]{1,3}/x{2}", "/x/[{]id}", `/x/\{id\}`, "/x/[<]b>", `/x/\<b\>`, "/x/[:]id", `/x/\:id`, "/v1/users:batchGet", "/@scope/[^/]+",
		"/[ab]/x", "/v[12]/x", "/[a-z]/x", "/x/[a-z]+", "/a;?x=1", "/[?]a=b", "/(?i)a", "/a/(?:x|y)", "/users/[^/]+/?", "/a/[[:alpha:]]+", "/a/[]x]+", "/a/[^]:]*", "/x$", "^/x$", "/a(/.*)?", "/x/[$]id",
		"/a.b/c", "/localhost:80/x",
	} {
		if _, err := ParsePath(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
