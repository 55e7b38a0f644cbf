package permission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission/ask"
)

// Asks reports whether an activity of the table asks a decision point.
func (t *Table) Asks() bool {
	return slices.ContainsFunc(t.activities, func(a compiledActivity) bool { return a.require != nil && len(a.require.Asks) > 0 })
}

// ask has the decision point answer what activities lack, all in one call. One of which
// all questions are answered with yes lets the call pass. Else the refusal is returned that
// the other activities give; nil: there is none.
func (t *Table) ask(ctx context.Context, call *core.Call, asking []*ask.Needed, refusal error) error {
	questions, numbers := together(asking)
	decider := t.decider
	if stated, ok := ask.Stated(ctx); ok {
		decider = stated
	}
	if decider == nil {
		return &ask.Needed{Questions: questions}
	}
	if len(questions) > authzen.MaxEvaluations {
		return fmt.Errorf("the activities of the call ask %d questions, %d at most", len(questions), authzen.MaxEvaluations)
	}
	answers, err := decider.Decide(ctx, call, questions)
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
	return fmt.Errorf("%w: the decision point says no to %s", core.ErrForbidden, ask.Key(questions[slices.IndexFunc(answers, func(a ask.Answer) bool { return !a.Allowed })]))
}

// together are all questions, each once, and for each activity the numbers of its own.
func together(asking []*ask.Needed) (questions []authzen.Evaluation, numbers [][]int) {
	known := map[string]int{}
	for _, needed := range asking {
		var own []int
		for _, q := range needed.Questions {
			key := ask.Key(q)
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
func said(answers []ask.Answer) string {
	var all []string
	for _, a := range answers {
		if a.Said != "" {
			all = append(all, a.Said)
		}
	}
	return strings.Join(all, ", ")
}
