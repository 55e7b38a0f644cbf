#!/bin/sh
# Rate limits per caller; consumers and groups on another route
#
# When: Each caller may make a limited number of calls, from any address. The gateway's own limit counts by X-User-Id,
# which Gatehouse sets before and which no client can forge, because Gatehouse removes the client's copies.
# Gatehouse creates no consumers of the gateway: permissions and roles replace consumer groups, and plugins that
# need a consumer (limit_by consumer, consumer-restriction) do not work on these routes by themselves; Kong's acl can
# have groups, as the example groups shows, and a function can make the caller a consumer of APISIX, as
# caller-as-consumer shows. Partners with API keys keep the gateway's consumers and groups, on separate
# routes. These routes have Gatehouse too: it allows the paths that the table lists as public, and removes an
# X-User-Id that a partner might send.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /orders/1 -> 401
#   GET /orders/1, opaque token -> 200
#   GET /orders/1, machine's token, forged X-User-Id -> 200
#   GET /orders/1, token for users only -> 403
#   GET /partners/7, partner's key, forged X-User-Id -> 200
#   POST /partners/7, partner's key -> 403
#
# Written from deploy/deploytest/cases/rate-limiting.yaml; change it there.
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

put /services/orders/plugins/rate-limiting-orders <<'JSON'
{
  "config": {
    "header_name": "X-User-Id",
    "limit_by": "header",
    "minute": 60,
    "policy": "local"
  },
  "name": "rate-limiting"
}
JSON

# Last, so that it is never open.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON

# Partners: consumers of Kong's, with a key from the environment.
put /services/partners <<'JSON'
{"url": "http://products:8080"}
JSON
table=$(jq --raw-input --slurp . <<'YAML'
public:
  - GET,HEAD /partners
  - GET,HEAD /partners/[^/?#]+
YAML
)
put /services/partners/plugins/gatehouse-partners <<JSON
{
  "name": "gatehouse",
  "config": {
    "introspection": {
      "introspection_endpoint": "http://hydra:4445/admin/oauth2/introspect",
      "audience": ["https://api.example.com"]
    },
    "upstream_headers": {"X-User-Id": "sub"},
    "permission_table": $table
  }
}
JSON
put /services/partners/plugins/key-auth-partners <<'JSON'
{"name": "key-auth", "config": {"key_names": ["apikey"], "hide_credentials": true}}
JSON
put /services/partners/plugins/acl-partners <<'JSON'
{"name": "acl", "config": {"allow": ["partners"]}}
JSON
put /services/partners/plugins/rate-limiting-partners <<'JSON'
{"name": "rate-limiting", "config": {"minute": 600, "policy": "local", "limit_by": "consumer"}}
JSON
put /consumers/acme <<'JSON'
{"tags": ["partners"]}
JSON
put /consumers/acme/acls/partners <<'JSON'
{"group": "partners"}
JSON
# By an id of our own, so that the script may run again.
put /consumers/acme/key-auth/5e2c8c3b-5c0f-4d0e-9d0e-0c6f1b7a2d41 <<JSON
{"key": "${PARTNER_KEY:?the key of the partner acme}"}
JSON
# Last, so that it is never open.
put /services/partners/routes/partners <<'JSON'
{"paths": ["/partners"], "strip_path": false}
JSON
