#!/bin/sh
# Browser applications on other origins (CORS)
#
# When: A single-page application calls the API from another origin. Preflights have no credential, so the gateway's
# cors plugin must respond to them before Gatehouse gets them. Refusals must have the CORS headers, or the
# application cannot read the reason.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
#
# Try:
#   GET /products/7, JWT, from the application -> 200
#   GET /products/7, from the application -> 401
#   POST /products, JWT, from the application -> 403
#
# Written from deploy/deploytest/cases/cors.yaml; change it there.
set -eu

put() { # put PATH: with the body from standard input
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/products <<'JSON'
{"url": "http://products:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
permissions:
  products:read:
    description: See products
    activities:
      - GET,HEAD /products
      - GET,HEAD /products/[^/?#]+
YAML
)
put /services/products/plugins/gatehouse-products <<JSON
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

put /services/products/plugins/cors-products <<'JSON'
{
  "config": {
    "exposed_headers": [
      "WWW-Authenticate"
    ],
    "headers": [
      "Authorization",
      "Content-Type"
    ],
    "max_age": 3600,
    "methods": [
      "GET",
      "HEAD",
      "POST"
    ],
    "origins": [
      "https://app.example.com"
    ]
  },
  "name": "cors"
}
JSON

# Last, so that it is never open.
put /services/products/routes/products <<'JSON'
{"paths": ["/products"], "strip_path": false}
JSON
