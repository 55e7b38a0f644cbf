package forwardauth

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
)

// container is one that runs, as the API of Docker describes it.
type container struct {
	name   string
	labels map[string]string
	// networks are its addresses, by the names of its networks.
	networks map[string]string
}

// fakeDocker is a fake of the Docker daemon, with the part of its API that Traefik's
// provider uses: which containers there are, with their labels.
func fakeDocker(t *testing.T, containers ...container) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	respond := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.47")
		path := r.URL.Path
		if strings.HasPrefix(path, "/v1.") {
			path = path[strings.IndexByte(path[1:], '/')+1:]
		}
		switch {
		case path == "/_ping":
			w.Write([]byte("OK"))
		case path == "/version":
			respond(w, map[string]any{"Version": "27.0.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"})
		case path == "/events":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case path == "/containers/json":
			all := []any{}
			for _, c := range containers {
				all = append(all, map[string]any{"Id": c.name, "Names": []string{"/" + c.name}, "State": "running", "Labels": c.labels})
			}
			respond(w, all)
		default:
			for _, c := range containers {
				if path == "/containers/"+c.name+"/json" {
					respond(w, c.inspected())
					return
				}
			}
			http.NotFound(w, r)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "tcp://" + l.Addr().String()
}

func (c container) inspected() map[string]any {
	networks := map[string]any{}
	for name, address := range c.networks {
		networks[name] = map[string]any{"NetworkID": name, "IPAddress": address}
	}
	return map[string]any{
		"Id": c.name, "Name": "/" + c.name, "HostConfig": map[string]any{"NetworkMode": "default"},
		"State":           map[string]any{"Status": "running", "Running": true, "Health": map[string]any{"Status": "healthy"}},
		"Config":          map[string]any{"Labels": c.labels},
		"NetworkSettings": map[string]any{"Networks": networks},
	}
}
