package decisionpoint

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/fair"
	"gatehouse/core/fleet/subjects"
)

// Lister lists subjects or clients of an issuer to whom something is granted elsewhere, in
// the order of their names, from behind a name on, at most limit. More may follow if there
// are as many.
type Lister interface {
	ListAfter(ctx context.Context, issuer string, client bool, after string, limit int) ([]subjects.Row, error)
}

const (
	// pageSize is how many results a page has where the asker does not say; maxPage is the
	// most.
	pageSize, maxPage = 100, 1000
	// maxLooked is how many candidates are looked at for one page. A page that is not full
	// then ends there.
	maxLooked = 10000
	// listed is how many subjects are asked for at once.
	listed = 500
)

// errPage says what is wrong with the page of a request.
var errPage = errors.New("page.token is not the next_token of a response to this very request")

// cursor is where the next page begins. It is no secret, and it opens nothing: whoever changes
// it gets other results that they could get anyway.
type cursor struct {
	// After is the id or the name behind which the page begins.
	After string `json:"a"`
	Limit int    `json:"l"`
	// Request tells the request that the token is for from any other.
	Request []byte `json:"r"`
}

func (c cursor) token() string {
	text, err := json.Marshal(c)
	if err != nil { // texts and numbers always encode
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// cursorOf is where the page of a request begins.
func cursorOf(s *authzen.Search, sought authzen.Sought) (c cursor, err error) {
	request := requestOf(s, sought)
	if s.Page.Token == "" {
		c = cursor{Limit: pageSize, Request: request}
		if s.Page.Limit != nil {
			c.Limit = min(*s.Page.Limit, maxPage)
		}
		return c, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s.Page.Token)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil || !slices.Equal(c.Request, request) || c.Limit < 0 || c.Limit > maxPage {
		return cursor{}, errPage
	}
	if s.Page.Limit != nil && min(*s.Page.Limit, maxPage) != c.Limit {
		return cursor{}, errors.New("page.limit is not that of the request before")
	}
	return c, nil
}

// requestOf tells the question of a search from any other.
func requestOf(s *authzen.Search, sought authzen.Sought) []byte {
	question := s.Evaluation
	switch sought {
	case authzen.SoughtSubjects:
		question.Subject.ID = ""
	case authzen.SoughtResources:
		question.Resource.ID = ""
	}
	text, err := json.Marshal(struct {
		Sought authzen.Sought
		authzen.Evaluation
	}{sought, question})
	if err != nil { // what was decoded encodes
		return nil
	}
	sum := sha256.Sum256(text)
	return sum[:16]
}

// searched is a page of results: the names of those for which the answer is yes.
type searched struct {
	names []string
	next  string
}

// search looks at candidates in their order. A candidate is the question with its name in it.
func (p *Point) search(c cursor, from func(after string) (names []string, more bool, err error), is func(name string) (Answer, error)) (found searched, err error) {
	after, looked := c.After, 0
	for {
		names, more, err := from(after)
		if err != nil {
			return searched{}, err
		}
		for _, name := range names {
			if len(found.names) == c.Limit || looked == maxLooked {
				c.After = after
				found.next = c.token()
				return found, nil
			}
			answer, err := is(name)
			if err != nil {
				return searched{}, err
			}
			if answer.Allowed {
				found.names = append(found.names, name)
			}
			after = name
			looked++
		}
		if !more {
			return found, nil
		}
	}
}

// errUnknown says that whether a candidate is a result could not be found out.
type errUnknown struct{ cause error }

func (e errUnknown) Error() string { return e.cause.Error() }

// known is an answer that could be found out.
func known(ctx context.Context, a Answer) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return a, errUnknown{err}
	}
	if a.unknown() {
		return a, errUnknown{a.Cause}
	}
	return a, nil
}

// following are the names behind one, in their order.
func following(sorted []string) func(string) ([]string, bool, error) {
	return func(after string) ([]string, bool, error) {
		i, found := slices.BinarySearch(sorted, after)
		if found {
			i++
		}
		return sorted[i:], false, nil
	}
}

// searchSubjects looks for the subjects of a type that may do something.
func (p *Point) searchSubjects(ctx context.Context, may Statements, s *authzen.Search, c cursor) (searched, error) {
	kind, isKnown := p.types[s.Subject.Type]
	if !isKnown {
		return searched{}, nil
	}
	request, fault := p.request(may, &s.Evaluation)
	if fault != nil && !p.aboutSubject(&s.Evaluation) {
		return searched{}, nil
	}
	granted := map[string]*subjects.Grants{}
	return p.search(c, p.subjectsAfter(ctx, kind, granted), func(id string) (Answer, error) {
		e := s.Evaluation
		e.Subject.ID = id
		return known(ctx, p.evaluateFor(ctx, may, &e, request, granted[id]))
	})
}

// aboutSubject reports whether the call of a question depends on its subject.
func (p *Point) aboutSubject(e *authzen.Evaluation) bool {
	target := p.resources[e.Resource.Type].Actions[e.Action.Name]
	return target != nil && target.NamesSubject()
}

// evaluateFor is Evaluate for a subject whose grants are known, unless they are nil.
func (p *Point) evaluateFor(ctx context.Context, may Statements, e *authzen.Evaluation, request *core.Request, g *subjects.Grants) Answer {
	principal, fault := p.principalOf(may, e)
	if fault == nil && g != nil {
		principal.Roles, principal.Permissions = append(principal.Roles, g.Roles...), append(principal.Permissions, g.Permissions...)
	} else if fault == nil {
		fault = p.grant(ctx, p.types[e.Subject.Type], principal)
	}
	if fault != nil {
		return *fault
	}
	if p.aboutSubject(e) {
		if request, fault = p.request(may, e); fault != nil {
			return *fault
		}
	}
	again := *request
	return p.decide(ctx, principal, &again)
}

