package identity

import (
	"errors"
	"fmt"
	"gatehouse/core"
	"gatehouse/core/claimpath"
	"strings"
)

// groupsHeader is how Kong's acl plugin tells the upstream of the
// groups. Where there are groups, the client's own copies are removed.
const groupsHeader = "X-Authenticated-Groups"

// groupsOf reads the caller's groups from the first of the claims that is
// present. Where groups are configured they are not nil: a caller without any is in no group, which is
// not the same as groups that are not set.
func (h *Headers) groupsOf(p *core.Principal, policy core.Policy) ([]string, error) {
	if len(h.groups) == 0 {
		return nil, nil
	}
	all := []string{}
	for _, path := range h.groups {
		claim, ok := claimOf(p, path, policy)
		if !ok {
			continue
		}
		if path.String() == scopeClaim {
			claim = p.Scopes // Claim has joined them
		}
		names, err := groupNames(claim)
		if err != nil {
			return nil, fmt.Errorf("%w: groups: claim %s: %w", core.ErrForbidden, path, err)
		}
		return append(all, names...), nil
	}
	return all, nil
}

// groupNames takes a single string for one group, whatever is in it: to split
// "Domain Admins" would put the caller among the Admins.
func groupNames(claim any) ([]string, error) {
	if name, ok := claim.(string); ok {
		return []string{name}, checkGroup(name)
	}
	names, err := claimpath.Strings(claim)
	for _, name := range names {
		err = errors.Join(err, checkGroup(name))
	}
	return names, err
}

// checkGroup refuses what reads as something else once Kong has joined the
// groups with commas for the upstream.
func checkGroup(name string) error {
	if name == "" || strings.Contains(name, ",") {
		return errors.New("a group is empty or holds a comma")
	}
	return checkValue(name)
}
