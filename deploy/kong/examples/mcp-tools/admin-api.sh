#!/bin/sh
# Tools of an MCP server, each with its own permission
#
# When: MCP servers whose tools not every caller may call (Model Context Protocol, revision 2026-07-28). Gatehouse decides by
# tool, resource and prompt, and reads the body of a call, which has to say what its headers say.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}

put /services/mcp <<'JSON'
{"url": "http://users:8080"}
JSON

# The permission table, as one JSON string.
table=$(jq --raw-input --slurp . <<'YAML'
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
put /services/mcp/plugins/gatehouse-mcp <<JSON
{
  "config": {
    "jwt": {
      "issuers": [
        {
          "audience": [
            "https://api.example.com/mcp"
          ],
          "issuer": "https://auth.example.com/",
          "jwks_uri": "http://hydra:4444/.well-known/jwks.json"
        }
      ]
    },
    "permission_table": $table,
    "resource_metadata": [
      {
        "audience_required": true,
        "resource": "https://api.example.com/mcp",
        "scopes_supported": [
          "users:read"
        ]
      }
    ],
    "upstream_headers": {
      "X-User-Id": "sub"
    }
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/mcp/routes/mcp <<'JSON'
{"paths": ["/mcp", "/.well-known/oauth-protected-resource/mcp"], "strip_path": false}
JSON
