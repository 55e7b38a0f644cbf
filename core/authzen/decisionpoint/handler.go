package decisionpoint

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/fair"
	"gatehouse/core/revocation/receive"
)

const (
	// maxTime bounds the work for one request, however many questions it holds.
	maxTime = 10 * time.Second
	// keepMetadata is how long askers may use the metadata, in seconds.
	keepMetadata = "3600"
	// slots are how many searches run at once, and perClient of them for one address;
	// waiting others wait for one.
	slots, perClient, waiting = 8, 6, 64
)

// Endpoints are those of the API, and the metadata, for the gate with some options. Its paths
// stand below the identifier.
func (p *Point) Endpoints(o core.Options) ([]core.Endpoint, error) {
	path, err := CheckIdentifier(p.options.Identifier)
	if err != nil {
		return nil, err
	}
	door, err := p.door(o)
	if err != nil {
		return nil, err
	}
	var all []core.Endpoint
	for _, api := range apis {
		all = append(all, core.Endpoint{
			Path: path + api.path, Methods: []string{http.MethodPost}, MaxBody: authzen.MaxRequest,
			Handler: handler{p, door, api},
		})
	}
	document, err := json.Marshal(p.metadata())
	if err != nil { // texts always encode
		return nil, err
	}
	return append(all, core.Endpoint{Path: wellKnown + path, Methods: []string{http.MethodGet}, Handler: published(document)}), nil
}

// Paths are those of the endpoints of a decision point with an identifier.
func Paths(identifier string) (paths []string) {
	for _, e := range Offline(identifier) {
		paths = append(paths, e.Path)
	}
	return paths
}

// Offline are the endpoints for tools that answer nobody.
func Offline(identifier string) []core.Endpoint {
	path, err := CheckIdentifier(identifier)
	if err != nil {
		return nil
	}
	all := []core.Endpoint{{Path: wellKnown + path, Methods: []string{http.MethodGet}, Handler: offline{}}}
	for _, api := range apis {
		all = append(all, core.Endpoint{Path: path + api.path, Methods: []string{http.MethodPost}, MaxBody: authzen.MaxRequest, Handler: offline{}})
	}
	return all
}

type offline struct{}

func (offline) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{}, errors.New("this tool answers no questions")
}

const wellKnown = "/.well-known/authzen-configuration"

func (p *Point) metadata() authzen.Metadata {
	at := p.options.Identifier
	return authzen.Metadata{
		PolicyDecisionPoint: at,
		Evaluation:          at + authzen.EvaluationPath,
		Evaluations:         at + authzen.EvaluationsPath,
		SearchSubject:       at + authzen.SearchSubjectPath,
		SearchResource:      at + authzen.SearchResourcePath,
		SearchAction:        at + authzen.SearchActionPath,
	}
}

// published is the document that it responds with.
type published []byte

// Respond hands the metadata to every client: they say where the endpoints are and no more.
func (d published) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{Status: http.StatusOK, Body: d, Header: []core.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "Cache-Control", Value: "public, max-age=" + keepMetadata},
	}}, nil
}

// api is one of the endpoints.
type api struct {
	path  string
	serve func(p *Point, ctx context.Context, a asking, body []byte) core.Response
}

var apis = []api{
	{authzen.EvaluationPath, (*Point).evaluation},
	{authzen.EvaluationsPath, (*Point).evaluations},
	{authzen.SearchSubjectPath, serveSearch(authzen.SoughtSubjects, (*Point).searchSubjects, foundSubjects)},
	{authzen.SearchResourcePath, serveSearch(authzen.SoughtResources, (*Point).searchResources, foundResources)},
	{authzen.SearchActionPath, serveSearch(authzen.SoughtActions, (*Point).searchActions, foundActions)},
}

// asking is who asks, by which request.
type asking struct {
	caller    *core.Principal // nil: nobody is known
	peer      fair.Peer
	may       Statements
	requestID string
}

