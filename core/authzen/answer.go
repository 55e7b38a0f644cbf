package authzen

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Decision is one answer.
type Decision struct {
	Decision bool           `json:"decision"`
	Context  map[string]any `json:"context,omitempty"`
}

// Failure is why an answer is none, although it is well-formed: what decides could not tell,
// and says so in the member error of the context, as those do that answer several questions
// at once. That it knows no such thing (404) or refuses to say (403) is a denial; nil: it
// is an answer.
func (d Decision) Failure() error {
	told, failed := d.Context["error"]
	if !failed || told == nil {
		return nil
	}
	object, _ := told.(map[string]any)
	if status, _ := object["status"].(json.Number); !d.Decision && (status == "403" || status == "404") {
		return nil
	}
	text, err := json.Marshal(told)
	if err != nil {
		return errors.New("the answer is an error")
	}
	return fmt.Errorf("the answer is an error: %.300q", text)
}

// Decisions are the answers to the questions of a list, in their order.
type Decisions struct {
	Evaluations []Decision `json:"evaluations"`
}

// DecodeDecision reads a response of the Access Evaluation API.
func DecodeDecision(body []byte) (Decision, error) {
	object, err := decode(body, MaxResponse)
	if err != nil {
		return Decision{}, err
	}
	return decision(object)
}

// DecodeDecisions reads the answers to a number of questions, all of which were to be
// answered. Fewer or more answers are an error: which question lacks one is not known.
func DecodeDecisions(body []byte, questions int) ([]Decision, error) {
	object, err := decode(body, MaxResponse)
	if err != nil {
		return nil, err
	}
	list, err := required[[]any](object, "evaluations", "a list")
	switch {
	case err != nil:
		return nil, err
	case len(list) != questions:
		return nil, fmt.Errorf("evaluations has %d answers to %d questions", len(list), questions)
	}
	answers := make([]Decision, len(list))
	for i := range list {
		one, ok := list[i].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("evaluations[%d] is not an object", i)
		}
		if answers[i], err = decision(one); err != nil {
			return nil, fmt.Errorf("evaluations[%d]: %w", i, err)
		}
	}
	return answers, nil
}

// decision reads an answer. Its context may be null, which some servers write for none.
func decision(object map[string]any) (d Decision, err error) {
	if d.Decision, err = required[bool](object, "decision", "true or false"); err != nil {
		return Decision{}, err
	}
	if object["context"] == nil {
		return d, nil
	}
	if d.Context, err = required[map[string]any](object, "context", "an object"); err != nil {
		return Decision{}, err
	}
	return d, nil
}
