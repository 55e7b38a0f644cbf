package filter_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"

	"gatehouse/core/coretest"
)

// stopped returns the status and a header with which APISIX responds; 0: the request
// goes on.
func stopped(t *testing.T, r *HTTPReqCall.Resp, header string) (status uint16, value string) {
	t.Helper()
	var table flatbuffers.Table
	if r.ActionType() != HTTPReqCall.ActionStop || !r.Action(&table) {
		return 0, ""
	}
	var stop HTTPReqCall.Stop
	stop.Init(table.Bytes, table.Pos)
	for i := range stop.HeadersLength() {
		var entry A6.TextEntry
		if stop.Headers(&entry, i); string(entry.Name()) == header {
			value = string(entry.Value())
		}
	}
	return stop.Status(), value
}

func introspecting(t *testing.T, c net.Conn, idp *coretest.FakeIntrospection, settings string) (conf uint32) {
	t.Helper()
	message := exchange(t, c, prepareConf, confMessage("gatehouse", fmt.Sprintf(`
introspection: {introspection_endpoint: %q, insecure_any_audience: true, http: {timeout: 30}}
permission_table: "authenticated: [GET /metrics]"
%s`, idp.URL, settings)))
	return PrepareConf.GetRootAsResp(message, 0).ConfToken()
}

var noVars = map[string]string{"request": "GET /metrics HTTP/1.1", "request_id": requestID}

func TestFailedAttemptsOfAClientBehindAPISIXAreRefusedWith429(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	for _, token := range []string{"good", "good2"} {
		idp.Know(token, map[string]any{"active": true, "sub": "ada", "exp": 4102444800})
	}
	c := dial(t, io.Discard)
	conf := introspecting(t, c, idp, "failed_attempts: {count: 4, time_window: 40}")
	attempt := func(token string, client net.IP) (uint16, string) {
		return stopped(t, decide(t, c, requestMessage(conf, token, client), noVars), "Retry-After")
	}
	eve, ada := net.IPv4(192, 0, 2, 1).To4(), net.IPv4(192, 0, 2, 2).To4()
	if status, _ := attempt("good", eve); status != 0 {
		t.Fatalf("a good token: %d", status)
	}
	for i := range 4 {
		if status, _ := attempt(fmt.Sprint("bad", i), eve); status != 401 {
			t.Errorf("attempt %d: %d", i, status)
		}
	}
	if status, after := attempt("bad5", eve); status != 429 || after != "10" {
		t.Errorf("%d, Retry-After %q", status, after)
	}
	if status, _ := attempt("bad6", eve.To16()); status != 429 {
		t.Errorf("the same address as IPv6: %d", status)
	}
	if status, _ := attempt("good", eve); status != 0 {
		t.Errorf("a remembered good token: %d", status)
	}
	if status, _ := attempt("good2", ada); status != 0 {
		t.Errorf("another client: %d", status)
	}
}

func TestFloodOfOneClientBehindAPISIXLeavesRoomForOthers(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	release := make(chan struct{})
	idp.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.PostForm.Get("token") != "good" {
			<-release // a slow provider
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		fmt.Fprint(w, `{"active":true,"sub":"ada","exp":4102444800}`)
	})
	c := dial(t, io.Discard)
	conf := introspecting(t, c, idp, "failed_attempts: {count: 0}")
	socket := filepath.Join(filepath.Dir(c.RemoteAddr().String()), "runner.sock")
	var flood sync.WaitGroup
	for i := range 1500 {
		other, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		flood.Go(func() {
			defer other.Close()
			decide(t, other, requestMessage(conf, fmt.Sprint("garbage", i), net.IPv4(192, 0, 2, 1).To4()), noVars)
		})
	}
	for idp.Calls() < 96 { // of the 128 that may be under way
		time.Sleep(time.Millisecond)
	}
	if status, _ := stopped(t, decide(t, c, requestMessage(conf, "good", net.IPv4(192, 0, 2, 2).To4()), noVars), ""); status != 0 {
		t.Errorf("a new good caller: %d", status)
	}
	close(release)
	flood.Wait()
}
