package ask

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
)

// Answer is what a decision point says.
type Answer struct {
	Allowed bool
	// Said is the context of the answer as JSON, for the log; empty: there is none.
	Said string
}

// Decider answers questions about a call. It returns an answer for each question, or an
// error, which means "could not tell". It is safe for concurrent use.
type Decider interface {
	Decide(ctx context.Context, call *core.Call, questions []authzen.Evaluation) ([]Answer, error)
}

// Needed is of a call that meets everything but what a decision point has to say, and that
// nobody was asked about. Taken for an error it means "could not tell".
type Needed struct{ Questions []authzen.Evaluation }

func (n *Needed) Error() string {
	texts := make([]string, len(n.Questions))
	for i := range n.Questions {
		texts[i] = Key(n.Questions[i])
	}
	return "the decision point has to be asked: " + strings.Join(texts, ", ")
}

// Always is the decider of a tool that gives every question the same answer.
type Always bool

// Decide answers.
func (a Always) Decide(_ context.Context, _ *core.Call, questions []authzen.Evaluation) ([]Answer, error) {
	answers := make([]Answer, len(questions))
	for i := range answers {
		answers[i].Allowed = bool(a)
	}
	return answers, nil
}

type statedKey struct{}

// WithStated has a decider in the place of that of the table answer what is asked with a
// context: for tools.
func WithStated(ctx context.Context, d Decider) context.Context {
	return context.WithValue(ctx, statedKey{}, d)
}

// Settle has the decision point answer what activities lack, all in one call; nil is nobody
// who could. One of which all questions are answered with yes lets the call pass. Else the
// refusal is returned that the other activities give; nil: there is none.
func Settle(ctx context.Context, d Decider, call *core.Call, asking []*Needed, refusal error) error {
	questions, numbers := together(asking)
	if stated, ok := ctx.Value(statedKey{}).(Decider); ok {
		d = stated
	}
	if d == nil {
		return &Needed{Questions: questions}
	}
	if len(questions) > authzen.MaxEvaluations {
		return fmt.Errorf("the activities of the call ask %d questions, %d at most", len(questions), authzen.MaxEvaluations)
	}
	answers, err := d.Decide(ctx, call, questions)
	if err == nil && len(answers) != len(questions) {
		err = fmt.Errorf("the decision point gives %d answers to %d questions", len(answers), len(questions))
	}
	if err != nil {
		return err
	}
	call.Said = said(answers)
	for _, list := range numbers {
		if !slices.ContainsFunc(list, func(n int) bool { return !answers[n].Allowed }) {
			return nil
		}
	}
	if refusal != nil {
		return refusal
	}
	no := slices.IndexFunc(answers, func(a Answer) bool { return !a.Allowed })
	return fmt.Errorf("%w: the decision point says no to %s", core.ErrForbidden, Key(questions[no]))
}

// together are all questions, each once, and for each activity the numbers of its own.
func together(asking []*Needed) (questions []authzen.Evaluation, numbers [][]int) {
	known := map[string]int{}
	for _, needed := range asking {
		var own []int
		for _, q := range needed.Questions {
			key := Key(q)
			n, again := known[key]
			if !again {
				n = len(questions)
				known[key] = n
				questions = append(questions, q)
			}
			own = append(own, n)
		}
		numbers = append(numbers, own)
	}
	return questions, numbers
}

// said is what the decision point said beside its answers, for the log.
func said(answers []Answer) string {
	var all []string
	for _, a := range answers {
		if a.Said != "" {
			all = append(all, a.Said)
		}
	}
	return strings.Join(all, ", ")
}
