#!/bin/sh
# Protected resource metadata, for clients that look for the authorization server
#
# When: Clients that know the URL of an API and nothing of its authorization server, such as MCP clients. The 401 names
# the metadata (RFC 9728), which Gatehouse serves: the path needs a route with the plugin on it.
#
# For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.
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
    description: Use the MCP server
    activities:
      - GET,POST,DELETE /mcp
YAML
)
put /services/mcp/plugins/gatehouse-mcp <<JSON
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
    "permission_table": $table,
    "resource_metadata": [
      {
        "resource": "https://api.example.com/mcp",
        "resource_name": "Users",
        "scopes_supported": [
          "users:read"
        ]
      }
    ]
  },
  "name": "gatehouse"
}
JSON

# Last, so that it is never open.
put /services/mcp/routes/mcp <<'JSON'
{"paths": ["/mcp", "/.well-known/oauth-protected-resource/mcp"], "strip_path": false}
JSON
