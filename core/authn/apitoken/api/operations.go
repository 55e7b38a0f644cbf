package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/claims"
	"gatehouse/core/revocation/receive"
)

// defaultLifetime and defaultOverlap are those of gatehouse token.
const (
	defaultLifetime = 90 * 24 * time.Hour
	defaultOverlap  = 24 * time.Hour
	// maxSeconds keeps a number of seconds from becoming another one.
	maxSeconds = 100 * 365 * 24 * 3600
)

// read reads a body of one JSON object into a struct. What is unknown, repeated, null or
// spelt otherwise is refused: it would be taken for absent.
func read(call *core.Call, body []byte, into any) error {
	if err := receive.ContentType(call, "application/json"); err != nil {
		return &fault{http.StatusUnsupportedMediaType, err}
	}
	members, err := claims.Decode(body)
	if err != nil {
		return malformed(fmt.Errorf("the body %w", err))
	}
	for name, value := range members {
		if value == nil {
			return malformed(fmt.Errorf("%.40q is null; leave it out, or give it a value", name))
		}
	}
	if err := jsonv2.Unmarshal(body, into, jsonv2.RejectUnknownMembers(true)); err != nil {
		return malformed(explain(err))
	}
	return nil
}

// explain names the place of an error, and no value, which could be a secret.
func explain(err error) error {
	var semantic *jsonv2.SemanticError
	if !errors.As(err, &semantic) {
		return errors.New("the body is no JSON object of this operation")
	}
	if errors.Is(err, jsonv2.ErrUnknownName) {
		return fmt.Errorf("the member %.60q is not known", string(semantic.JSONPointer))
	}
	return fmt.Errorf("the member %.60q is not of its type (%s)", string(semantic.JSONPointer), semantic.GoType)
}

// seconds is a length of time from a request; absent where there is none.
func seconds(name string, n *int64, absent time.Duration) (time.Duration, error) {
	switch {
	case n == nil:
		return absent, nil
	case *n < 0 || *n > maxSeconds:
		return 0, malformed(fmt.Errorf("%s must be a number of seconds from 0 to %d", name, maxSeconds))
	}
	return time.Duration(*n) * time.Second, nil
}

// lifetime is that of a new token. 0 never ends, where insecure_no_expiry allows that.
func lifetime(n *int64, never bool, absent time.Duration) (time.Duration, error) {
	switch {
	case never && n != nil:
		return 0, malformed(errors.New("expires_in and insecure_no_expiry contradict each other"))
	case never:
		return 0, nil
	case n != nil && *n == 0:
		return 0, malformed(errors.New("expires_in must be above zero"))
	}
	return seconds("expires_in", n, absent)
}

func author(by string) string {
	if by == "" {
		return "admin API"
	}
	return by
}

func (a *api) listOrCreate(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	if call.Method == http.MethodPost {
		return a.create(ctx, call, body)
	}
	return a.list(ctx, call)
}

type createRequest struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	Subject        string   `json:"subject"`
	Issuer         string   `json:"issuer"`
	ServiceAccount string   `json:"service_account"`
	Roles          []string `json:"roles"`
	Permissions    []string `json:"permissions"`
	Scopes         []string `json:"scopes"`
	Networks       []string `json:"networks"`
	Hosts          []string `json:"hosts"`
	ExpiresIn      *int64   `json:"expires_in"`
	NoExpiry       bool     `json:"insecure_no_expiry"`
	By             string   `json:"by"`
}

func (a *api) create(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	var r createRequest
	if err := read(call, body, &r); err != nil {
		return core.Response{}, err
	}
	life, err := lifetime(r.ExpiresIn, r.NoExpiry, defaultLifetime)
	if err != nil {
		return core.Response{}, err
	}
	networks, err := apitoken.ParseNetworks(r.Networks)
	if err != nil {
		return core.Response{}, malformed(err)
	}
	token, record, err := a.options.Manager.Create(ctx, manage.Request{
		ID: r.ID, Name: r.Name, Owner: apitoken.Owner{Subject: r.Subject, Issuer: r.Issuer, ServiceAccount: r.ServiceAccount},
		Grants:   apitoken.Grants{Roles: r.Roles, Permissions: r.Permissions, Scopes: r.Scopes},
		Networks: networks, Hosts: r.Hosts, Lifetime: life, By: author(r.By),
	})
	if err != nil {
		return core.Response{}, err
	}
	a.note("an API token was made", call, record, r.By)
	return success(http.StatusCreated, a.made(token, record)), nil
}

// made is a token that is shown once.
type made struct {
	Token string `json:"token"`
	manage.Listed
}

func (a *api) made(token string, r *apitoken.Record) made {
	return made{token, manage.List(r, a.options.Now())}
}

func (a *api) note(what string, call *core.Call, r *apitoken.Record, by string) {
	a.options.Log.Info(what, "id", r.ID, "owner", r.Owner.String(), "by", author(by), "client", call.ClientAddr())
}

type rotateRequest struct {
	ID        string `json:"id"`
	Overlap   *int64 `json:"overlap"`
	ExpiresIn *int64 `json:"expires_in"`
	By        string `json:"by"`
}

