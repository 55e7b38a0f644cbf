package agents

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/core/audit"
	"gatehouse/core/coretest"
)

// Resource is the identifier of the endpoint where it is not the address of a gateway.
const Resource = "https://api.example.com/mcp"

// Table is the permission table of a gate in front of a server.
const Table = `
permissions:
  weather:read:
    mcp: {endpoint: /mcp, tools: [get_weather, "caf*"], resources: ["weather://*/today"], prompts: [summary]}
  stations:delete:
    mcp: {endpoint: /mcp, tools: [delete_all]}
authenticated:
  - mcp: {endpoint: /mcp, methods: [server/discover, tools/list, resources/list, prompts/list]}
`

// MaxBody is mcp_max_body of the gate.
const MaxBody = 8192

// Gate are the settings of one that takes the tokens of an issuer.
func Gate(issuer *coretest.Issuer) map[string]any {
	return map[string]any{
		"permission_table":  Table,
		"mcp_max_body":      MaxBody,
		"jwt":               map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{Resource}}}},
		"resource_metadata": []any{map[string]any{"resource": Resource, "scopes_supported": []string{"weather:read"}, "audience_required": true}},
	}
}

// WithRecords are the settings with audit records in a file.
func WithRecords(settings map[string]any, file string) map[string]any {
	settings["audit"] = map[string]any{"file": map[string]any{"path": file}}
	return settings
}

// Token is one of the issuer with some scopes, for the endpoint.
func Token(issuer *coretest.Issuer, scopes string) string {
	return issuer.Token(map[string]any{"aud": []string{Resource}, "scope": scopes, "exp": time.Now().Add(time.Hour).Unix()})
}

// Gateway is a running gate in front of a server.
type Gateway struct {
	// Base is the URL before the path of the endpoint.
	Base string
	// Chunked: it hands bodies over whose length the client has not announced.
	Chunked bool
	// TooLarge is the status for a body over MaxBody.
	TooLarge int
}

// responses records what a client has got.
type responses struct {
	token string
	mu    sync.Mutex
	all   []*http.Response
}

func (r *responses) RoundTrip(request *http.Request) (*http.Response, error) {
	if r.token != "" {
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.all = append(r.all, response)
	}
	return response, err
}

func (r *responses) last() *http.Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return &http.Response{}
	}
	return r.all[len(r.all)-1]
}

// connect connects the client of the SDK.
func connect(t testing.TB, base, token string) (*mcp.ClientSession, *responses, error) {
	t.Helper()
	got := &responses{token: token}
	client := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: base + Path, HTTPClient: &http.Client{Transport: got}, MaxRetries: -1}, nil)
	if err == nil {
		t.Cleanup(func() { session.Close() })
	}
	return session, got, err
}

// wantChallenge checks what a refused client reads.
func wantChallenge(t testing.TB, what string, response *http.Response, status int, parts ...string) {
	t.Helper()
	challenge := response.Header.Get("WWW-Authenticate")
	for _, part := range append(parts, `Bearer `, `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/mcp"`) {
		if response.StatusCode != status || !strings.Contains(challenge, part) {
			t.Errorf("%s: %d, %s, want %d with %s", what, response.StatusCode, challenge, status, part)
		}
	}
}

// CheckClient has the client of the SDK list and call behind a gateway, in front of the
// stateless server of the SDK.
func CheckClient(t *testing.T, g Gateway, server *Server, issuer *coretest.Issuer) {
	t.Helper()
	session, got, err := connect(t, g.Base, Token(issuer, "weather:read"))
	if err != nil {
		t.Fatal(err)
	}
	if version := session.InitializeResult().ProtocolVersion; version != Revision {
		t.Errorf("the client speaks %s", version)
	}
	checkReads(t, session, server)
	_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: DeleteAll})
	if err == nil || server.Ran(DeleteAll) > 0 {
		t.Errorf("a tool that the token does not permit has run: %v", err)
	}
	wantChallenge(t, "a tool that the token does not permit", got.last(), http.StatusForbidden, `error="insufficient_scope"`, `scope="stations:delete"`)
	checkStranger(t, g, issuer)
}

