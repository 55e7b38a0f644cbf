package filter_test

import (
	"io"
	"net"
	"slices"
	"testing"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"

	"gatehouse/core/coretest"
)

// requestMessage is GET /metrics with a token, where there is one, from a client
// whose address APISIX took from X-Real-IP.
func requestMessage(conf uint32, bearer string, srcIP net.IP) []byte {
	b := flatbuffers.NewBuilder(0)
	path, ip := b.CreateString("/metrics"), b.CreateByteVector(srcIP)
	header := "authorization"
	if bearer == "" {
		header = "x-other"
	}
	name, value := b.CreateString(header), b.CreateString("Bearer "+bearer)
	A6.TextEntryStart(b)
	A6.TextEntryAddName(b, name)
	A6.TextEntryAddValue(b, value)
	headers := b.CreateVectorOfTables([]flatbuffers.UOffsetT{A6.TextEntryEnd(b)})
	HTTPReqCall.ReqStart(b)
	HTTPReqCall.ReqAddId(b, 7)
	HTTPReqCall.ReqAddSrcIp(b, ip)
	HTTPReqCall.ReqAddPath(b, path)
	HTTPReqCall.ReqAddHeaders(b, headers)
	HTTPReqCall.ReqAddConfToken(b, conf)
	b.Finish(HTTPReqCall.ReqEnd(b))
	return b.FinishedBytes()
}

// decide sends a request and gives the runner the variables that it requests.
func decide(t *testing.T, c net.Conn, message []byte, vars map[string]string) *HTTPReqCall.Resp {
	t.Helper()
	decision, _ := decideAsked(t, c, message, vars)
	return decision
}

// decideAsked also tells which variables the runner has requested.
func decideAsked(t *testing.T, c net.Conn, message []byte, vars map[string]string) (decision *HTTPReqCall.Resp, asked []string) {
	t.Helper()
	send(t, c, httpReqCall, message)
	kind, reply := receive(t, c)
	for kind == extraInfo {
		var table flatbuffers.Table
		wanted := ExtraInfo.GetRootAsReq(reply, 0)
		if !wanted.Info(&table) {
			t.Fatal("an ExtraInfo request without a name")
		}
		var variable ExtraInfo.Var
		variable.Init(table.Bytes, table.Pos)
		asked = append(asked, string(variable.Name()))
		send(t, c, extraInfo, infoMessage(vars[string(variable.Name())]))
		kind, reply = receive(t, c)
	}
	if kind != httpReqCall {
		t.Fatalf("frame of type %d", kind)
	}
	return HTTPReqCall.GetRootAsResp(reply, 0), asked
}

// By default APISIX takes the client's address from X-Real-IP if the connection
// comes from its own machine, where a proxy may pass on what the client wrote.
func TestAddressThatAClientWroteDoesNotOpenACondition(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	idp.Know("t", map[string]any{"active": true, "sub": "alice", "scope": "metrics:read", "exp": 4102444800})
	c := dial(t, io.Discard)
	conf := exchange(t, c, prepareConf, confMessage("gatehouse", `
introspection: {introspection_endpoint: `+idp.URL+`, insecure_any_audience: true}
permission_table: |
  permissions:
    metrics:read:
      description: See the metrics
      activities:
        - {methods: [GET], path: /metrics, require: {when: "cidr('10.0.0.0/8').containsIP(peer)"}}
`))
	token := PrepareConf.GetRootAsResp(conf, 0).ConfToken()

	for connected, want := range map[string]HTTPReqCall.Action{
		"127.0.0.1": HTTPReqCall.ActionStop,
		"unix:":     HTTPReqCall.ActionStop,
		"":          HTTPReqCall.ActionStop,
		"10.9.9.9":  HTTPReqCall.ActionRewrite,
	} {
		vars := map[string]string{"request": "GET /metrics HTTP/1.1", "request_id": requestID, "realip_remote_addr": connected}
		if got := decide(t, c, requestMessage(token, "t", net.IPv4(10, 1, 2, 3).To4()), vars); got.ActionType() != want {
			t.Errorf("connected from %q: %v, want %v", connected, got.ActionType(), want)
		}
	}
}

// A flood of requests without credentials must not cost APISIX more than good ones.
func TestRefusalWithoutACredentialTakesNoMoreExchangesThanAnAdmission(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	idp.Know("t", map[string]any{"active": true, "sub": "alice", "exp": 4102444800})
	c := dial(t, io.Discard)
	conf := exchange(t, c, prepareConf, confMessage("gatehouse", `
introspection: {introspection_endpoint: `+idp.URL+`, insecure_any_audience: true}
permission_table: "authenticated: [GET /metrics]"
`))
	token := PrepareConf.GetRootAsResp(conf, 0).ConfToken()
	for name, r := range map[string]struct {
		bearer, line string
		action       HTTPReqCall.Action
		asked        []string
	}{
		"admitted":         {"t", "GET /metrics HTTP/1.1", HTTPReqCall.ActionRewrite, []string{"request"}},
		"no credential":    {"", "GET /metrics HTTP/1.1", HTTPReqCall.ActionStop, []string{"request"}},
		"no activity":      {"", "GET /nowhere HTTP/1.1", HTTPReqCall.ActionStop, []string{"request"}},
		"a bad path":       {"", "GET /metrics/.. HTTP/1.1", HTTPReqCall.ActionStop, []string{"request"}},
		"a bad credential": {"bad", "GET /metrics HTTP/1.1", HTTPReqCall.ActionStop, []string{"request", "request_id"}},
	} {
		got, asked := decideAsked(t, c, requestMessage(token, r.bearer, net.IPv4(192, 0, 2, 1).To4()), map[string]string{"request": r.line, "request_id": requestID})
		if got.ActionType() != r.action || !slices.Equal(asked, r.asked) {
			t.Errorf("%s: %v after %v, want %v after %v", name, got.ActionType(), asked, r.action, r.asked)
		}
	}
}