func (a *api) rotate(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	var r rotateRequest
	if err := read(call, body, &r); err != nil {
		return core.Response{}, err
	}
	life, err := lifetime(r.ExpiresIn, false, 0)
	if err != nil {
		return core.Response{}, err
	}
	overlap, err := seconds("overlap", r.Overlap, defaultOverlap)
	if err != nil {
		return core.Response{}, err
	}
	old, err := a.find(ctx, r.ID)
	if err != nil {
		return core.Response{}, err
	}
	token, record, err := a.options.Manager.Rotate(ctx, old, life, overlap, author(r.By))
	if record == nil {
		return core.Response{}, err
	}
	a.note("an API token was rotated, which made", call, record, r.By)
	if err != nil {
		a.options.Log.Error("the API of tokens could not do all that was asked", "error", err.Error())
		return problem(http.StatusServiceUnavailable, manage.ErrNotTold.Error(), map[string]any{"token": token, "made": manage.List(record, a.options.Now())}), nil
	}
	return success(http.StatusCreated, a.made(token, record)), nil
}

// find finds a token by its id. A token in the place of one is no answer to anybody.
func (a *api) find(ctx context.Context, id string) (*apitoken.Record, error) {
	switch {
	case id == "":
		return nil, malformed(errors.New("id is needed"))
	case apitoken.HasPrefix(id):
		return nil, malformed(errors.New("id is a token; give the token's id, or revoke the token with report"))
	}
	return a.options.Manager.Find(ctx, id)
}

type revokeRequest struct {
	ID     string `json:"id"`
	Report string `json:"report"`
	By     string `json:"by"`
}

// pattern finds the tokens in a report.
var pattern = regexp.MustCompile(apitoken.Pattern)

func (a *api) revoke(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	var r revokeRequest
	if err := read(call, body, &r); err != nil {
		return core.Response{}, err
	}
	tokens := pattern.FindAllString(r.Report, -1)
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	var found []*apitoken.Record
	switch {
	case (r.ID == "") == (r.Report == ""):
		return core.Response{}, malformed(errors.New("give either id or report"))
	case r.ID != "":
		record, err := a.find(ctx, r.ID)
		if err != nil {
			return core.Response{}, err
		}
		found = append(found, record)
	case len(tokens) == 0:
		return core.Response{}, malformed(errors.New("report holds no token"))
	}
	for _, token := range tokens {
		record, err := a.options.Manager.Find(ctx, token)
		switch {
		case err == nil:
			found = append(found, record)
		case !errors.Is(err, apitoken.ErrUnknown):
			return core.Response{}, err
		}
	}
	return a.revokeAll(ctx, call, found, len(tokens), r.By)
}

// revokeAll revokes all that it can, and fails where it could not revoke one.
func (a *api) revokeAll(ctx context.Context, call *core.Call, found []*apitoken.Record, reported int, by string) (core.Response, error) {
	var problems []error
	revoked := []string{}
	for _, record := range found {
		if err := a.options.Manager.Revoke(ctx, record); err != nil {
			problems = append(problems, err)
			continue
		}
		revoked = append(revoked, record.ID)
		a.note("an API token was revoked", call, record, by)
	}
	if err := errors.Join(problems...); err != nil {
		return core.Response{}, err
	}
	return success(http.StatusOK, map[string]any{"revoked": revoked, "unknown": max(0, reported-len(found))}), nil
}

type accountRequest struct {
	Name        string   `json:"name"`
	Roles       []string `json:"roles"`
	Permissions []string `json:"permissions"`
	Scopes      []string `json:"scopes"`
	Suspended   bool     `json:"suspended"`
	By          string   `json:"by"`
}

func (a *api) setAccount(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	var r accountRequest
	if err := read(call, body, &r); err != nil {
		return core.Response{}, err
	}
	account := manage.Account{Grants: apitoken.Grants{Roles: r.Roles, Permissions: r.Permissions, Scopes: r.Scopes}, Suspended: r.Suspended}
	if err := a.options.Manager.SetAccount(ctx, r.Name, account, author(r.By)); err != nil {
		return core.Response{}, err
	}
	a.options.Log.Info("a service account was set", "name", r.Name, "suspended", r.Suspended, "by", author(r.By), "client", call.ClientAddr())
	return core.Response{Status: http.StatusNoContent, Header: []core.Header{receive.NoStore}}, nil
}

// The lengths of a page of the list.
const defaultPage, maxPage = 100, 1000

func (a *api) list(ctx context.Context, call *core.Call) (core.Response, error) {
	query, err := url.ParseQuery(call.Query())
	if err != nil {
		return core.Response{}, malformed(errors.New("the query is malformed"))
	}
	for name, values := range query {
		if !slices.Contains([]string{"subject", "issuer", "service_account", "limit", "after"}, name) || len(values) != 1 || values[0] == "" {
			return core.Response{}, malformed(fmt.Errorf("the query parameter %.40q is not known, repeated or empty", name))
		}
	}
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return core.Response{}, malformed(fmt.Errorf("limit must be a number from 1 to %d", maxPage))
		}
	}
	all, err := a.options.Manager.List(ctx)
	if err != nil {
		return core.Response{}, err
	}
	if after := query.Get("after"); after != "" {
		i := slices.IndexFunc(all, func(r *apitoken.Record) bool { return r.ID == after })
		if i < 0 {
			return core.Response{}, malformed(errors.New("after is the id of no token"))
		}
		all = all[i+1:]
	}
	owner := apitoken.Owner{Subject: query.Get("subject"), Issuer: query.Get("issuer"), ServiceAccount: query.Get("service_account")}
	page := struct {
		Tokens []manage.Listed `json:"tokens"`
		Next   string          `json:"next,omitempty"`
	}{Tokens: []manage.Listed{}}
	for _, r := range all {
		switch {
		case !manage.IsOf(r.Owner, owner):
		case len(page.Tokens) == limit:
			page.Next = page.Tokens[limit-1].ID
			return success(http.StatusOK, page), nil
		default:
			page.Tokens = append(page.Tokens, manage.List(r, a.options.Now()))
		}
	}
	return success(http.StatusOK, page), nil
}
