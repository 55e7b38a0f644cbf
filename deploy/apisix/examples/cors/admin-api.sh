#!/bin/sh
# Browser applications on other origins (CORS)
#
# When: A single-page application calls the API from another origin. Preflights have no credential, so the gateway's
# cors plugin must respond to them before Gatehouse gets them. Refusals must have the CORS headers, or the
# application cannot read the reason.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /products/7, JWT, from the application -> 200
#   GET /products/7, from the application -> 401
#   POST /products, JWT, from the application -> 403
#   OPTIONS /products/7, preflight -> 200
#
# Written from deploy/deploytest/cases/cors.yaml; change it there.
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
jwt:
  issuers:
    - issuer: https://auth.example.com/
      jwks_uri: http://hydra:4444/.well-known/jwks.json
      audience:
        - https://api.example.com
permission_table: |
  permissions:
    products:read:
      description: See products
      activities:
        - GET,HEAD /products
        - GET,HEAD /products/[^/?#]+
YAML
)
put /routes/products <<JSON
{
  "plugins": {
    "cors": {
      "_meta": {
        "priority": 13000
      },
      "allow_headers": "Authorization,Content-Type",
      "allow_methods": "GET,HEAD,POST",
      "allow_origins": "https://app.example.com",
      "expose_headers": "WWW-Authenticate",
      "max_age": 3600
    },
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
      "products:8080": 1
    },
    "type": "roundrobin"
  },
  "uris": [
    "/products",
    "/products/*"
  ]
}
JSON
