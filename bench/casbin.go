package bench

import (
	casbin "github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
)

// casbinModel is role-based access control with regexes, as Casbin documents
// it. The method is compared first, so that few regexes are tried.
const casbinModel = `
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.act == p.act && regexMatch(r.obj, p.obj) && g(r.sub, p.sub)
`

type casbinEngine struct{ *casbin.Enforcer }

func newCasbin(w *Workload) (*casbinEngine, error) {
	m, err := model.NewModelFromString(casbinModel)
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	var policies, links [][]string
	seen := map[string]bool{}
	for _, a := range w.Activities {
		for _, method := range a.Methods {
			policies = append(policies, []string{a.Permission, "^(?:" + a.Path + ")$", method})
		}
		if !seen[a.Permission] {
			seen[a.Permission] = true
			links = append(links, []string{"caller", a.Permission})
		}
	}
	if _, err := e.AddPolicies(policies); err != nil {
		return nil, err
	}
	if _, err := e.AddGroupingPolicies(links); err != nil {
		return nil, err
	}
	return &casbinEngine{e}, nil
}

func (e *casbinEngine) allowed(r *Request) bool {
	ok, err := e.Enforce("caller", r.Path, r.Method)
	return err == nil && ok
}
