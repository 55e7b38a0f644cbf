#!/bin/sh
# A permission table in the gateway's configuration
#
# When: The table belongs to one route and is reviewed with it. The changed configuration takes effect as everything
# else of the gateway does. For a table that several routes share, see permission-table-file.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
    "session": {
      "kratos_url": "http://kratos:4433"
    },
    "upstream_headers": {
      "X-User-Id": "sub",
      "X-User-Permissions": "permissions"
    }
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON
