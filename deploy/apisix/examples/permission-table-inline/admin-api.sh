#!/bin/sh
# A permission table in the gateway's configuration
#
# When: The table belongs to one route and is reviewed with it. The changed configuration takes effect as everything
# else of the gateway does. For a table that several routes share, see permission-table-file.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /orders/1, viewer's session cookie -> 200
#   GET /orders/1, opaque token -> 200
#   GET /orders/one, opaque token -> 403
#   POST /orders/1/cancel, viewer's session cookie -> 403
#   POST /orders/1/cancel, session cookie -> 401
#   GET /orders/1 -> 401
#
# Written from deploy/deploytest/cases/permission-table-inline.yaml; change it there.
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
introspection:
  introspection_endpoint: http://hydra:4445/admin/oauth2/introspect
  audience:
    - https://api.example.com
upstream_headers:
  X-User-Id: sub
  X-User-Permissions: permissions
permission_table: |
  permissions:
    orders:read:
      description: See orders
      activities:
        - GET,HEAD /orders
        - GET,HEAD /orders/[0-9]+
    orders:cancel:
      description: Cancel an order, with a second factor
      activities:
        - methods: [POST]
          path: /orders/[0-9]+/cancel
          require: {aal: aal2}
  roles:
    viewer: [orders:read]
    editor: [role:viewer, orders:cancel]
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
