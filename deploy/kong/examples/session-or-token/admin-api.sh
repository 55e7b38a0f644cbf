#!/bin/sh
# Session or token
#
# When: One service for both: people with a session in a browser, applications with a JWT or an opaque token. A token
# that is sent always counts before a cookie, and one that does not hold is refused, whatever the cookie says.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /products/7, session cookie -> 200
#   GET /products/7, session token -> 200
#   GET /products/7, JWT -> 200
#   GET /products/7, opaque token -> 200
#   GET /products/7, viewer's session cookie -> 403
#   GET /products/7, browser -> 302
#   GET /products/7, forged JWT, session cookie -> 401
#
# Written from deploy/deploytest/cases/session-or-token.yaml; change it there.
set -eu

put() { # put PATH: with the body from standard input
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/products <<'JSON'
{"url": "http://products:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
permissions:
  products:read:
    description: See products
    activities:
      - GET,HEAD /products
      - GET,HEAD /products/[^/?#]+
roles:
  editor: [products:read]
YAML
)
put /services/products/plugins/gatehouse-products <<JSON
{
  "config": {
    "introspection": {
      "audience": [
        "https://api.example.com"
      ],
      "introspection_endpoint": "http://hydra:4445/admin/oauth2/introspect"
    },
    "jwt": {
      "issuers": [
        {
          "audience": [
            "https://api.example.com"
          ],
          "issuer": "https://auth.example.com/",
          "jwks_uri": "http://hydra:4444/.well-known/jwks.json"
        }
      ]
    },
    "login": {
      "url": "https://login.example.com/self-service/login/browser"
    },
    "permission_table": $table,
    "session": {
      "kratos_url": "http://kratos:4433"
    },
    "upstream_headers": {
      "X-Auth-Kind": "kind",
      "X-User-Id": "sub"
    }
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/products/routes/products <<'JSON'
{"paths": ["/products"], "strip_path": false}
JSON
