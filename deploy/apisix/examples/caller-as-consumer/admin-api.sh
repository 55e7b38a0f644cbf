#!/bin/sh
# The caller as a consumer of APISIX, for its other plugins
#
# When: APISIX's consumer-restriction, acl, limit-count and loggers are to know who calls. The runner's protocol has no
# message for a consumer; a function sets it from the headers that Gatehouse has set. It has to run behind
# Gatehouse: in the phase access, on the same route or service, not in a global rule. There a client's own headers
# are gone. A refused request has no consumer, so loggers write $consumer_name and not $http_x_user_id, which then is
# what the client sent. Services that read X-Consumer headers must not get the client's: strip_headers.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   GET /orders/1 -> 401
#   GET /orders/1, forged X-User-Id -> 401
#   GET /orders/1, opaque token, forged X-User-Id -> 200
#   GET /orders/1, token for users only -> 403
#   GET /orders/status, forged X-User-Id -> 401
#
# Written from deploy/deploytest/cases/caller-as-consumer.yaml; change it there.
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
introspection:
  introspection_endpoint: http://hydra:4445/admin/oauth2/introspect
  audience:
    - https://api.example.com
upstream_headers:
  X-User-Id: sub
  X-User-Permissions: permissions
strip_headers: [X-Consumer-Username, X-Consumer-Custom-Id, X-Credential-Identifier]
permission_table: |
  permissions:
    orders:read:
      description: See orders
      activities:
        - GET,HEAD /orders
        - GET,HEAD /orders/[^/?#]+
  public:
    - GET,HEAD /orders/status
YAML
)
put /routes/orders <<JSON
{
  "plugins": {
    "acl": {
      "allow_labels": {
        "groups": [
          "orders:read"
        ]
      }
    },
    "ext-plugin-pre-req": {
      "conf": [
        {
          "name": "gatehouse",
          "value": $config
        }
      ]
    },
    "limit-count": {
      "count": 60,
      "key": "consumer_name",
      "key_type": "var",
      "policy": "local",
      "rejected_code": 429,
      "time_window": 60
    },
    "serverless-pre-function": {
      "functions": [
        "return function(_, ctx)\n  local headers = ngx.req.get_headers(0)\n  ctx.consumer_name = headers[\"x-user-id\"]\n  ctx.external_user = ctx.consumer_name and {groups = headers[\"x-user-permissions\"]}\nend\n"
      ],
      "phase": "access"
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
