#!/bin/sh
# Protected resource metadata, for clients that look for the authorization server
#
# When: Clients that know the URL of an API and nothing of its authorization server, such as MCP clients. The 401 names
# the metadata (RFC 9728), which Gatehouse serves: the path needs a route with the plugin on it.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   POST /mcp -> 401
#   GET /.well-known/oauth-protected-resource/mcp -> 200 from Gatehouse
#   GET /.well-known/oauth-protected-resource/mcp, forged JWT -> 200 from Gatehouse
#   OPTIONS /.well-known/oauth-protected-resource/mcp -> 204
#   POST /.well-known/oauth-protected-resource/mcp, JWT -> 405
#   POST /mcp, forged JWT -> 401
#   POST /mcp, JWT -> 200
#
# Written from deploy/deploytest/cases/resource-metadata.yaml; change it there.
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
      # What the authorization server writes into aud of tokens for this API.
      audience:
        - https://api.example.com
resource_metadata:
  # The URL that clients are configured with, character by character.
  - resource: https://api.example.com/mcp
    scopes_supported:
      - users:read
    resource_name: Users
permission_table: |
  permissions:
    users:read:
      description: Use the MCP server
      activities:
        - GET,POST,DELETE /mcp
YAML
)
put /routes/mcp <<JSON
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
    "/mcp",
    "/mcp/*",
    "/.well-known/oauth-protected-resource/mcp"
  ]
}
JSON
