package config

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

// A guide shows what a browser and a program get whose session falls short. The session
// is one of Kratos with one factor, an hour old.
var (
	stepUpTable   = regexp.MustCompile("(?s)## Stronger or more recent sign-in.*?```yaml\n# permissions.yaml\n(.*?)```")
	stepUpRequest = regexp.MustCompile(`(?m)^curl -i (-H "Accept: text/html" )?-H "Cookie: ory_kratos_session=\$SESSION" https://(api\.example\.com)(/\S*)\n    -> (\d+) .*\n       (\S+): (.*)$`)
)

func TestStepUpIsAsTheGuidesShow(t *testing.T) {
	for _, guide := range []string{"kong.md", "apisix.md", "forward-auth.md"} {
		text, err := os.ReadFile("../../docs/" + guide)
		if err != nil {
			t.Fatal(err)
		}
		table := stepUpTable.FindSubmatch(text)
		requests := stepUpRequest.FindAllStringSubmatch(string(text), -1)
		if table == nil || len(requests) != 4 {
			t.Fatalf("%s: %d requests", guide, len(requests))
		}
		clock, kratos := coretest.NewClock(), coretest.NewFakeKratos(t)
		kratos.Know("s", coretest.FakeSession{Document: coretest.SessionDocument(clock, map[string]any{"authenticated_at": clock.Now().UTC().Add(-time.Hour).Format(time.RFC3339Nano)})})
		gate, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate([]byte("session: {kratos_url: \"" + kratos.URL + "\"}\njwt: {issuers: [{issuer: \"http://127.0.0.1:1\", audience: [a]}]}\n" +
			"login: {url: \"https://login.example.com/self-service/login/browser\"}\npermission_table: |\n  " + strings.ReplaceAll(string(table[1]), "\n", "\n  ") + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range requests {
			pairs := []string{"Cookie", "ory_kratos_session=s"}
			if q[1] != "" {
				pairs = append(pairs, "Accept", "text/html")
			}
			r := newRequest(http.MethodGet, q[3], pairs...)
			r.Host = q[2]
			d := gate.Check(t.Context(), r)
			if got := headerOf(d, q[5]); strings.TrimSpace(q[4]) != statusOf(d) || got != q[6] {
				t.Errorf("%s %s: %s %s %q, the guide shows %s %q", guide, q[3], statusOf(d), q[5], got, q[4], q[6])
			}
		}
	}
}
