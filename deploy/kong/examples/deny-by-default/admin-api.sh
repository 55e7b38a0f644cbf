#!/bin/sh
# Closed unless a configuration opens it
#
# When: A route must not be open because its plugin is missing: a misspelt name, another namespace, a missing Secret
# (the Ingress Controller serves the route without the plugin), a plugin that Kong refused from decK, a
# route made by hand. Kong runs a global plugin on every route without another configuration of it, so a
# global Gatehouse that allows nothing closes all such routes. Apply it once per gateway, before the routes. A
# route that is to be open then needs a configuration with public activities. The two services are only for
# demonstration: leave them out.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /status -> 200
#   GET /forgotten -> 403
#   GET /forgotten, session cookie -> 403
#
# Written from deploy/deploytest/cases/deny-by-default.yaml; change it there.
set -eu

put() { # put PATH: with the body from standard input
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
permissions: {}
YAML
)
put /plugins/gatehouse-default <<JSON
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

put /services/status <<'JSON'
{"url": "http://hello:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
public:
  - GET,HEAD /status
YAML
)
put /services/status/plugins/gatehouse-status <<JSON
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
put /services/status/routes/status <<'JSON'
{"paths": ["/status"], "strip_path": false}
JSON

put /services/forgotten <<'JSON'
{"url": "http://orders:8080"}
JSON

# No Gatehouse of its own, so the global one closes it.
put /services/forgotten/routes/forgotten <<'JSON'
{"paths": ["/forgotten"], "strip_path": false}
JSON
