package subdomains

import (
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// app is an application on a subdomain: a page whose script calls APIs, and an API. It knows
// its callers by the headers that the gate writes, and no more of signing in than two links.
type app struct {
	// Name is its name, and its subdomain.
	Name string
	// Login is the base URL of the sign-in. Own and Other are the APIs of this application
	// and of another one.
	Login, Own, Other string

	fields []field
	// origin is that of the other application, whose script may read what the API responds.
	// Gatehouse says who may read refusals; who may read this the API says.
	origin string
}

// field is one of a record. Only callers with the permission get it.
type field struct{ name, value, permission string }

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin == a.origin {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}
	w.Header().Add("Vary", "Origin")
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Path == "/" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		page.Execute(w, a)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(a.record(r))
}

// record is one as its caller may see it.
func (a *app) record(r *http.Request) map[string]any {
	permissions := strings.Split(r.Header.Get("X-User-Permissions"), ",")
	record := map[string]any{"app": a.Name, "path": r.URL.Path, "user": r.Header.Get("X-User-Id"), "permissions": permissions}
	if token := r.Header.Get("Authorization") + r.Header.Get("Cookie"); token != "" {
		record["credentials"] = "were passed on"
	}
	for _, f := range a.fields {
		if f.permission == "" || slices.Contains(permissions, f.permission) {
			record[f.name] = f.value
		}
	}
	return record
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{.Name}}</title>
<h1>{{.Name}}</h1>
<p><a id="in" href="{{.Login}}/signin">Sign in</a> <a href="{{.Login}}/logout">Sign out</a></p>
<dl>
<dt>Own API<dd id="own">
<dt>API of the other application<dd id="other">
<dt>A write there<dd id="write">
</dl>
<script>
document.getElementById('in').href += '?return_to=' + encodeURIComponent(location.href)
async function load(id, url, options) {
  const response = await fetch(url, {credentials: 'include', ...options})
  document.getElementById(id).textContent = response.status + ' ' + await response.text()
}
load('own', {{.Own}})
load('other', {{.Other}})
load('write', {{.Other}}, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})
</script>
</html>
`))

var portal = template.Must(template.New("portal").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Applications</title>
<h1>Applications</h1>
<ul>{{range $name, $url := .}}<li><a href="{{$url}}">{{$name}}</a>{{end}}</ul>
</html>
`))
