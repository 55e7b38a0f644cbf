package authzen

import "fmt"

// Decision is one answer.
type Decision struct {
	Decision bool           `json:"decision"`
	Context  map[string]any `json:"context,omitempty"`
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
