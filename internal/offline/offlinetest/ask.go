package offlinetest

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission/ask"
)

// questions are what every seventh table asks a decision point; those with path.t need that
// group. No caller has the claim none, so the last question is asked of nobody.
var (
	questions = []string{
		"{resource: {type: d, id: x}, action: {name: view}}", "{resource: {type: d, id: y}, action: {name: '{method}'}}",
		"{resource: {type: d, id: '{path.t}'}, action: {name: view}}", "{resource: {type: d, id: '{path.t}'}, action: {name: '{method}'}}",
		"{subject: {type: user, id: u}, resource: {type: d, id: x}, action: {name: view}}", "{subject: {type: user, id: u}, resource: {type: d, id: '{path.t}'}, action: {name: '{method}'}}",
		"{subject: {type: level, id: '{claims.aal}'}, resource: {type: d, id: x}, action: {name: view}}", "{resource: {type: d, id: '{claims.sub}'}, action: {name: view}, context: {host: '{host}'}}",
		"[{resource: {type: d, id: x}, action: {name: view}}, {resource: {type: d, id: y}, action: {name: '{method}'}}]", "{resource: {type: d, id: '{claims.none}'}, action: {name: view}}",
	}
	questionPaths = []string{"/(?P<t>[^/]+)", "/a/(?P<t>[^/]+)", "/(?P<t>.*)", "/a(/(?P<t>x))?", "/(?P<t>[ab])"}
)

// asked has some tables ask a decision point. It has numbers of its own, so that other tables
// stay as they are.
func (p *parts) asked(seed uint64) {
	if seed%7 != 5 {
		return
	}
	r := rand.New(rand.NewPCG(seed, 13))
	p.asks = true
	for i := range p.activities {
		if r.IntN(3) > 0 {
			p.activities[i] = p.activities[i].asking(r)
		}
	}
}

// asking is the activity with a random question, where one can be asked.
func (a listed) asking(r *rand.Rand) listed {
	if a.section == "public" || a.section == "optional" || !strings.HasPrefix(a.text, "{") || strings.Contains(a.text, "ask: ") {
		return a
	}
	question := pick(r, questions)
	if strings.Contains(question, "path.t") && !strings.Contains(a.text, "(?P<t>") {
		before, rest, found := strings.Cut(a.text, "path: '")
		if !found || strings.Contains(a.text, "path.") {
			return a
		}
		_, after, _ := strings.Cut(rest, "'")
		a.text = before + "path: '" + pick(r, questionPaths) + "'" + after
	}
	if strings.Contains(a.text, "require: {") {
		a.text = strings.Replace(a.text, "require: {", "require: {ask: "+question+", ", 1)
	} else {
		a.text = required(a.text, "{ask: "+question+"}")
	}
	return a
}

// silent is the activity without its question.
func (a listed) silent() listed {
	for _, question := range questions {
		a.text = strings.NewReplacer(", require: {ask: "+question+"}", "", "ask: "+question+", ", "").Replace(a.text)
	}
	return a
}

// Asks reports whether an activity asks a decision point.
func (t *Table) Asks() bool { return strings.Contains(t.Text, "ask: ") }

// unaskable is a question about a claim that nobody here has, or about a group that takes no
// part in some matches; diff and lint look for no other path.
var unaskable = regexp.MustCompile(`ask: [^\n]*\{claims\.none\}|\(/\(\?P<t>x\)\)\?', require: \{ask`)

// Unaskable reports whether a question of an activity cannot be asked about some calls that
// the activity covers.
func (t *Table) Unaskable() bool { return unaskable.MatchString(t.Text) }

// Answers are what a decision point of tests says.
type Answers func(q *authzen.Evaluation) bool

// Yes and No answer every question alike.
func Yes(*authzen.Evaluation) bool { return true }

// No answers every question so.
func No(*authzen.Evaluation) bool { return false }

// AllAnswers are the rules by which decision points of tests answer.
func AllAnswers() []Answers {
	all := []Answers{
		Yes, No,
		func(q *authzen.Evaluation) bool { return q.Resource.ID == "x" },
		func(q *authzen.Evaluation) bool { return q.Subject.ID == "u" },
		func(q *authzen.Evaluation) bool { return q.Action.Name == "view" },
		func(q *authzen.Evaluation) bool { return q.Resource.ID != "x" },
		func(q *authzen.Evaluation) bool { return q.Action.Name != "view" },
	}
	for salt := range byte(5) {
		all = append(all, func(q *authzen.Evaluation) bool {
			sum := fnv.New32a()
			_, _ = sum.Write(append([]byte(ask.Key(*q)), salt))
			return sum.Sum32()>>8&1 == 0
		})
	}
	return all
}

// AnswersOf is another rule from seed to seed.
func AnswersOf(seed uint64) Answers {
	all := AllAnswers()
	return all[seed/7%uint64(len(all))]
}

// In has gates without a decision point be answered so.
func (a Answers) In(ctx context.Context) context.Context { return ask.WithStated(ctx, a) }

// Decide answers.
func (a Answers) Decide(_ context.Context, _ *core.Call, list []authzen.Evaluation) ([]ask.Answer, error) {
	answers := make([]ask.Answer, len(list))
	for i := range list {
		answers[i].Allowed = a(&list[i])
	}
	return answers, nil
}

// Has reports whether a caller has, by these answers, what an activity requires.
func (t *Table) Has(activity int, call *core.Call, p *core.Principal, answers Answers) bool {
	return answers.Meet(t.Table.ActivityAllows(activity, call, p))
}

// Meet reports whether the answers leave nothing of what an activity lacks.
func (a Answers) Meet(lacking error) bool {
	needed, asks := lacking.(*ask.Needed)
	if !asks {
		return lacking == nil
	}
	for i := range needed.Questions {
		if !a(&needed.Questions[i]) {
			return false
		}
	}
	return true
}