// checkReads lists and calls what weather:read permits.
func checkReads(t *testing.T, session *mcp.ClientSession, server *Server) {
	t.Helper()
	ctx := t.Context()
	tools, err := session.ListTools(ctx, nil)
	if err != nil || len(tools.Tools) != 2 { // the gate takes none out of it
		t.Fatalf("%+v, %v", tools, err)
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: Weather})
	if err != nil || result.IsError || server.Ran(Weather) == 0 {
		t.Errorf("a tool that the token permits: %+v, %v", result, err)
	}
	if read, err := session.ReadResource(ctx, &mcp.ReadResourceParams{URI: Forecast}); err != nil || read.Contents[0].Text != "sunny" {
		t.Errorf("a resource that the token permits: %+v, %v", read, err)
	}
	if prompt, err := session.GetPrompt(ctx, &mcp.GetPromptParams{Name: Summary}); err != nil || len(prompt.Messages) != 1 {
		t.Errorf("a prompt that the token permits: %+v, %v", prompt, err)
	}
}

// checkStranger connects without a token, and with one for another resource.
func checkStranger(t *testing.T, g Gateway, issuer *coretest.Issuer) {
	t.Helper()
	for what, token := range map[string]string{"no token": "", "a token for another resource": issuer.Token(nil)} {
		if _, _, err := connect(t, g.Base, token); err == nil {
			t.Errorf("%s: the client connects", what)
		}
		call := Call{Header: Headers(Revision, Weather), Body: Body(Weather)}
		answer := call.Send(t, g.Base, token)
		wantChallenge(t, what, &http.Response{StatusCode: answer.Status, Header: http.Header{"Www-Authenticate": {answer.Challenge}}}, http.StatusUnauthorized, `scope="weather:read"`)
	}
}

// Attacks are calls that name get_weather in a header, so that a gate which believes it
// lets them pass, and that have the server of the SDK run delete_all.
func Attacks() map[string]Call {
	older := OlderBody(DeleteAll)
	return map[string]Call{
		"an older version":               {Header: Headers("2025-11-25", Weather), Body: older},
		"no version":                     {Header: Headers("", Weather)[2:], Body: older},
		"two versions":                   {Header: append(Headers("2025-11-25", Weather), "MCP-Protocol-Version", Revision), Body: older},
		"a batch":                        {Header: Headers("2025-03-26", Weather), Body: "[" + OlderBody(Weather) + "," + strings.Replace(older, `"id":1`, `"id":2`, 1) + "]"},
		"a batch and no version":         {Header: Headers("", Weather)[2:], Body: "[" + older + "]"},
		"two names, of which it takes 1": {Header: append(Headers(Revision, DeleteAll), "Mcp-Name", Weather), Body: Body(DeleteAll)},
	}
}

// CheckAttacks sends each attack to the server of the SDK, which runs delete_all, and through
// a gateway, which refuses it.
func CheckAttacks(t *testing.T, g Gateway, server *Server, issuer *coretest.Issuer) {
	t.Helper()
	token := Token(issuer, "weather:read")
	for attack, call := range Attacks() {
		before := server.Ran(DeleteAll)
		if answer := call.Send(t, "http://"+server.Address, token); server.Ran(DeleteAll) != before+1 {
			t.Errorf("%s: the server does not run the tool, %+v", attack, answer)
		}
		g.refuses(t, attack, call, server, token, http.StatusBadRequest)
	}
	for _, attack := range []string{Weather, DeleteAll} { // the same calls without the attack
		call := Call{Header: Headers(Revision, attack), Body: Body(attack)}
		if answer := call.Send(t, g.Base, token); answer.Status != map[string]int{Weather: 200, DeleteAll: 403}[attack] {
			t.Errorf("%s without an attack: %+v", attack, answer)
		}
	}
}

