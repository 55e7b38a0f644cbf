package filter_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"

	"gatehouse/core/coretest"
)

// APISIX keeps $http_x_user_id as the client sent it where something has read it before,
// such as a limit or a route's vars. It forgets the variable when the header is removed by
// that name. The header that is set must not be removed by it: nginx takes X_User_Id and
// X-User-Id for two.
func TestVariableThatWasReadBeforeGatehouseIsNotTheClients(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	idp.Know("t", map[string]any{"active": true, "sub": "alice", "exp": 4102444800})
	c := dial(t, io.Discard)
	conf := exchange(t, c, prepareConf, confMessage("gatehouse", `
introspection: {introspection_endpoint: `+idp.URL+`, insecure_any_audience: true}
strip_headers: [X-Internal-Id]
permission_table: "authenticated: [GET /metrics]"
`))
	token := PrepareConf.GetRootAsResp(conf, 0).ConfToken()
	got := decide(t, c, requestMessage(token, "t", net.IPv4(10, 1, 2, 3).To4()), map[string]string{"request": "GET /metrics HTTP/1.1"})
	var action flatbuffers.Table
	if got.ActionType() != HTTPReqCall.ActionRewrite || !got.Action(&action) {
		t.Fatalf("%v, want a rewrite", got.ActionType())
	}
	var rewrite HTTPReqCall.Rewrite
	rewrite.Init(action.Bytes, action.Pos)
	var edits []string
	for i := range rewrite.HeadersLength() {
		var entry A6.TextEntry
		rewrite.Headers(&entry, i)
		edits = append(edits, fmt.Sprintf("%s=%s", entry.Name(), entry.Value()))
	}
	for _, want := range []string{"X-User-Id=alice", "X_User_Id=", "X-Internal-Id=", "X_Internal_Id="} {
		if !slices.Contains(edits, want) {
			t.Errorf("the edits %q lack %s", edits, want)
		}
	}
}
