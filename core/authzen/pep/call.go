package pep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authzen"
	"gatehouse/core/httpsyntax"
)

// endpoints are where questions are asked; evaluations is empty where several cannot be
// asked at once.
type endpoints struct{ evaluation, evaluations string }

// find checks the endpoints that are configured, or makes what finds them.
func (p *Point) find() error {
	o := &p.options
	if o.Identifier == "" {
		for _, endpoint := range []string{o.Evaluation, o.Evaluations} {
			if _, err := idp.ParseURL(endpoint); err != nil && (endpoint != "" || o.Evaluation == "") {
				return fmt.Errorf("the endpoint %w", err)
			}
		}
		return nil
	}
	if _, err := idp.ParseURL(o.Identifier); err != nil {
		return fmt.Errorf("the identifier %w", err)
	}
	address, err := authzen.MetadataURL(o.Identifier)
	if err != nil {
		return fmt.Errorf("the identifier %w", err)
	}
	p.metadata = &idp.Kept[endpoints]{
		Fetch: func(ctx context.Context) (endpoints, error) { return p.fetch(ctx, address) },
		// Endpoints move rarely, and a wrong one is found by the calls.
		RefreshAfter: time.Hour, MaxAge: 24 * time.Hour, MinInterval: time.Minute,
		Log: o.Log, Failure: "the metadata of the decision point were not fetched", Issuer: o.Identifier, Now: o.Now,
	}
	return nil
}

// Missing reports whether the endpoints are not known yet. It has them looked for.
func (p *Point) Missing() bool { return p.metadata != nil && !p.metadata.Ready() }

// fetch reads the metadata. A decision point without has its endpoints at the default paths.
func (p *Point) fetch(ctx context.Context, address string) (endpoints, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return endpoints{}, errors.New("the identifier is not a URL")
	}
	req.Header.Set("Accept", "application/json")
	r, err := p.options.Client.Do(req, authzen.MaxResponse)
	switch {
	case err != nil:
		return endpoints{}, err
	case r.Status == http.StatusNotFound:
		id := p.options.Identifier
		return endpoints{authzen.Appended(id, authzen.EvaluationPath), authzen.Appended(id, authzen.EvaluationsPath)}, nil
	case r.Status != http.StatusOK:
		return endpoints{}, r.Unexpected()
	}
	m, err := authzen.DecodeMetadata(r.Body, p.options.Identifier)
	if err != nil {
		return endpoints{}, fmt.Errorf("%s: %w", r.From, err)
	}
	return p.named(m)
}

// named are the endpoints that metadata name. Behind TLS, as the identifier is, are all.
func (p *Point) named(m authzen.Metadata) (endpoints, error) {
	for _, endpoint := range []string{m.Evaluation, m.Evaluations} {
		u, err := idp.ParseURL(endpoint)
		switch {
		case endpoint == "" && endpoint != m.Evaluation:
		case err != nil:
			return endpoints{}, fmt.Errorf("the metadata name an endpoint %.200q that %w", endpoint, err)
		case strings.HasPrefix(p.options.Identifier, "https:") && u.Scheme != "https":
			return endpoints{}, fmt.Errorf("the metadata name an endpoint, %s, that is not https, unlike the identifier", idp.Name(u))
		}
	}
	return endpoints{m.Evaluation, m.Evaluations}, nil
}

// ask asks all questions in one call, where the decision point takes several.
func (p *Point) ask(ctx context.Context, requestID string, questions []question) ([]authzen.Decision, error) {
	at := p.configured
	if p.metadata != nil {
		var err error
		if at, err = p.metadata.Get(ctx); err != nil {
			return nil, err
		}
	}
	if len(questions) > 1 && at.evaluations != "" && agree(questions) {
		return p.askTogether(ctx, at.evaluations, requestID, questions)
	}
	var answers []authzen.Decision
	for i := range questions {
		r, err := p.send(ctx, at.evaluation, requestID, questions[i].text)
		if err != nil {
			return nil, err
		}
		d, err := authzen.DecodeDecision(r.Body)
		if err != nil {
			return nil, fmt.Errorf("the response of %s is not an answer: %w", r.From, err)
		}
		answers = append(answers, d)
	}
	return answers, p.told(answers)
}

