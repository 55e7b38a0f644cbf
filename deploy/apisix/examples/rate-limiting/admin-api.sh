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
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
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
    "limit-count": {
      "count": 60,
      "key": "http_x_user_id",
      "key_type": "var",
      "policy": "local",
      "rejected_code": 429,
      "time_window": 60
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

# Partners: consumers of APISIX's, with a key from the environment.
config=$(jq --raw-input --slurp . <<'YAML'
introspection:
  introspection_endpoint: http://hydra:4445/admin/oauth2/introspect
  audience:
    - https://api.example.com
upstream_headers:
  X-User-Id: sub
permission_table: |
  public:
    - GET,HEAD /partners
    - GET,HEAD /partners/[^/?#]+
YAML
)
put /routes/partners <<JSON
{
  "uris": ["/partners", "/partners/*"],
  "plugins": {
    "ext-plugin-pre-req": {"conf": [{"name": "gatehouse", "value": $config}]},
    "key-auth": {"hide_credentials": true},
    "consumer-restriction": {"type": "consumer_group_id", "whitelist": ["partners"]}
  },
  "upstream": {"type": "roundrobin", "nodes": {"products:8080": 1}}
}
JSON
put /consumer_groups/partners <<'JSON'
{
  "plugins": {
    "limit-count": {
      "count": 600, "time_window": 60, "key_type": "var", "key": "consumer_name", "rejected_code": 429, "policy": "local"
    }
  }
}
JSON
put /consumers/acme <<JSON
{
  "username": "acme",
  "group_id": "partners",
  "plugins": {"key-auth": {"key": "${PARTNER_KEY:?the key of the partner acme}"}}
}
JSON
