#!/bin/sh
# JWT access tokens, verified locally
#
# When: APIs for applications that hold JWTs from an authorization server with a JWKS, such as Ory Hydra. No call
# leaves the gateway per request; a revoked token stays good until it expires.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /users/123 -> 401
#   GET /users/123, JWT -> 200
#   POST /users, JWT -> 403
#   GET /users/123, opaque token -> 401
#   GET /users/123, ID token -> 401
#
# Written from deploy/deploytest/cases/jwt.yaml; change it there.
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
jwt:
  issuers:
    # Exactly as in the token's iss, here with a trailing slash.
    - issuer: https://auth.example.com/
      # Leave out to have it discovered from the issuer.
      jwks_uri: http://hydra:4444/.well-known/jwks.json
      audience:
        - https://api.example.com
# A scope named like a permission grants it.
permission_table: |
  permissions:
    users:read:
      description: See users
      activities:
        - GET,HEAD /users
        - GET,HEAD /users/[^/?#]+
    users:write:
      description: Create users
      activities:
        - POST /users
YAML
)
put /routes/users <<JSON
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
      "users:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/users",
    "/users/*"
  ]
}
JSON
