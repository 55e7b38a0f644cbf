#!/bin/sh
# Opaque tokens with introspection
#
# When: Tokens are introspected at the authorization server (RFC 7662), so that a revoked one is refused at once
# or, with a cache, after cache_ttl. Every token is introspected, JWTs too.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /orders/1 -> 401
#   GET /orders/1, opaque token -> 200
#   GET /orders/1, JWT -> 200
#   GET /orders/1, token for users only -> 403
#   GET /orders/1, refresh token -> 401
#
# Written from deploy/deploytest/cases/opaque-tokens.yaml; change it there.
set -eu

put() { # put PATH: with the body from standard input
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/orders <<'JSON'
{"url": "http://orders:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
permissions:
  orders:read:
    description: See orders
    activities:
      - GET,HEAD /orders
      - GET,HEAD /orders/[^/?#]+
YAML
)
put /services/orders/plugins/gatehouse-orders <<JSON
{
  "config": {
    "introspection": {
      "audience": [
        "https://api.example.com"
      ],
      "cache_ttl": 10,
      "client_id": "gateway",
      "client_secret": "{vault://env/introspection-secret}",
      "introspection_endpoint": "http://hydra:4445/admin/oauth2/introspect",
      "introspection_endpoint_auth_method": "client_secret_basic",
      "jwt_tokens": "always"
    },
    "permission_table": $table
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON
