// Package bench measures permission matching side by side: the same table and
// the same requests for Gatehouse and for the ways teams do it otherwise. It
// is a module of its own, so that what it compares with is no dependency of
// the product.
package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Activity is one activity of a workload, in a form every engine can take in.
type Activity struct {
	Permission string
	Methods    []string
	// Path is a regex without anchors.
	Path string
	// example is a path that it matches, with %d where a number goes.
	example string
}

// Request is a call and whether the workload's caller may make it.
type Request struct {
	Method, Path string
	Allowed      bool
	// Permission is what the call needs, or what the activity needs that it
	// nearly is.
	Permission string
}

// Workload is a permission table with requests for it.
type Workload struct {
	Activities []Activity
	Hits       []Request
	Misses     []Request
}

// templates are the ten activities of one resource, in the shapes that tables
// of REST services have. %[1]s is the service, %[2]s the resource.
var templates = []struct {
	right, methods, path, example string
}{
	{"read", "GET,HEAD", "/api/v1/%[1]s/%[2]s", "/api/v1/%[1]s/%[2]s"},
	{"write", "POST", "/api/v1/%[1]s/%[2]s", "/api/v1/%[1]s/%[2]s"},
	{"read", "GET,HEAD", "/api/v1/%[1]s/%[2]s/[^/?#]+", "/api/v1/%[1]s/%[2]s/id-%%d"},
	{"write", "PUT,PATCH", "/api/v1/%[1]s/%[2]s/[^/?#]+", "/api/v1/%[1]s/%[2]s/id-%%d"},
	{"admin", "DELETE", "/api/v1/%[1]s/%[2]s/[^/?#]+", "/api/v1/%[1]s/%[2]s/id-%%d"},
	{"read", "GET", "/api/v1/%[1]s/%[2]s/[^/?#]+/comments/[0-9]+", "/api/v1/%[1]s/%[2]s/id-%%d/comments/%%[1]d"},
	{"write", "POST", "/api/v1/%[1]s/%[2]s/[0-9]+/(approve|reject)", "/api/v1/%[1]s/%[2]s/%%d/approve"},
	{"read", "GET", "/files/%[1]s/%[2]s/.*", "/files/%[1]s/%[2]s/2026/%%d.pdf"},
	{"read", "GET", "/export/%[1]s/%[2]s-[0-9]+[.]csv", "/export/%[1]s/%[2]s-%%d.csv"},
	{"admin", "GET,POST,DELETE", "/admin/%[1]s/v[0-9]+/%[2]s(/[a-z0-9-]+)?", "/admin/%[1]s/v2/%[2]s/x-%%d"},
}

// resourcesPerService is how many resources each service of a workload has.
const resourcesPerService = 10

// New makes a workload of n activities. Half of the requests are calls that
// an activity covers, spread evenly over the table; the other half nearly are.
func New(n int) *Workload {
	r := rand.New(rand.NewPCG(uint64(n), 20))
	w := &Workload{}
	for i := range n {
		resource := i / len(templates)
		t := templates[i%len(templates)]
		service := fmt.Sprintf("svc%d", resource/resourcesPerService)
		name := fmt.Sprintf("%s%d", []string{"orders", "users", "invoices", "items", "reports"}[resource%5], resource%resourcesPerService)
		w.Activities = append(w.Activities, Activity{
			Permission: service + ":" + name + ":" + t.right,
			Methods:    strings.Split(t.methods, ","),
			Path:       fmt.Sprintf(t.path, service, name),
			example:    fmt.Sprintf(t.example, service, name),
		})
	}
	for range requests {
		w.addRequests(r)
	}
	return w
}

// requests is how many hits, and how many misses, a workload has.
const requests = 4096

func (w *Workload) addRequests(r *rand.Rand) {
	a := w.Activities[r.IntN(len(w.Activities))]
	path := a.example
	if strings.Contains(path, "%") {
		path = fmt.Sprintf(path, r.IntN(100000))
	}
	w.Hits = append(w.Hits, Request{a.Methods[r.IntN(len(a.Methods))], path, true, a.Permission})
	miss := Request{a.Methods[0], path, false, a.Permission}
	switch r.IntN(4) {
	case 0: // one segment too many, where no activity goes on
		miss.Path = "/api/v1" + path + "/x"
	case 1: // a method that nothing covers
		miss.Method = "OPTIONS"
	case 2: // the resource is misspelt
		parts := strings.Split(a.Permission, ":")
		miss.Path = strings.Replace(path, "/"+parts[1], "/"+parts[1]+"x", 1)
	case 3: // another service
		miss.Path = strings.Replace(path, "/svc", "/srv", 1)
	}
	w.Misses = append(w.Misses, miss)
}

// YAML writes the workload as a permission table.
func (w *Workload) YAML() []byte {
	var b strings.Builder
	b.WriteString("permissions:\n")
	byPermission := map[string][]string{}
	var order []string
	for _, a := range w.Activities {
		if byPermission[a.Permission] == nil {
			order = append(order, a.Permission)
		}
		byPermission[a.Permission] = append(byPermission[a.Permission], strings.Join(a.Methods, ",")+" "+a.Path)
	}
	for _, p := range order {
		fmt.Fprintf(&b, "  %s:\n    activities:\n", p)
		for _, a := range byPermission[p] {
			fmt.Fprintf(&b, "      - %s\n", a)
		}
	}
	b.WriteString("roles:\n  everything:\n")
	for _, p := range order {
		fmt.Fprintf(&b, "    - %s\n", p)
	}
	return []byte(b.String())
}
