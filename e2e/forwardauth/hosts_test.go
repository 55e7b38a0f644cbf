package forwardauth

import (
	"testing"

	"gatehouse/dev/demo/upstream"
)

// TestHostOfTheRequestLineLeadsToNoOtherServer: nginx chooses the server block by
// the host of the request line, and the decision is about that of the Host header.
func TestHostOfTheRequestLineLeadsToNoOtherServer(t *testing.T) {
	admin, err := upstream.Start("admin", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	p := changed(t, "nginx",
		// The server of the example, once more with another name.
		change{"nginx.conf", "    server {\n", "    include admin.conf;\n    server {\n        server_name app.test;\n"})
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		if err != nil {
			return nil, err
		}
		return args, s.write("admin.conf", "server { listen "+s.listen+"; server_name admin.test; include ask_nginx.conf;\n"+
			"location / { include protect_nginx.conf; proxy_pass http://"+admin.Addr().String()+"; } }\n")
	}
	b := newBench(t, p, "permissions: {admin: {activities: [{methods: [ANY], path: /.*, hosts: [admin.test]}]}}\npublic: ['GET /.*']\n")
	for _, c := range []struct {
		target, host string
		want         int
		app          bool
	}{
		{"/", "app.test", 200, true},
		{"/", "APP.test.:80", 200, true},
		{"http://app.test/", "app.test", 200, true},
		{"http://APP.test/", "app.test:80", 200, true},
		{"/", "admin.test", 401, false},
		{"http://admin.test/", "admin.test", 401, false},
		{"http://admin.test/", "app.test", 400, false},
		{"http://ADMIN.test:80/", "app.test", 400, false},
		{"http://admin.test/", "admin.test.app.test", 400, false},
		{"http://admin.test/", "admin.test:80@app.test", 400, false},
		{"http://app.test/", "admin.test", 400, false},
	} {
		b.foo.Forget()
		admin.Forget()
		response, _, _ := b.exchange(t, "GET "+c.target+" HTTP/1.1\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n")
		if got := admin.Received(); len(got) > 0 {
			t.Errorf("%s for %s: status %d, arrived at admin: %v", c.target, c.host, response.StatusCode, got)
		}
		if got := b.foo.Received(); response.StatusCode != c.want || (len(got) == 1) != c.app {
			t.Errorf("%s for %s: status %d, want %d, arrived %v", c.target, c.host, response.StatusCode, c.want, got)
		}
	}
}
