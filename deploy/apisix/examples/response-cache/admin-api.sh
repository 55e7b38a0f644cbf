#!/bin/sh
# Cached responses that differ by caller
#
# When: The gateway keeps responses for a while, and each caller may see something else under the same URL. The key of
# the cache names X-User-Id, which Gatehouse sets before and which no client can forge. Without it one caller
# gets the response of another: the gateway knows no consumer, and with hide_credentials the credential is gone
# before the key is made. Gatehouse decides every request, also those that the cache then responds to.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /orders/1 -> 401
#   GET /orders/1, opaque token -> 200
#   GET /orders/1, machine's token -> 200
#   GET /orders/1, opaque token, forged X-User-Id -> 200
#   GET /orders/1, machine's token, forged X-User-Id -> 200
#   GET /orders/1 -> 401
#   GET /orders/1, token for users only -> 403
#
# Written from deploy/deploytest/cases/response-cache.yaml; change it there.
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
  audience:
    - https://api.example.com
hide_credentials: true
upstream_headers:
  X-User-Id: sub
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
    },
    "proxy-cache": {
      "cache_key": [
        "\$http_x_user_id",
        "||",
        "\$host",
        "\$request_uri"
      ],
      "cache_strategy": "memory",
      "cache_ttl": 60,
      "cache_zone": "memory_cache"
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
