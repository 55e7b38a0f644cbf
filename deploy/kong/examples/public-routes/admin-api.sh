#!/bin/sh
# Public and protected routes
#
# When: Some paths of a service are public: health checks, a home page, assets. Put the plugin on the whole
# service and list these paths in the table, instead of leaving the plugin off. Gatehouse then removes forged
# identity headers on public paths too, and a path that is not listed stays closed.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/world <<'JSON'
{"url": "http://world:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
public:
  - GET,HEAD /world
  - GET,HEAD /world/assets/[^/?#]+
  - GET,HEAD /world/healthz
authenticated:
  - GET,HEAD /world/account
YAML
)
put /services/world/plugins/gatehouse-world <<JSON
{
  "config": {
    "permission_table": $table,
    "session": {
      "kratos_url": "http://kratos:4433"
    }
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/world/routes/world <<'JSON'
{"paths": ["/world"], "strip_path": false}
JSON
