#!/bin/sh
# Cached responses that differ by caller
#
# When: The gateway keeps responses for a while, and each caller may see something else under the same URL. The key of
# the cache names X-User-Id, which Gatehouse sets before and which no client can forge. Without it one caller
# gets the response of another: the gateway knows no consumer, and with hide_credentials the credential is gone
# before the key is made. Gatehouse decides every request, also those that the cache then responds to.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
    "hide_credentials": true,
    "introspection": {
      "audience": [
        "https://api.example.com"
      ],
      "introspection_endpoint": "http://hydra:4445/admin/oauth2/introspect"
    },
    "permission_table": $table,
    "upstream_headers": {
      "X-User-Id": "sub"
    }
  },
  "name": "gatehouse"
}
JSON

put /services/orders/plugins/proxy-cache-orders <<'JSON'
{
  "config": {
    "cache_ttl": 60,
    "strategy": "memory",
    "vary_headers": [
      "X-User-Id"
    ]
  },
  "name": "proxy-cache"
}
JSON

# Last, so that it is never open.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON
