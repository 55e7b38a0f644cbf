#!/bin/sh
# JWT access tokens, verified locally
#
# When: APIs for applications that hold JWTs from an authorization server with a JWKS, such as Ory Hydra. No call
# leaves the gateway per request; a revoked token stays good until it expires.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/users <<'JSON'
{"url": "http://users:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
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
put /services/users/plugins/gatehouse-users <<JSON
{
  "config": {
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
    "permission_table": $table
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/users/routes/users <<'JSON'
{"paths": ["/users"], "strip_path": false}
JSON