// agree reports whether questions say the same of what they have in common: a subject or a
// resource with an id, an action with a name, the context. Others are asked one by one:
// Cerbos 0.55 takes what the first question of a request says of a subject and a resource
// for all of them, and so says yes to what it denies when it is asked alone.
func agree(questions []question) bool {
	said := map[[2]string]string{}
	for i := range questions {
		q := &questions[i]
		for _, part := range []struct {
			key   [2]string
			value any
		}{{[2]string{"subject", q.Subject.ID}, q.Subject}, {[2]string{"resource", q.Resource.ID}, q.Resource}, {[2]string{"action", q.Action.Name}, q.Action}, {[2]string{"context"}, q.Context}} {
			text, err := json.Marshal(part.value)
			before, again := said[part.key]
			if err != nil || again && before != string(text) {
				return false
			}
			said[part.key] = string(text)
		}
	}
	return true
}

func (p *Point) askTogether(ctx context.Context, endpoint, requestID string, questions []question) ([]authzen.Decision, error) {
	list := make([]authzen.Evaluation, len(questions))
	for i := range questions {
		list[i] = questions[i].Evaluation
	}
	body, err := authzen.EncodeEvaluations(list)
	if err != nil {
		return nil, err
	}
	r, err := p.send(ctx, endpoint, requestID, body)
	if err != nil {
		return nil, err
	}
	answers, err := authzen.DecodeDecisions(r.Body, len(list))
	if err != nil {
		return nil, fmt.Errorf("the response of %s is not the answers: %w", r.From, err)
	}
	return answers, p.told(answers)
}

// told fails where the decision point could not tell, be it about one question of several.
func (p *Point) told(answers []authzen.Decision) error {
	for i := range answers {
		if err := answers[i].Failure(); err != nil {
			if p.holdsSecret(err.Error()) {
				err = errors.New("the answer is an error")
			}
			return fmt.Errorf("question %d of %d: %w", i+1, len(answers), err)
		}
	}
	return nil
}

// holdsSecret reports whether a text, which goes to the log, has a secret of the gate in it.
func (p *Point) holdsSecret(text string) bool {
	return slices.ContainsFunc(p.options.Secrets, func(s string) bool { return s != "" && strings.Contains(text, s) })
}

// maxResponse is the most bytes of a response.
const maxResponse = 64 << 10

func (p *Point) send(ctx context.Context, endpoint, requestID string, body []byte) (*idp.Response, error) {
	probe := func(ctx context.Context) (*http.Request, error) { return p.request(ctx, endpoint, probed) }
	req, err := p.request(idp.WithProbe(ctx, probe), endpoint, body)
	if err != nil {
		return nil, err
	}
	if httpsyntax.IsRequestID(requestID) {
		req.Header.Set("X-Request-ID", requestID)
	}
	r, err := p.options.Client.Do(req, maxResponse)
	switch {
	case err != nil:
		return nil, err
	case r.Status != http.StatusOK:
		return nil, p.unexpected(r)
	case !isJSON(r):
		return nil, fmt.Errorf("the response of %s has Content-Type %.60q, not application/json", r.From, r.Header.Get("Content-Type"))
	}
	return r, nil
}

// probed is a question with nothing of a client in it: it finds out whether the decision
// point responds to questions at all.
var probed = []byte(`{"subject":{"type":"gatehouse","id":"probe"},"action":{"name":"probe"},"resource":{"type":"gatehouse","id":"probe"}}`)

func (p *Point) request(ctx context.Context, endpoint string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the endpoint is not a URL")
	}
	req.Header = p.options.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	return req, nil
}

func isJSON(r *idp.Response) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/json"
}

// unexpected says what a response means that is no answer, and what to do.
func (p *Point) unexpected(r *idp.Response) error {
	err := r.Unexpected()
	if message := p.message(r); message != "" {
		err = fmt.Errorf("%w: %.300q", err, message)
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w; it does not accept the gate: check authzen.bearer_token or authzen.api_key", err)
	case http.StatusNotFound, http.StatusNotImplemented:
		return fmt.Errorf("%w; nothing answers questions there: check authzen.pdp_url or authzen.evaluation_endpoint, which for OpenFGA hold the id of the store, as in /stores/ID/access/v1/evaluation", err)
	case http.StatusBadRequest:
		return fmt.Errorf("%w; it does not understand the question: check the types, the names and the ids that the activity's ask makes, and the store or the policies that the decision point has", err)
	}
	return err
}

// message is what the decision point says in an error, without secrets of the gate.
func (p *Point) message(r *idp.Response) string {
	text := strings.TrimSpace(string(r.Body))
	if set, err := claims.Decode(r.Body); err == nil {
		text = ""
		for _, name := range []string{"code", "error", "message"} {
			switch v := set[name].(type) {
			case string:
				text += " " + v
			case json.Number:
				text += " " + v.String()
			}
		}
	}
	if len(text) > maxMessage || p.holdsSecret(text) {
		return ""
	}
	return strings.TrimSpace(text)
}

const maxMessage = 1024
