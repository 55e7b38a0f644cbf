package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fakeAdmin plays the admin APIs of Kong and APISIX. It shows two entities a page.
type fakeAdmin struct {
	information string              // what Kong says of itself
	entities    map[string][]string // by path
	key         string
}

func (a fakeAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		panic("the doctor changes something: " + r.Method)
	}
	if a.key != "" && r.Header.Get("Kong-Admin-Token") != a.key && r.Header.Get("X-API-KEY") != a.key {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/" {
		fmt.Fprint(w, a.information)
		return
	}
	entities, known := a.entities[r.URL.Path]
	if kind, isAPISIX := strings.CutPrefix(r.URL.Path, "/apisix/admin/"); isAPISIX {
		list := []map[string]any{}
		for _, e := range a.entities[kind] {
			list = append(list, map[string]any{"key": "/apisix/" + kind, "value": json.RawMessage(e)})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"total": len(list), "list": list})
		return
	}
	if !known {
		fmt.Fprint(w, `{"data": [], "next": null}`)
		return
	}
	from := 0
	if offset := r.URL.Query().Get("offset"); offset != "" {
		from = len(offset)
	}
	page := map[string]any{"next": nil}
	var data []json.RawMessage
	for i := from; i < min(from+2, len(entities)); i++ {
		data = append(data, json.RawMessage(entities[i]))
	}
	if from+2 < len(entities) {
		page["offset"] = strings.Repeat("x", from+2)
	}
	page["data"] = data
	_ = json.NewEncoder(w).Encode(page)
}

func kongWith(version, plugins string) string {
	return fmt.Sprintf(`{"version": %q, "edition": "community", "plugins": {"available_on_server": {%s}}}`, version, plugins)
}

func examineAdmin(t *testing.T, a fakeAdmin, o Options, isKong bool) string {
	t.Helper()
	s := httptest.NewServer(a)
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Transport, o.Timeout, o.Now = http.DefaultTransport, 10*time.Second, time.Now
	if isKong {
		o.Kong = u
	} else {
		o.APISIX = u
	}
	var lines []string
	for _, f := range Examine(context.Background(), o) {
		if f.Severity != OK {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Severity, f.Check, strings.Replace(f.Subject, u.String(), "ADMIN", 1), f.Text))
		}
	}
	return strings.Join(lines, "\n")
}

const (
	kongService = `{"id": "s1", "name": "app", "host": "app", "port": 80, "protocol": "http", "path": null}`
	kongGate    = `{"id": "p1", "name": "gatehouse", "enabled": true, "protocols": ["grpc", "grpcs", "http", "https"], "route": {"id": "r1"}, "service": null, "consumer": null, "config": {"session": {"kratos_url": "http://kratos"}, "jwt": null, "permission_table": "public: [GET /]"}}`
)

func kongRoute(id, name string) string {
	return fmt.Sprintf(`{"id": %q, "name": %q, "paths": ["/%s"], "protocols": ["http", "https"], "service": {"id": "s1"}, "methods": null}`, id, name, name)
}

func TestWhatKongRunsIsChecked(t *testing.T) {
	a := fakeAdmin{key: "k", information: kongWith("3.9.3", `"gatehouse": {"version": "1", "priority": 1050}`), entities: map[string][]string{
		"/services": {kongService}, "/plugins": {kongGate},
		"/routes": {kongRoute("r1", "orders")},
	}}
	if found := examineAdmin(t, a, Options{KongKey: "k"}, true); found != "" {
		t.Errorf("all is well, and found is\n%s", found)
	}
	a.entities["/routes"] = append(a.entities["/routes"], kongRoute("r2", "second"), kongRoute("r3", "third"))
	found := examineAdmin(t, a, Options{KongKey: "k"}, true)
	for _, want := range []string{"warning routes", "route second: unguarded-route: the route second has no Gatehouse", "route third: unguarded-route"} {
		if !strings.Contains(found, want) {
			t.Errorf("got\n%s\nwant %s", found, want)
		}
	}
	if strings.Contains(found, "route orders") {
		t.Errorf("the guarded route is found: %s", found)
	}
}

func TestKongWithoutThePluginIsFound(t *testing.T) {
	found := examineAdmin(t, fakeAdmin{information: kongWith("3.7.0", `"acl": true`)}, Options{}, true)
	for _, want := range []string{"error gateway-version", "error plugin", "Kong does not know the plugin gatehouse"} {
		if !strings.Contains(found, want) {
			t.Errorf("got\n%s\nwant %s", found, want)
		}
	}
}

func TestAdminAPIThatWantsAnotherKeyIsFound(t *testing.T) {
	for _, isKong := range []bool{true, false} {
		found := examineAdmin(t, fakeAdmin{key: "right"}, Options{KongKey: "secret-key", APISIXKey: "secret-key"}, isKong)
		if !strings.Contains(found, "error admin") || !strings.Contains(found, "responds with 401") || strings.Contains(found, "secret-key") {
			t.Error(found)
		}
	}
}

func TestWhatAPISIXRunsIsChecked(t *testing.T) {
	gate := `"plugins": {"ext-plugin-pre-req": {%s"conf": [{"name": "gatehouse", "value": "{\"session\": {\"kratos_url\": \"http://kratos\"}, \"permission_table\": \"public: [GET /]\"}"}]}}`
	a := fakeAdmin{key: "k", entities: map[string][]string{
		"routes": {`{"id": "1", "uri": "/orders", "create_time": 1, "update_time": 2, "status": 1, ` + fmt.Sprintf(gate, "") + `}`},
	}}
	if found := examineAdmin(t, a, Options{APISIXKey: "k"}, false); found != "" {
		t.Errorf("all is well, and found is\n%s", found)
	}
	a.entities["routes"] = append(a.entities["routes"], `{"id": "2", "uri": "/open"}`, `{"id": "3", "uri": "/degraded", `+fmt.Sprintf(gate, `"allow_degradation": true, `)+`}`)
	found := examineAdmin(t, a, Options{APISIXKey: "k"}, false)
	for _, want := range []string{"route 2: unguarded-route", "route 3: allow-degradation"} {
		if !strings.Contains(found, want) {
			t.Errorf("got\n%s\nwant %s", found, want)
		}
	}
}
