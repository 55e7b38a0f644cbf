package config

import (
	"gatehouse/core"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
)

// Demands are what the gate of a configuration asks of its host.
func (c *Config) Demands() core.Demands {
	return core.Demands{RepeatedHeaders: c.HeaderLists == identity.JoinRepeat, Target: c.TokenParameter != ""}
}

// Unmet are the settings of a gate that ask for more than its host can do.
func Unmet(of, can core.Demands, host string) []setting.Problem {
	var problems []setting.Problem
	if of.RepeatedHeaders && !can.RepeatedHeaders {
		problems = append(problems, setting.Problem{Path: "upstream_header_lists", Text: "repeat does not work with " + host + ", which sets a header on one line only; use comma, space or json"})
	}
	if of.Target && !can.Target {
		problems = append(problems, setting.Problem{Path: "token_query_parameter", Text: "does not work with " + host + ", which cannot remove one parameter and leave the others as they are; use token_cookie"})
	}
	return problems
}
