package authzen

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"gatehouse/core/authn/claims"
)

const (
	// MaxRequest and MaxResponse are the most bytes of a body.
	MaxRequest  = 256 << 10
	MaxResponse = 256 << 10
	// MaxText is the most bytes of a type, an id or a name.
	MaxText = 1024
	// MaxEvaluations is how many questions one request may hold.
	MaxEvaluations = 100
)

// Entity is a subject or a resource.
type Entity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Action is what the subject wants to do to the resource.
type Action struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Evaluation is one question: the request of the Access Evaluation API.
type Evaluation struct {
	Subject  Entity         `json:"subject"`
	Action   Action         `json:"action"`
	Resource Entity         `json:"resource"`
	Context  map[string]any `json:"context,omitempty"`
}

// Check reports what a question lacks, or has too much of.
func (e *Evaluation) Check() error {
	for _, text := range []struct{ name, value string }{
		{"subject.type", e.Subject.Type}, {"subject.id", e.Subject.ID}, {"action.name", e.Action.Name},
		{"resource.type", e.Resource.Type}, {"resource.id", e.Resource.ID},
	} {
		if err := checkText(text.name, text.value); err != nil {
			return err
		}
	}
	return nil
}

func checkText(name, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s is empty", name)
	case len(value) > MaxText:
		return fmt.Errorf("%s has %d bytes, %d at most", name, len(value), MaxText)
	case !utf8.ValidString(value):
		return fmt.Errorf("%s is not UTF-8", name)
	}
	return nil
}

// Encode writes a question. The same question is the same text.
func (e *Evaluation) Encode() ([]byte, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	return encode(e)
}

// EncodeEvaluations writes several questions as one request of the Access Evaluations API,
// all of which are to be answered, in their order.
func EncodeEvaluations(list []Evaluation) ([]byte, error) {
	if len(list) == 0 || len(list) > MaxEvaluations {
		return nil, fmt.Errorf("%d questions in one request, want 1 to %d", len(list), MaxEvaluations)
	}
	for i := range list {
		if err := list[i].Check(); err != nil {
			return nil, fmt.Errorf("evaluations[%d]: %w", i, err)
		}
	}
	return encode(struct {
		Evaluations []Evaluation `json:"evaluations"`
	}{list})
}

func encode(request any) ([]byte, error) {
	text, err := json.Marshal(request)
	switch {
	case err != nil:
		return nil, errors.New("the question cannot be written as JSON")
	case len(text) > MaxRequest:
		return nil, fmt.Errorf("the question has %d bytes, %d at most", len(text), MaxRequest)
	}
	return text, nil
}

// Semantic says which questions of a request are answered.
type Semantic string

// The semantics of a request with several questions.
const (
	ExecuteAll          Semantic = "execute_all"
	DenyOnFirstDeny     Semantic = "deny_on_first_deny"
	PermitOnFirstPermit Semantic = "permit_on_first_permit"
)

// Evaluations are the questions of one request of the Access Evaluations API, each with
// the defaults of the request put in.
type Evaluations struct {
	// Single says that the request has no list and is one question, which is answered
	// as by the Access Evaluation API.
	Single   bool
	Semantic Semantic
	Items    []Item
}

// Item is one question of several. Its Fault is why it cannot be answered: nil: it can.
type Item struct {
	Evaluation
	Fault error
}

// DecodeEvaluation reads a request of the Access Evaluation API.
func DecodeEvaluation(body []byte) (Evaluation, error) {
	object, err := decode(body, MaxRequest)
	if err != nil {
		return Evaluation{}, err
	}
	return evaluation(object, nil)
}

// DecodeEvaluations reads a request of the Access Evaluations API. What is wrong with one
// question of a list stands beside it.
func DecodeEvaluations(body []byte) (Evaluations, error) {
	object, err := decode(body, MaxRequest)
	if err != nil {
		return Evaluations{}, err
	}
	list, err := member[[]any](object, "evaluations", "a list")
	if err != nil {
		return Evaluations{}, err
	}
	if len(list) == 0 {
		one, err := evaluation(object, nil)
		return Evaluations{Single: true, Semantic: ExecuteAll, Items: []Item{{Evaluation: one}}}, err
	}
	if len(list) > MaxEvaluations {
		return Evaluations{}, fmt.Errorf("evaluations has %d members, %d at most", len(list), MaxEvaluations)
	}
	all := Evaluations{Items: make([]Item, len(list))}
	if all.Semantic, err = semantic(object); err != nil {
		return Evaluations{}, err
	}
	for i := range list {
		one, ok := list[i].(map[string]any)
		if !ok {
			return Evaluations{}, fmt.Errorf("evaluations[%d] is not an object", i)
		}
		all.Items[i].Evaluation, all.Items[i].Fault = evaluation(one, object)
	}
	return all, nil
}

