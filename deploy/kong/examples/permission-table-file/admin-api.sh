#!/bin/sh
# A permission table, and everything else, from files
#
# When: Several routes share one configuration and one table, which live on the gateway's machine (a mounted volume,
# a ConfigMap) and are deployed by themselves. The gateway's own configuration is one line per route.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/users <<'JSON'
{"url": "http://users:8080"}
JSON
put /services/users/plugins/gatehouse-users <<'JSON'
{
  "config": {
    "file": "/etc/gatehouse/gatehouse.yaml"
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/users/routes/users <<'JSON'
{"paths": ["/users"], "strip_path": false}
JSON

put /services/orders <<'JSON'
{"url": "http://orders:8080"}
JSON
put /services/orders/plugins/gatehouse-orders <<'JSON'
{
  "config": {
    "file": "/etc/gatehouse/gatehouse.yaml"
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON
