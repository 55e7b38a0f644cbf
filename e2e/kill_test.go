package e2e

import (
	"syscall"
	"testing"

	"gatehouse/e2e/vector"
)

const kills = 4

// The plugin's process is killed, again and again, under load: every response is
// right or an error of the gateway, and no unauthorised request is admitted.
func TestKilledPluginLetsNoRequestThrough(t *testing.T) {
	s := shared.get(t)
	for name, gateway := range map[string]struct {
		url string
		pid func() int
	}{
		"kong":   {s.kong.URL(), s.kong.PluginPID},
		"apisix": {s.apisix.URL(), s.apisix.RunnerPID},
	} {
		t.Run(name, func(t *testing.T) {
			forget(s.Upstreams)
			l := startLoad(t, gateway.url, failed, strangersAnd(
				kind{name: "ada", path: "/users/1", headers: bearer(s.Credentials.Opaque.AccessToken), right: vector.Allow, user: s.Ada.ID},
			)...)
			for range kills {
				l.awaitRight(20)
				pid := gateway.pid()
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatalf("kill the plugin, process %d: %v", pid, err)
				}
				eventually(t, "the gateway starts the plugin anew", func() bool { return gateway.pid() != pid })
			}
			l.awaitRight(20)
			l.check(s.Upstreams)
		})
	}
}