// subjectsAfter lists the subjects of a type that are known: those of the configuration, and
// those to whom something is granted elsewhere, whose grants it keeps.
func (p *Point) subjectsAfter(ctx context.Context, kind SubjectType, granted map[string]*subjects.Grants) func(string) ([]string, bool, error) {
	own := following(p.names[kind.Type])
	if p.options.Lister == nil || kind.Issuer == "" {
		return own
	}
	return func(after string) ([]string, bool, error) {
		rows, err := p.options.Lister.ListAfter(ctx, kind.Issuer, kind.Client, after, listed)
		if err != nil {
			return nil, false, errUnknown{err}
		}
		clear(granted)
		names := make([]string, len(rows))
		for i := range rows {
			names[i] = rows[i].Name
			granted[names[i]] = &rows[i].Grants
		}
		more := len(rows) == listed
		configured, _, _ := own(after)
		for _, name := range configured {
			if more && name > names[len(names)-1] {
				break
			}
			if _, twice := granted[name]; !twice {
				granted[name] = &subjects.Grants{}
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names, more, nil
	}
}

// searchResources looks for the known resources of a type to which the subject may do something.
func (p *Point) searchResources(ctx context.Context, may Statements, s *authzen.Search, c cursor) (searched, error) {
	principal, fault := p.principal(ctx, may, &s.Evaluation)
	if fault != nil {
		return nothing(ctx, fault)
	}
	return p.search(c, following(p.ids[s.Resource.Type]), func(id string) (Answer, error) {
		e := s.Evaluation
		e.Resource.ID = id
		return p.candidate(ctx, may, principal, &e)
	})
}

// searchActions looks for what the subject may do to a resource.
func (p *Point) searchActions(ctx context.Context, may Statements, s *authzen.Search, c cursor) (searched, error) {
	principal, fault := p.principal(ctx, may, &s.Evaluation)
	if fault != nil {
		return nothing(ctx, fault)
	}
	return p.search(c, following(p.actions(s.Resource.Type)), func(name string) (Answer, error) {
		e := s.Evaluation
		e.Action.Name = name
		return p.candidate(ctx, may, principal, &e)
	})
}

// candidate answers for a resource or an action of a subject that is known.
func (p *Point) candidate(ctx context.Context, may Statements, principal *core.Principal, e *authzen.Evaluation) (Answer, error) {
	request, fault := p.request(may, e)
	if fault != nil {
		return known(ctx, *fault)
	}
	return known(ctx, p.decide(ctx, principal, request))
}

// nothing is found where the answer to every question is no.
func nothing(ctx context.Context, fault *Answer) (searched, error) {
	_, err := known(ctx, *fault)
	return searched{}, err
}

// methods are those that are looked for on a route.
var methods = []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost, http.MethodPut}

func (p *Point) actions(resource string) []string {
	if resource == p.options.RouteType {
		return methods
	}
	return sortedNames(p.resources[resource].Actions)
}

// finder looks for something.
type finder func(p *Point, ctx context.Context, may Statements, s *authzen.Search, c cursor) (searched, error)

// serveSearch makes an endpoint of a search.
func serveSearch(sought authzen.Sought, find finder, response func(s *authzen.Search, page authzen.NextPage, names []string) any) func(*Point, context.Context, asking, []byte) core.Response {
	return func(p *Point, ctx context.Context, a asking, body []byte) core.Response {
		s, err := authzen.DecodeSearch(body, sought)
		if err != nil {
			return fault(http.StatusBadRequest, err.Error())
		}
		c, err := cursorOf(&s, sought)
		if err != nil {
			return fault(http.StatusBadRequest, err.Error())
		}
		leave, err := p.slots.Enter(fair.WithCaller(ctx, fair.Caller{Peer: a.peer}), "")
		if err != nil {
			return fault(http.StatusInternalServerError, unknown)
		}
		defer leave()
		found, err := find(p, ctx, a.may, &s, c)
		p.tellSearch(ctx, a, sought, &s, len(found.names), err)
		if err != nil {
			return fault(http.StatusInternalServerError, unknown)
		}
		return success(response(&s, authzen.NextPage{Token: found.next, Count: len(found.names)}, found.names))
	}
}

func foundSubjects(s *authzen.Search, page authzen.NextPage, names []string) any {
	return authzen.Found{Page: page, Results: entities(s.Subject.Type, names)}
}

func foundResources(s *authzen.Search, page authzen.NextPage, names []string) any {
	return authzen.Found{Page: page, Results: entities(s.Resource.Type, names)}
}

func entities(kind string, ids []string) []authzen.Entity {
	all := make([]authzen.Entity, len(ids))
	for i, id := range ids {
		all[i] = authzen.Entity{Type: kind, ID: id}
	}
	return all
}

func foundActions(_ *authzen.Search, page authzen.NextPage, names []string) any {
	all := make([]authzen.Action, len(names))
	for i, name := range names {
		all[i] = authzen.Action{Name: name}
	}
	return authzen.FoundActions{Page: page, Results: all}
}

// namedOf sorts the ids of what is known by type.
func namedOf[V any](known map[named]V) map[string][]string {
	all := map[string][]string{}
	for name := range known {
		all[name.kind] = append(all[name.kind], name.id)
	}
	for _, ids := range all {
		slices.SortFunc(ids, cmp.Compare)
	}
	return all
}
