#!/bin/sh
# Session or token
#
# When: One service for both: people with a session in a browser, applications with a JWT or an opaque token. A token
# that is sent always counts before a cookie, and one that does not hold is refused, whatever the cookie says.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
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
jwt:
  issuers:
    - issuer: https://auth.example.com/
      jwks_uri: http://hydra:4444/.well-known/jwks.json
      audience:
        - https://api.example.com
introspection:
  introspection_endpoint: http://hydra:4445/admin/oauth2/introspect
  audience:
    - https://api.example.com
login:
  url: https://login.example.com/self-service/login/browser
upstream_headers:
  X-User-Id: sub
  X-Auth-Kind: kind
# People have permissions by their roles, applications by their scopes.
permission_table: |
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
put /routes/products <<JSON
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
      "products:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/products",
    "/products/*"
  ]
}
JSON
