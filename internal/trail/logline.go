package trail

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/audit"
)

// logLine is a line of the log about a decision, which a gateway may have put its own words
// before. A quote in these would be a text of a client, which could hold such a line.
var logLine = regexp.MustCompile(`^[^",=]{0,200}?(time=\S+ level=[A-Z]+ msg=(?:denied|allowed|responded) .*)$`)

var outcomes = map[string]string{"denied": "deny", "allowed": "allow", "responded": "respond"}

var errNoDecision = errors.New("the line is neither an audit record nor a line of the log about a decision")

// ParseAny reads a line with a record, or one of the log about a decision, which tells less: of a
// caller no roles, scopes and permissions, and no table.
func ParseAny(line []byte) (*Entry, bool, error) {
	if e, err := Parse(line); err == nil {
		return e, false, nil
	}
	m := logLine.FindSubmatch(line)
	if m == nil {
		return nil, false, errNoDecision
	}
	values, ok := pairs(string(m[1]))
	if !ok {
		return nil, false, errNoDecision
	}
	e := &Entry{Record: logged(values)}
	if e.Time.IsZero() {
		return nil, false, errNoDecision
	}
	return e, true, nil
}

// pairs reads key=value, as log/slog writes them. What follows the last one, as nginx adds
// texts of its own, is passed over.
func pairs(line string) (values map[string]string, ok bool) {
	values = map[string]string{}
	for {
		key, rest, found := strings.Cut(line, "=")
		if !found || key == "" || strings.ContainsAny(key, `" ,`) {
			return values, len(values) > 0
		}
		value := rest
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return values, false
			}
			value, _ = strconv.Unquote(quoted)
			rest = rest[len(quoted):]
		} else {
			value, _, _ = strings.Cut(rest, " ")
			rest = rest[len(value):]
		}
		if _, repeated := values[key]; repeated {
			return values, false
		}
		values[key] = value
		line = strings.TrimPrefix(rest, " ")
	}
}

// logged is what a line of the log tells of a record.
func logged(v map[string]string) audit.Record {
	r := audit.Record{
		RequestID: v["request_id"], Decision: outcomes[v["msg"]], Reason: v["reason"], Method: v["method"], Host: v["host"], Path: v["path"],
		Rule: v["rule"], Cause: v["cause"], Expected: v["expected"], Got: v["got"],
	}
	r.Time, _ = time.Parse(time.RFC3339Nano, v["time"])
	r.Status, _ = strconv.Atoi(strings.TrimRight(v["status"], ","))
	r.TookMS, _ = strconv.ParseFloat(v["took_ms"], 64)
	if permission, ok := strings.CutPrefix(r.Expected, "permission "); ok {
		r.Permission = permission
	}
	if v["mcp_method"] != "" {
		r.MCP = &audit.MCP{Method: v["mcp_method"], Name: v["mcp_name"]}
	}
	if v["kind"] != "" {
		r.Caller = &audit.Caller{Subject: v["sub"], Issuer: v["iss"], ClientID: v["client_id"], Kind: v["kind"], Cut: true}
		if v["actor"] != "" || v["actor_client_id"] != "" {
			r.Caller.Actor = &audit.Actor{Subject: v["actor"], Issuer: v["actor_iss"], ClientID: v["actor_client_id"], Before: strings.Fields(v["actors_before"])}
		}
		r.Caller.Limited = v["kind"] == "api_token"
	}
	return r
}
