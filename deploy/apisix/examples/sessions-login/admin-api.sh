#!/bin/sh
# Sessions with a login redirect
#
# When: Pages for users who sign in at Ory Kratos with a browser. A browser without a session is redirected to the
# login page and back; any other request without a session gets 401.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
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
  body=$(cat)
  if command -v gatehouse >/dev/null; then
    printf '%s\n' "$body" | gatehouse check --as apisix-object -
  fi
  printf '%s\n' "$body" | curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header "X-API-KEY: $ADMIN_KEY" --data-binary @- \
    "${APISIX_ADMIN:-http://127.0.0.1:9180}/apisix/admin$1"
}

# The plugin's configuration, as one JSON string.
config=$(jq --raw-input --slurp . <<'YAML'
session:
  kratos_url: http://kratos:4433
login:
  url: https://login.example.com/self-service/login/browser
upstream_headers:
  X-User-Id: sub
  X-User-Email: identity.traits.email
# Every signed-in user may read; roles are not needed here.
permission_table: |
  authenticated:
    - GET,HEAD /hello
    - GET,HEAD /hello/pages/[^/?#]+
YAML
)
put /routes/hello <<JSON
{
  "plugins": {
    "ext-plugin-pre-req": {
      "conf": [
        {
          "name": "gatehouse",
          "value": $config
        }
      ]
    }
  },
  "upstream": {
    "nodes": {
      "hello:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/hello",
    "/hello/*"
  ]
}
JSON
