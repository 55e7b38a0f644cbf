package filter_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/plugins/apisix/filter"
	"gatehouse/plugins/apisix/runner"
)

// refreshing is an authenticator whose results carry headers for the client.
type refreshing []core.Header

func (r refreshing) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, ResponseHeader: r}, nil
}

func (refreshing) ResponseHeaders() []string { return []string{"Set-Cookie", "Location"} }

// rawRequest is GET /me with a token.
type rawRequest struct {
	runner.RawRequest
	head, added http.Header
}

func (r *rawRequest) RequestLine() (string, error) { return "GET /me HTTP/1.1", nil }
func (r *rawRequest) Context() context.Context     { return context.Background() }
func (r *rawRequest) RespHeader() http.Header      { return r.added }
func (r *rawRequest) Header() pkgHTTP.Header       { return edits{r.head} }
func (r *rawRequest) Describe() *core.Request {
	return &core.Request{Method: "GET", Host: "app.test", Header: []core.Header{{Name: "authorization", Value: "Bearer good"}}}
}

// fixed is a gate that no file changes.
type fixed struct{ gate *core.Gate }

func (f fixed) Current() (*config.Current, error) { return &config.Current{Gate: f.gate}, nil }

type edits struct{ http.Header }

func (e edits) View() http.Header { return e.Header }

func TestEveryResponseHeaderArrives(t *testing.T) {
	for name, c := range map[string]struct {
		sets   refreshing
		status int
	}{
		"two cookies":                   {refreshing{{Name: "Set-Cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=; Max-Age=0"}}, 0},
		"one that APISIX would not add": {refreshing{{Name: "Set-Cookie", Value: "a=1"}, {Name: "location", Value: "/"}}, 503},
	} {
		settings, err := config.Load([]byte("session: {kratos_url: 'http://127.0.0.1:1'}\nupstream_headers: {X-User-Id: sub}\npermission_table: 'authenticated: [GET /me]'"))
		if err != nil {
			t.Fatal(err)
		}
		builder := config.NewBuilder(config.BuilderOptions{})
		gate, err := builder.GateWith(settings, c.sets, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, r := httptest.NewRecorder(), &rawRequest{head: http.Header{}, added: http.Header{}}
		w.Code = 0
		filter.New(builder).RequestFilter(fixed{gate}, w, r)
		if w.Code != c.status {
			t.Errorf("%s: status %d", name, w.Code)
		}
		if got := r.added["Set-Cookie"]; c.status == 0 && (!slices.Equal(got, []string{"a=1", "b=; Max-Age=0"}) || r.head.Get("X-User-Id") != "ada") {
			t.Errorf("%s: added %v, upstream headers %v", name, got, r.head)
		}
	}
}

// What the protocol of APISIX's runners cannot say must not be left out without a word.
func TestGateThatAsksForMoreThanAPISIXCanDoIsRefusedAtLoad(t *testing.T) {
	for setting, want := range map[string]string{
		"upstream_header_lists: repeat":                                    "upstream_header_lists: repeat does not work with APISIX's runner",
		"token_query_parameter: access_token":                              "token_query_parameter: does not work with APISIX's runner",
		"consumers: [{issuer: 'http://127.0.0.1:1', consumer_claim: sub}]": "consumers: does not work with APISIX's runner, through which no consumer",
		"upstream_header_lists: json":                                      "",
	} {
		_, err := filter.New(config.NewBuilder(config.BuilderOptions{})).ParseConf([]byte(`
session: {kratos_url: "http://127.0.0.1:1", bearer_token: true}
permission_table: "public: [GET /]"
` + setting))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

func TestResourceMetadataIsServedByAPISIX(t *testing.T) {
	c := dial(t, io.Discard)
	conf := exchange(t, c, prepareConf, confMessage("gatehouse", `
session: {kratos_url: "http://127.0.0.1:1"}
permission_table: "public: []"
resource_metadata: [{resource: "https://app.test/mcp", authorization_servers: ["https://id.test"]}]
`))
	vars := map[string]string{"request": "GET /.well-known/oauth-protected-resource/mcp HTTP/1.1"}
	got := decide(t, c, requestMessage(PrepareConf.GetRootAsResp(conf, 0).ConfToken(), "t", net.IPv4(10, 1, 2, 3).To4()), vars)
	var table flatbuffers.Table
	if got.ActionType() != HTTPReqCall.ActionStop || !got.Action(&table) {
		t.Fatalf("%v: the upstream would be called", got.ActionType())
	}
	var stop HTTPReqCall.Stop
	stop.Init(table.Bytes, table.Pos)
	if stop.Status() != 200 || !strings.Contains(string(stop.BodyBytes()), `"resource":"https://app.test/mcp"`) {
		t.Errorf("%d %s", stop.Status(), stop.BodyBytes())
	}
}