// refuses sends a call through the gateway, behind which no tool runs.
func (g Gateway) refuses(t *testing.T, what string, call Call, server *Server, token string, statuses ...int) {
	t.Helper()
	before := server.Ran(DeleteAll) + server.Ran(Weather)
	answer := call.Send(t, g.Base, token)
	if ran := server.Ran(DeleteAll) + server.Ran(Weather); ran != before || !slices.Contains(statuses, answer.Status) {
		t.Errorf("%s: %d tools have run, %+v, want %d", what, ran-before, answer, statuses)
	}
}

// CheckBodies sends bodies through a gateway that no header gives away.
func CheckBodies(t *testing.T, g Gateway, server *Server, issuer *coretest.Issuer) {
	t.Helper()
	token := Token(issuer, "weather:read")
	good := Body(Weather)
	padded := func(size int) string {
		return strings.Replace(good, `"arguments":{}`, `"arguments":{"x":"`+strings.Repeat("x", size-len(good)-6)+`"}`, 1)
	}
	with := func(body string, more ...string) Call {
		return Call{Header: append(Headers(Revision, Weather), more...), Body: body}
	}
	for what, call := range map[string]Call{
		"the body names another tool":          with(Body(DeleteAll)),
		"a key twice":                          with(strings.Replace(good, `"name":"get_weather"`, `"name":"get_weather","name":"delete_all"`, 1)),
		"a key twice, the other order":         with(strings.Replace(good, `"name":"get_weather"`, `"name":"delete_all","name":"get_weather"`, 1)),
		"params twice":                         with(strings.Replace(good, `"method"`, `"params":{"name":"delete_all"},"method"`, 1)),
		"a compressed body":                    with("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "Content-Encoding", "gzip"),
		"a body that says it is compressed":    with(good, "Content-Encoding", "gzip"),
		"a batch":                              with("[" + good + "]"),
		"nothing":                              with(""),
		"chunked, the body names another tool": {Header: Headers(Revision, Weather), Body: Body(DeleteAll), Chunked: true},
	} {
		g.refuses(t, what, call, server, token, http.StatusBadRequest)
	}
	g.refuses(t, "a body that is too large", with(padded(MaxBody+1)), server, token, g.TooLarge)
	chunked := Call{Header: Headers(Revision, Weather), Body: padded(MaxBody + 1), Chunked: true}
	if g.Chunked {
		g.refuses(t, "a chunked body that is too large", chunked, server, token, g.TooLarge)
	}
	for what, call := range map[string]Call{"a small body": with(good), "a body as large as may be": with(padded(MaxBody))} {
		if answer := call.Send(t, g.Base, token); answer.Status != http.StatusOK {
			t.Errorf("%s: %+v", what, answer)
		}
	}
	chunked.Body = padded(MaxBody)
	if answer := chunked.Send(t, g.Base, token); answer.Status != map[bool]int{true: 200, false: 400}[g.Chunked] {
		t.Errorf("a chunked body: %+v", answer)
	}
}

// CheckRecords has calls made through a gateway whose audit records go to a file, and reads
// there which tool was called.
func CheckRecords(t *testing.T, g Gateway, issuer *coretest.Issuer, file string) {
	t.Helper()
	token := Token(issuer, "weather:read")
	calls := []struct {
		call Call
		want string
	}{
		{Call{Header: Headers(Revision, Weather), Body: Body(Weather)}, "allow tools/call get_weather"},
		{Call{Header: Headers(Revision, Encoded(Café)), Body: Body(Café)}, "allow tools/call café"},
		{Call{Header: Headers(Revision, DeleteAll), Body: Body(DeleteAll)}, "deny tools/call delete_all"},
		{Call{Header: Headers(Revision, Encoded("reboot\u202e")), Body: Body("reboot\u202e")}, "deny tools/call reboot\u202e"},
		{Call{Header: Headers("2025-11-25", Weather), Body: OlderBody(DeleteAll)}, "deny"},
		{Call{Header: []string{"MCP-Protocol-Version", Revision, "Mcp-Method", "tools/list"}, Body: strings.Replace(Body(""), "tools/call", "tools/list", 1)}, "allow tools/list"},
	}
	var want []string
	for _, c := range calls {
		c.call.Send(t, g.Base, token)
		want = append(want, c.want)
	}
	slices.Sort(want)
	got := recorded(t, file)
	for end := time.Now().Add(2 * time.Minute); len(got) < len(want) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = recorded(t, file)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the records have %q, want %q", got, want)
	}
}

