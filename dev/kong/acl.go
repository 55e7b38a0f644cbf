package kong

import (
	"errors"
	"slices"
	"strings"

	"gatehouse/dev/front"
)

const aclSchema = `{"name": "acl", "fields": [
	{"consumer": {"type": "foreign", "reference": "consumers", "eq": null}},
	{"config": {"type": "record", "fields": [
		{"allow": {"type": "array", "elements": {"type": "string"}}},
		{"deny": {"type": "array", "elements": {"type": "string"}}},
		{"hide_groups_header": {"type": "boolean", "required": true, "default": false}},
		{"always_use_authenticated_groups": {"type": "boolean", "required": true, "default": false}}]}}],
	"entity_checks": [
		{"only_one_of": ["config.allow", "config.deny"]},
		{"at_least_one_of": ["config.allow", "config.deny"]}]}`

// acl is Kong's plugin for groups. Here nobody is a consumer, so the groups are
// those that another plugin has set as authenticated_groups.
type acl struct {
	allow, deny []string
	hide        bool
}

func newACL(config map[string]any) accessPhase {
	c := acl{allow: stringList(config, "allow"), deny: stringList(config, "deny"), hide: boolean(config, "hide_groups_header")}
	return c.access
}

func (c acl) access(x *exchange) *front.OwnResponse {
	if x.consumer != nil || x.credential != nil {
		// Kong fails on a credential without a consumer of its own.
		return c.fail(x, "a plugin has authenticated a consumer; the local gateway has none")
	}
	groups, set, err := x.authenticatedGroups()
	if err != nil {
		return c.fail(x, err.Error())
	}
	if !set {
		return x.gateway.runloopError(x.req, 401, "Unauthorized")
	}
	in := func(list []string) bool {
		return slices.ContainsFunc(list, func(name string) bool { return slices.Contains(groups, name) })
	}
	if len(c.deny) > 0 {
		if in(c.deny) {
			return c.refuse(x)
		}
		// Kong's own slip: a caller in no denied group goes on without the
		// header, and the client's stays.
		return nil
	}
	if !in(c.allow) {
		return c.refuse(x)
	}
	if !c.hide {
		x.headers.Set("X-Authenticated-Groups", strings.Join(groups, ", "))
	}
	return nil
}

func (acl) refuse(x *exchange) *front.OwnResponse {
	return x.gateway.runloopError(x.req, 403, "You cannot consume this service")
}

// fail is where Lua code fails: 500, and nothing reaches the upstream.
func (acl) fail(x *exchange, why string) *front.OwnResponse {
	x.gateway.log.Error("acl: "+why, "request_id", x.req.ID)
	return x.gateway.runloopError(x.req, 500, messages[500])
}

// authenticatedGroups looks in kong.ctx.shared first, and in ngx.ctx if there
// is no table.
func (x *exchange) authenticatedGroups() (groups []string, set bool, err error) {
	for _, ctx := range []map[string]any{x.shared, x.nginxCtx} {
		switch table := ctx["authenticated_groups"].(type) {
		case []any:
			for _, group := range table {
				name, ok := group.(string)
				if !ok {
					return nil, false, errors.New("authenticated_groups holds something other than strings")
				}
				groups = append(groups, name)
			}
			return groups, true, nil
		case map[string]any: // to Lua a table without a list part
			return nil, true, nil
		}
	}
	return nil, false, nil
}
