// Package hosts says what of a configuration a host cannot do.
package hosts

import (
	"gatehouse/core"
	"gatehouse/core/setting"
)

// certificateSettings are those by which a host gets to know the client's certificate.
const certificateSettings = "client_certificate of the forward-auth service's endpoint, or nginx_proxy_ssl_verify_client = optional_no_ca in Kong's kong.conf"

// Unmet are the settings of a gate that ask for more than its host can do.
func Unmet(of, can core.Demands, host string) []setting.Problem {
	var problems []setting.Problem
	if of.RepeatedHeaders && !can.RepeatedHeaders {
		problems = append(problems, setting.Problem{Path: "upstream_header_lists", Text: "repeat does not work with " + host + ", which sets a header on one line only; use comma, space or json"})
	}
	if of.Target && !can.Target {
		problems = append(problems, setting.Problem{Path: "token_query_parameter", Text: "does not work with " + host + ", which cannot remove one parameter and leave the others as they are; use token_cookie"})
	}
	if of.Consumers && !can.Consumers {
		problems = append(problems, setting.Problem{Path: "consumers", Text: "does not work with " + host + ", through which no consumer of a gateway can be looked up; use the Lua file of Kong or the Lua plugin of APISIX, or remove the setting"})
	}
	if of.Body && !can.Body {
		problems = append(problems, setting.Problem{Path: "insecure_trust_mcp_headers", Text: "is false and the permission table has mcp, which does not work with " + host + ", which does not show the body of a request: to let its headers alone say which tool it calls, set this to true, if every MCP server behind it refuses a body that says something else (revision 2026-07-28)"})
	}
	if of.ClientCertificate != "" && can.ClientCertificate == "" {
		problems = append(problems, setting.Problem{Path: of.ClientCertificate, Text: "does not work with " + host + ", which does not tell the client's certificate; set " + certificateSettings})
	}
	return problems
}
