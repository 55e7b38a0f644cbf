package bench

import (
	"context"
	"regexp"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// engine answers whether the workload's caller, who holds every permission,
// may make a call.
type engine interface {
	allowed(r *Request) bool
}

type gatehouse struct {
	table *permission.Table
	p     core.Principal
	call  core.Call
}

func newGatehouse(w *Workload) (*gatehouse, error) {
	file, err := tablefile.Parse("bench.yaml", w.YAML())
	if err != nil {
		return nil, err
	}
	table, err := permission.Compile(file)
	if err != nil {
		return nil, err
	}
	return &gatehouse{table: table, p: core.Principal{Roles: []string{"everything"}}, call: core.Call{Request: &core.Request{}}}, nil
}

func (g *gatehouse) allowed(r *Request) bool {
	g.call.Method, g.call.Path = r.Method, r.Path
	access := g.table.Match(context.Background(), &g.call)
	return access != nil && access.Allows(context.Background(), &g.call, &g.p) == nil
}

// linear is what a gateway without an index does: compiled and anchored
// regexes, tried one after the other.
type linear struct {
	activities  []linearActivity
	permissions map[string]bool
}

type linearActivity struct {
	permission string
	methods    []string
	path       *regexp.Regexp
}

func newLinear(w *Workload) (*linear, error) {
	l := &linear{permissions: map[string]bool{}}
	for _, a := range w.Activities {
		re, err := regexp.Compile("^(?:" + a.Path + ")$")
		if err != nil {
			return nil, err
		}
		l.activities = append(l.activities, linearActivity{a.Permission, a.Methods, re})
		l.permissions[a.Permission] = true
	}
	return l, nil
}

func (l *linear) allowed(r *Request) bool {
	for i := range l.activities {
		a := &l.activities[i]
		for _, m := range a.methods {
			if m == r.Method && a.path.MatchString(r.Path) && l.permissions[a.permission] {
				return true
			}
		}
	}
	return false
}
