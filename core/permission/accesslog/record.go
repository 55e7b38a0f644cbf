package accesslog

import (
	"encoding/json"
	"slices"

	"gatehouse/core/audit"
)

// isRecord tells audit records of a gate from the lines of loggers.
func isRecord(fields map[string]any) bool {
	decision, _ := fields["decision"].(string)
	_, timed := fields["took_ms"].(float64)
	return timed && slices.Contains(audit.Decisions, decision)
}

// parseRecord reads an audit record, which says who called, and the path on which was
// decided. What it leaves out of the path is an error: a table would be asked about
// another one.
func parseRecord(line []byte, user any) (*Entry, error) {
	record := &audit.Record{}
	if json.Unmarshal(line, record) != nil {
		return nil, errNoLog
	}
	r, err := record.Request()
	if err != nil {
		return nil, err
	}
	e := &Entry{Method: r.Method, Target: r.Target, Host: r.Host, MCP: r.MCP, Peer: r.Client, Status: record.Status, Time: record.Time, User: words(user), Record: record}
	return e, e.check()
}
