#!/bin/sh
# Tools of an MCP server, each with its own permission
#
# When: MCP servers whose tools not every caller may call (Model Context Protocol, revision 2026-07-28). Gatehouse decides by
# tool, resource and prompt, and reads the body of a call, which has to say what its headers say.
#
# For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.
# May be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.
#
# Try:
#   POST /mcp, method tools/list -> 401
#   GET /.well-known/oauth-protected-resource/mcp -> 200 from Gatehouse
#   POST /mcp, method tools/list, token for the MCP server -> 200
#   POST /mcp, tool get_user, token for the MCP server -> 200
#   POST /mcp, tool delete_user, token for the MCP server -> 403
#   POST /mcp, tool get_user, JWT -> 401
#   POST /mcp, tool get_user and delete_user in the body, token for the MCP server -> 400
#   POST /mcp, token for the MCP server -> 400
#   GET /mcp, token for the MCP server -> 403
#
# Written from deploy/deploytest/cases/mcp-tools.yaml; change it there.
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
      # What the authorization server writes into aud of tokens for the MCP server.
      audience:
        - https://api.example.com/mcp
upstream_headers:
  X-User-Id: sub
resource_metadata:
  # The URL that clients are configured with, character by character. No token for
  # anything else counts.
  - resource: https://api.example.com/mcp
    scopes_supported:
      - users:read
    audience_required: true
# What is not listed is denied, whatever the server has.
permission_table: |
  permissions:
    users:read:
      description: Look users up
      mcp:
        endpoint: /mcp
        tools: [get_user, "search/*"]
        resources: ["users://**"]
    users:write:
      description: Remove users
      mcp: {endpoint: /mcp, tools: [delete_user]}
  authenticated:
    - mcp: {endpoint: /mcp, methods: [server/discover, tools/list, resources/list]}
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
