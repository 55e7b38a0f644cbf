#!/bin/sh
# Sessions with a login redirect
#
# When: Pages for users who sign in at Ory Kratos with a browser. A browser without a session is redirected to the
# login page and back; any other request without a session gets 401.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /hello, browser -> 302
#   GET /hello -> 401
#   GET /hello, session cookie -> 200
#   GET /hello/pages/1, viewer's session cookie -> 200
#   POST /hello, session cookie -> 403
#   GET /hello, forged session cookie -> 401
#
# Written from deploy/deploytest/cases/sessions-login.yaml; change it there.
set -eu

put() { # put PATH: with the body from standard input
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/hello <<'JSON'
{"url": "http://hello:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
authenticated:
  - GET,HEAD /hello
  - GET,HEAD /hello/pages/[^/?#]+
YAML
)
put /services/hello/plugins/gatehouse-hello <<JSON
{
  "config": {
    "login": {
      "url": "https://login.example.com/self-service/login/browser"
    },
    "permission_table": $table,
    "session": {
      "kratos_url": "http://kratos:4433"
    },
    "upstream_headers": {
      "X-User-Email": "identity.traits.email",
      "X-User-Id": "sub"
    }
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/hello/routes/hello <<'JSON'
{"paths": ["/hello"], "strip_path": false}
JSON
