#!/bin/sh
# Closed unless a configuration opens it
#
# When: A route must not be open because its plugin is missing: a name misspelt, another namespace, a Secret that is not
# there (the Ingress Controller serves the route without the plugin), a plugin that Kong refused from decK, a
# route that somebody made by hand. Kong runs a global plugin where there is no other configuration of it, so a
# global Gatehouse that allows nothing closes them all: once per gateway, before the routes. What is to be open then
# needs a configuration with public activities. users and orders are here to show it.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /users/123 -> 401
#   GET /users/123, JWT -> 200
#   GET /orders/1 -> 403
#   GET /orders/1, JWT -> 403
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

put /services/users <<'JSON'
{"url": "http://users:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
permissions:
  users:read:
    description: See users
    activities:
      - GET,HEAD /users
      - GET,HEAD /users/[^/?#]+
YAML
)
put /services/users/plugins/gatehouse-users <<JSON
{
  "config": {
    "jwt": {
      "issuers": [
        {
          "audience": [
            "https://api.example.com"
          ],
          "issuer": "https://auth.example.com/",
          "jwks_uri": "http://hydra:4444/.well-known/jwks.json"
        }
      ]
    },
    "permission_table": $table
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

# No Gatehouse of its own, so the global one closes it.
put /services/orders/routes/orders <<'JSON'
{"paths": ["/orders"], "strip_path": false}
JSON