func semantic(request map[string]any) (Semantic, error) {
	options, err := member[map[string]any](request, "options", "an object")
	if err != nil {
		return "", err
	}
	name, err := member[string](options, "evaluations_semantic", "a string")
	if err != nil {
		return "", fmt.Errorf("options.%w", err)
	}
	switch s := Semantic(name); s {
	case "":
		return ExecuteAll, nil
	case ExecuteAll, DenyOnFirstDeny, PermitOnFirstPermit:
		return s, nil
	}
	return "", fmt.Errorf("options.evaluations_semantic is not one of %s, %s and %s", ExecuteAll, DenyOnFirstDeny, PermitOnFirstPermit)
}

// evaluation reads a question. What it does not have is in the defaults as a whole, which
// may be nil.
func evaluation(object, defaults map[string]any) (e Evaluation, err error) {
	from := func(name string) map[string]any {
		if _, own := object[name]; own || defaults == nil {
			return object
		}
		return defaults
	}
	if e.Subject, err = entity(from("subject"), "subject", true); err != nil {
		return Evaluation{}, err
	}
	if e.Action, err = action(from("action")); err != nil {
		return Evaluation{}, err
	}
	if e.Resource, err = entity(from("resource"), "resource", true); err != nil {
		return Evaluation{}, err
	}
	if e.Context, err = member[map[string]any](from("context"), "context", "an object"); err != nil {
		return Evaluation{}, err
	}
	return e, nil
}

// entity reads a subject or a resource; identified says that it needs an id.
func entity(request map[string]any, name string, identified bool) (e Entity, err error) {
	object, err := required[map[string]any](request, name, "an object")
	if err != nil {
		return Entity{}, err
	}
	if e.Type, err = text(object, name, "type"); err != nil {
		return Entity{}, err
	}
	if identified {
		if e.ID, err = text(object, name, "id"); err != nil {
			return Entity{}, err
		}
	}
	if e.Properties, err = member[map[string]any](object, "properties", "an object"); err != nil {
		return Entity{}, fmt.Errorf("%s.%w", name, err)
	}
	return e, nil
}

func action(request map[string]any) (a Action, err error) {
	object, err := required[map[string]any](request, "action", "an object")
	if err != nil {
		return Action{}, err
	}
	if a.Name, err = text(object, "action", "name"); err != nil {
		return Action{}, err
	}
	if a.Properties, err = member[map[string]any](object, "properties", "an object"); err != nil {
		return Action{}, fmt.Errorf("action.%w", err)
	}
	return a, nil
}

func text(object map[string]any, of, name string) (string, error) {
	value, err := required[string](object, name, "a string")
	if err != nil {
		return "", fmt.Errorf("%s.%w", of, err)
	}
	return value, checkText(of+"."+name, value)
}

func decode(body []byte, most int) (map[string]any, error) {
	if len(body) > most {
		return nil, fmt.Errorf("the body has %d bytes, %d at most", len(body), most)
	}
	object, err := claims.Decode(body)
	if err != nil {
		return nil, fmt.Errorf("the body %w", err)
	}
	return object, nil
}

// required is member where there must be one.
func required[T any](object map[string]any, name, what string) (value T, err error) {
	if _, present := object[name]; !present {
		return value, fmt.Errorf("%s is absent", name)
	}
	value, ok := object[name].(T)
	if !ok {
		return value, fmt.Errorf("%s is not %s", name, what)
	}
	return value, nil
}

// member reads a member that may be absent.
func member[T any](object map[string]any, name, what string) (value T, err error) {
	if _, present := object[name]; !present {
		return value, nil
	}
	return required[T](object, name, what)
}
