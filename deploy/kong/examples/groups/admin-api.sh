#!/bin/sh
# Groups for Kong's acl plugin
#
# When: Kong's acl plugin says which groups may call a service, and the groups are in sessions or tokens. Gatehouse hands
# Kong the caller's groups, without making the caller a consumer of Kong. The permission table counts too: acl can
# only refuse more.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /orders/1 -> 401
#   GET /orders/1, session cookie -> 200
#   GET /orders/1, viewer's session cookie -> 403
#   GET /orders/1, machine's token -> 403
#
# Written from deploy/deploytest/cases/groups.yaml; change it there.
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
authenticated:
  - GET,HEAD /orders
  - GET,HEAD /orders/[^/?#]+
YAML
)
put /services/orders/plugins/gatehouse-orders <<JSON
{
  "config": {
    "authenticated_groups_claim": "roles",
    "introspection": {
      "audience": [
        "https://api.example.com"
      ],
      "introspection_endpoint": "http://hydra:4445/admin/oauth2/introspect"
    },
    "permission_table": $table,
    "session": {
      "kratos_url": "http://kratos:4433"
    }
  },
  "name": "gatehouse"
}
JSON

put /services/orders/plugins/acl-orders <<'JSON'
{
  "config": {
    "allow": [
      "editor"
    ],
    "hide_groups_header": true
  },
  "name": "acl"
}
JSON

# Last, so that it is never open.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON
