#!/bin/sh
# A permission table, and everything else, from files
#
# When: Several routes share one configuration and one table, which live on the gateway's machine (a mounted volume,
# a ConfigMap) and are deployed by themselves. The gateway's own configuration is one line per route.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /users/123, viewer's session cookie -> 200
#   GET /orders/1, viewer's session cookie -> 403
#   GET /orders/1, session cookie -> 200
#   GET /orders/1, opaque token -> 200
#   GET /users/123 -> 401
#
# Written from deploy/deploytest/cases/permission-table-file.yaml; change it there.
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
file: /etc/gatehouse/gatehouse.yaml
YAML
)
put /routes/users <<JSON
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
      "users:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/users",
    "/users/*"
  ]
}
JSON

# The plugin's configuration, as one JSON string.
config=$(jq --raw-input --slurp . <<'YAML'
file: /etc/gatehouse/gatehouse.yaml
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
