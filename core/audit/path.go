package audit

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/request"
)

// Redacted stands in the place of a part of a path that may be a secret.
const Redacted = "[redacted]"

// PathOf is the canonical path of a decision or, where there is none, what the raw target
// begins with. People do send tokens in a query or a fragment, and passwords in what
// stands before an "@", which no path needs. Segments that look like a token are replaced.
func PathOf(e core.Event) string {
	if e.Path != "" {
		return withoutTokens(e.Path)
	}
	target := e.Request.Target
	if end := strings.IndexAny(target, "?#"); end >= 0 {
		target = target[:end]
	}
	if at := strings.LastIndexByte(target, '@'); at >= 0 {
		target = "..." + target[at:]
	}
	return withoutTokens(target)
}

// NameOf is the name in a call of the Model Context Protocol. Of the URI of a resource it has
// neither the query nor the fragment, nor what stands before the host; segments that look
// like a token are replaced.
func NameOf(call request.MCP) string {
	name := call.Name
	if call.Method == "resources/read" {
		if end := strings.IndexAny(name, "?#"); end >= 0 {
			name = name[:end+1] + Redacted
		}
		if scheme, rest, ok := strings.Cut(name, "://"); ok {
			authority, path, _ := strings.Cut(rest, "/")
			if at := strings.LastIndexByte(authority, '@'); at >= 0 {
				name = scheme + "://" + Redacted + authority[at:] + "/" + path
			}
		}
	}
	return withoutTokens(name)
}

// shortestToken is how long a segment is at least that may be a JWT: "eyJ" begins the
// base64url of every JSON object with a member.
const shortestToken = 16

// withoutTokens replaces each segment with a JWT, or with an API token of the gate.
func withoutTokens(path string) string {
	if !strings.Contains(path, "eyJ") && !strings.Contains(path, apiToken) {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if at := strings.Index(segment, "eyJ"); at >= 0 && len(segment)-at >= shortestToken || strings.Contains(segment, apiToken) {
			segments[i] = Redacted
		}
	}
	return strings.Join(segments, "/")
}

// apiToken begins every API token of the gate.
const apiToken = "gth_"

// redact replaces the groups of patterns, or what a pattern without one matches.
func redact(path string, patterns []*regexp.Regexp) string {
	var cut []span
	for _, pattern := range patterns {
		for _, match := range pattern.FindAllStringSubmatchIndex(path, -1) {
			groups := match[2:]
			if len(groups) == 0 {
				groups = match
			}
			for i := 0; i < len(groups); i += 2 {
				cut = append(cut, span{groups[i], groups[i+1]})
			}
		}
	}
	return without(path, cut)
}

type span struct{ from, to int }

// without replaces spans, which may overlap; a group that did not take part is at -1.
func without(path string, cut []span) string {
	slices.SortFunc(cut, func(a, b span) int { return cmp.Or(a.from-b.from, b.to-a.to) })
	var b strings.Builder
	end := 0
	for _, s := range cut {
		if s.from < 0 || s.to <= end && end > 0 || s.from == s.to {
			continue
		}
		if s.from >= end {
			b.WriteString(path[end:s.from])
			b.WriteString(Redacted)
		}
		end = max(end, s.to)
	}
	b.WriteString(path[end:])
	return b.String()
}

// maxNames bounds how many names of query parameters are recorded.
const maxNames = 32

// queryNames are the names of the parameters of a query, whose values may be secret. A
// parameter without a value may be one itself.
func queryNames(query string) []string {
	var names []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, valued := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case len(names) == maxNames:
			return names
		case !valued || len(name) > 64 || withoutTokens(name) != name:
			names = append(names, Redacted)
		default:
			names = append(names, name)
		}
	}
	return names
}
