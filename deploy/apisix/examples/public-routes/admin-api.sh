#!/bin/sh
# Public and protected routes
#
# When: Some paths of a service are public: health checks, a home page, assets. Put the plugin on the whole
# service and list these paths in the table, instead of leaving the plugin off. Gatehouse then removes forged
# identity headers on public paths too, and a path that is not listed stays closed.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /world -> 200
#   GET /world/healthz, forged X-User-Id -> 200
#   GET /world/account -> 401
#   GET /world/account, session cookie -> 200
#   GET /world/internal, session cookie -> 403
#   POST /world -> 403
#
# Written from deploy/deploytest/cases/public-routes.yaml; change it there.
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
permission_table: |
  public:
    - GET,HEAD /world
    - GET,HEAD /world/assets/[^/?#]+
    - GET,HEAD /world/healthz
  authenticated:
    - GET,HEAD /world/account
YAML
)
put /routes/world <<JSON
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
      "world:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/world",
    "/world/*"
  ]
}
JSON
