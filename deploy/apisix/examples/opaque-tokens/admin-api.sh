#!/bin/sh
# Opaque tokens with introspection
#
# When: Tokens are introspected at the authorization server (RFC 7662), so that a revoked one is refused at once
# or, with a cache, after cache_ttl. Every token is introspected, JWTs too.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
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
introspection:
  introspection_endpoint: http://hydra:4445/admin/oauth2/introspect
  # Ory Hydra's endpoint needs no client; most others do.
  introspection_endpoint_auth_method: client_secret_basic
  client_id: gateway
  client_secret: $env://INTROSPECTION_SECRET
  audience:
    - https://api.example.com
  jwt_tokens: always
  # Seconds for which a revoked token may still pass; 0 introspects every time.
  cache_ttl: 10
permission_table: |
  permissions:
    orders:read:
      description: See orders
      activities:
        - GET,HEAD /orders
        - GET,HEAD /orders/[^/?#]+
YAML
)
put /routes/orders <<JSON
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
      "orders:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/orders",
    "/orders/*"
  ]
}
JSON
