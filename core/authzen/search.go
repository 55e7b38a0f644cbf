package authzen

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// The paths of the Search APIs below the identifier of a decision point that publishes no
// metadata.
const (
	SearchSubjectPath  = "/access/v1/search/subject"
	SearchResourcePath = "/access/v1/search/resource"
	SearchActionPath   = "/access/v1/search/action"
)

// Sought is what a search looks for.
type Sought string

// What can be looked for.
const (
	SoughtSubjects  Sought = "subject"
	SoughtResources Sought = "resource"
	SoughtActions   Sought = "action"
)

// Search is a request of a Search API: a question in which what is sought has no id or name.
type Search struct {
	Evaluation
	Page Page
}

// Page is which part of the results is wanted.
type Page struct {
	// Token is that of the response before; empty: the first page.
	Token string
	// Limit is how many results the response may have; nil: the decision point chooses.
	Limit *int
}

// MaxToken is the most bytes of a token of a page.
const MaxToken = 4096

// Found is the response to a search for subjects or resources.
type Found struct {
	Page    NextPage `json:"page"`
	Results []Entity `json:"results"`
}

// FoundActions is the response to a search for actions.
type FoundActions struct {
	Page    NextPage `json:"page"`
	Results []Action `json:"results"`
}

// NextPage says whether there are more results. Its token is empty where there are none.
type NextPage struct {
	Token string `json:"next_token"`
	Count int    `json:"count"`
}

// DecodeSearch reads a request of a Search API. An id of what is sought is ignored.
func DecodeSearch(body []byte, sought Sought) (s Search, err error) {
	object, err := decode(body, MaxRequest)
	if err != nil {
		return Search{}, err
	}
	if s.Subject, err = entity(object, "subject", sought != SoughtSubjects); err != nil {
		return Search{}, err
	}
	if sought != SoughtActions {
		if s.Action, err = action(object); err != nil {
			return Search{}, err
		}
	}
	if s.Resource, err = entity(object, "resource", sought != SoughtResources); err != nil {
		return Search{}, err
	}
	if s.Context, err = member[map[string]any](object, "context", "an object"); err != nil {
		return Search{}, err
	}
	s.Page, err = page(object)
	return s, err
}

func page(request map[string]any) (p Page, err error) {
	object, err := member[map[string]any](request, "page", "an object")
	if err != nil {
		return Page{}, err
	}
	if p.Token, err = member[string](object, "token", "a string"); err != nil {
		return Page{}, fmt.Errorf("page.%w", err)
	}
	if len(p.Token) > MaxToken {
		return Page{}, fmt.Errorf("page.token has %d bytes, %d at most", len(p.Token), MaxToken)
	}
	if _, stated := object["limit"]; !stated {
		return p, nil
	}
	number, err := member[json.Number](object, "limit", "a number")
	if err != nil {
		return Page{}, fmt.Errorf("page.%w", err)
	}
	limit, err := strconv.Atoi(number.String())
	if err != nil || limit < 0 {
		return Page{}, errors.New("page.limit is not a whole number of zero or more")
	}
	p.Limit = &limit
	return p, nil
}