// recorded are the calls of the records in a file, sorted.
func recorded(t *testing.T, file string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		var r audit.Record
		if !strings.HasSuffix(line, "\n") { // which is being written
			continue
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || strings.Contains(line, "\u202e") {
			t.Fatalf("%v: %q", err, line)
		}
		if r.MCP == nil {
			r.MCP = &audit.MCP{}
		}
		if r.Method == http.MethodPost { // what waits for the gate to start asks, too
			all = append(all, strings.TrimSpace(r.Decision+" "+r.MCP.Method+" "+r.MCP.Name))
		}
	}
	slices.Sort(all)
	return all
}

// CheckNames sends encoded names through a gateway to a server that decodes them.
func CheckNames(t *testing.T, g Gateway, server *Server, issuer *coretest.Issuer) {
	t.Helper()
	token := Token(issuer, "weather:read")
	for what, c := range map[string]struct {
		name, body string
		status     int
	}{
		"a plain name":                   {Weather, Weather, 200},
		"an encoded name":                {Encoded(Weather), Weather, 200},
		"a name that has to be encoded":  {Encoded(Café), Café, 200},
		"another tool, encoded":          {Encoded(DeleteAll), DeleteAll, 403},
		"a name that is encoded twice":   {Encoded(Encoded(Weather)), Encoded(Weather), 403},
		"another encoding of its name":   {"=?BASE64?" + Encoded(DeleteAll)[9:], DeleteAll, 400},
		"base64 without its end":         {strings.TrimSuffix(Encoded(Weather+"x"), "=?=") + "?=", Weather + "x", 400},
		"a name that had to be encoded":  {Café, Café, 400},
		"the name of no tool of a table": {"reboot", "reboot", 403},
	} {
		before := server.Ran(c.body)
		answer := Call{Header: Headers(Revision, c.name), Body: Body(c.body)}.Send(t, g.Base, token)
		if passed := server.Ran(c.body) > before; answer.Status != c.status || passed != (c.status == 200) {
			t.Errorf("%s: %+v, passed on: %v", what, answer, passed)
		}
	}
	two := Call{Header: append(Headers(Revision, Weather), "Mcp-Name", DeleteAll), Body: Body(DeleteAll)}
	before := server.Ran(DeleteAll)
	if answer := two.Send(t, "http://"+server.Address, ""); server.Ran(DeleteAll) != before+1 {
		t.Errorf("the server does not take the last of two names: %+v", answer)
	}
	g.refuses(t, "two names, of which the server takes the last", two, server, token, http.StatusBadRequest)
}

// CheckStateful has the client of the SDK call a server that knows no revision of which the
// headers count: directly with an older one, and not at all through a gateway.
func CheckStateful(t *testing.T, g Gateway, server *Server, issuer *coretest.Issuer) {
	t.Helper()
	token := Token(issuer, "weather:read")
	session, _, err := connect(t, "http://"+server.Address, token)
	if err != nil {
		t.Fatal(err)
	}
	if version := session.InitializeResult().ProtocolVersion; version >= Revision {
		t.Fatalf("the client falls back to %s", version)
	}
	if _, err := session.CallTool(context.WithoutCancel(t.Context()), &mcp.CallToolParams{Name: DeleteAll}); err != nil || server.Ran(DeleteAll) != 1 {
		t.Errorf("%v", err)
	}
	_, got, err := connect(t, g.Base, token)
	if err == nil || server.Ran(DeleteAll) != 1 {
		t.Error("the client connects with a revision of which the headers do not count")
	}
	if got.last().StatusCode != http.StatusBadRequest {
		t.Errorf("the client gets %d", got.last().StatusCode)
	}
}