type handler struct {
	*Point
	door *core.Gate
	api
}

// Respond answers an asker. Anybody else gets the refusal of a gate.
func (h handler) Respond(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	d := h.door.Check(ctx, call.Request)
	if d.Outcome != core.Allow {
		return core.Response{Status: d.Status, Header: d.Header, Body: d.Body}, nil
	}
	response := h.answer(ctx, call, d.Principal, body)
	response.Header = append(response.Header, d.ResponseHeader...)
	return response, nil
}

func (h handler) answer(ctx context.Context, call *core.Call, caller *core.Principal, body []byte) core.Response {
	if err := receive.ContentType(call, "application/json"); err != nil {
		return fault(http.StatusBadRequest, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	a := asking{caller: caller, peer: fair.PeerOf(call.ClientAddr())}
	if caller != nil {
		a.may, _ = h.statements(caller)
	}
	a.requestID, _ = requestID(call.Request)
	return h.serve(h.Point, ctx, a, body)
}

// fault is the answer to a request that is none, in the form of the API's errors: a text.
func fault(status int, message string) core.Response {
	return core.Response{Status: status, Body: []byte(message + "\n"), Header: []core.Header{
		{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, receive.NoStore,
	}}
}

func success(document any) core.Response {
	body, err := json.Marshal(document)
	if err != nil { // texts and booleans always encode
		return fault(http.StatusInternalServerError, unknown)
	}
	return core.Response{Status: http.StatusOK, Body: body, Header: []core.Header{
		{Name: "Content-Type", Value: "application/json"}, receive.NoStore,
	}}
}

// unknown is what askers learn of a fault on this side.
const unknown = "The answer could not be found out. Try again, and take it for a no until then."

func (p *Point) evaluation(ctx context.Context, a asking, body []byte) core.Response {
	e, err := authzen.DecodeEvaluation(body)
	if err != nil {
		return fault(http.StatusBadRequest, err.Error())
	}
	return p.single(ctx, a, &e)
}

func (p *Point) single(ctx context.Context, a asking, e *authzen.Evaluation) core.Response {
	answer := p.ask(ctx, a, e)
	if answer.unknown() {
		return fault(http.StatusInternalServerError, unknown)
	}
	return success(answer.decision())
}

func (p *Point) evaluations(ctx context.Context, a asking, body []byte) core.Response {
	all, err := authzen.DecodeEvaluations(body)
	if err != nil {
		return fault(http.StatusBadRequest, err.Error())
	}
	if all.Single {
		return p.single(ctx, a, &all.Items[0].Evaluation)
	}
	answers := authzen.Decisions{Evaluations: make([]authzen.Decision, 0, len(all.Items))}
	for i := range all.Items {
		d := p.item(ctx, a, &all.Items[i])
		answers.Evaluations = append(answers.Evaluations, d)
		if all.Semantic == authzen.DenyOnFirstDeny && !d.Decision || all.Semantic == authzen.PermitOnFirstPermit && d.Decision {
			break
		}
	}
	return success(answers)
}

// item answers one question of several. What cannot be answered is a no.
func (p *Point) item(ctx context.Context, a asking, item *authzen.Item) authzen.Decision {
	if item.Fault != nil {
		return failed(http.StatusBadRequest, item.Fault.Error())
	}
	answer := p.ask(ctx, a, &item.Evaluation)
	if answer.unknown() {
		return failed(http.StatusInternalServerError, unknown)
	}
	return answer.decision()
}

// ask answers a question and tells of the answer.
func (p *Point) ask(ctx context.Context, a asking, e *authzen.Evaluation) Answer {
	if err := ctx.Err(); err != nil {
		return Answer{Status: http.StatusServiceUnavailable, Cause: err}
	}
	answer := p.Evaluate(ctx, a.may, e)
	p.tell(ctx, a, e, &answer)
	return answer
}
