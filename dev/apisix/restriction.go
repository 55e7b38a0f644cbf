package apisix

import (
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseConsumerRestriction reads the lists of consumer-restriction, for the consumer's
// name or a route's or service's id.
func parseConsumerRestriction(r *reader, p *plugin, n *yaml.Node, path string) {
	c := consumerRestriction{kind: "consumer_name", status: 403}
	r.plugin(p, n, path, map[string]field{
		"type": r.text(&c.kind), "blacklist": r.texts(&c.blacklist), "whitelist": r.texts(&c.whitelist),
		"rejected_code": r.integer(&c.status), "rejected_msg": r.text(&c.message),
	})
	r.oneOf(n, join(path, "type"), c.kind, "consumer_name", "consumer_group_id", "service_id", "route_id")
	if len(c.blacklist)+len(c.whitelist) == 0 {
		r.problem(n, path, "want a blacklist or a whitelist")
	}
	p.access = c.access
}

type consumerRestriction struct {
	kind                 string
	blacklist, whitelist []string
	status               int
	message              string
}

func (c *consumerRestriction) access(x *exchange) *reply {
	value, ok := x.uncached(c.kind)
	if !ok {
		return jsonReply(401, map[string]any{"message": "The request is rejected, please check the " + c.kind + " for this request"})
	}
	if slices.Contains(c.blacklist, value) || len(c.whitelist) > 0 && !slices.Contains(c.whitelist, value) {
		message := c.message
		if message == "" {
			message = "The " + c.kind + " is forbidden."
		}
		return jsonReply(c.status, map[string]any{"message": message})
	}
	return nil
}

// parseACL reads acl, for ctx.external_user with the label field groups or another of its
// members.
func parseACL(r *reader, p *plugin, n *yaml.Node, path string) {
	c := acl{field: "groups", status: 403, allow: map[string][]string{}, deny: map[string][]string{}}
	labels := func(to map[string][]string) field {
		return func(n *yaml.Node, path string) {
			r.pairs(n, path, func(key string, _, value *yaml.Node) {
				var values []string
				r.texts(&values)(value, join(path, key))
				to[key] = values
			})
		}
	}
	r.plugin(p, n, path, map[string]field{
		"external_user_label_field": r.text(&c.field), "allow_labels": labels(c.allow), "deny_labels": labels(c.deny),
		"rejected_code": r.integer(&c.status), "rejected_msg": r.text(&c.message),
	})
	if len(c.allow)+len(c.deny) == 0 {
		r.problem(n, path, "want allow_labels or deny_labels")
	}
	p.access = c.access
}

type acl struct {
	field       string
	allow, deny map[string][]string
	status      int
	message     string
}

func (c *acl) access(x *exchange) *reply {
	user, ok := x.ctx["external_user"]
	if !ok || user == nil {
		return jsonReply(401, map[string]any{"message": "Missing authentication."})
	}
	members, _ := user.(map[string]any)
	groups := labelsOf(members[c.field])
	if has(c.deny[c.field], groups) || len(c.allow) > 0 && !has(c.allow[c.field], groups) {
		message := c.message
		if message == "" {
			message = "The consumer is forbidden."
		}
		return jsonReply(c.status, map[string]any{"message": message})
	}
	return nil
}

func has(wanted, values []string) bool {
	return slices.ContainsFunc(wanted, func(want string) bool { return slices.Contains(values, want) })
}

// labelsOf reads a list, or a string with a list in JSON or between commas.
func labelsOf(value any) []string {
	switch v := value.(type) {
	case []any:
		var labels []string
		for _, item := range v {
			if text, ok := item.(string); ok {
				labels = append(labels, text)
			}
		}
		return labels
	case string:
		var labels []string
		if strings.HasPrefix(v, "[") {
			_ = json.Unmarshal([]byte(v), &labels) // APISIX logs that, and finds no label
			return labels
		}
		for label := range strings.SplitSeq(v, ",") {
			labels = append(labels, strings.TrimSpace(label))
		}
		return labels
	}
	return nil
}
