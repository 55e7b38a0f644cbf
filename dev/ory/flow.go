package ory

import (
	"encoding/json"
	"slices"
	"time"
)

// Flow is a self-service flow of Kratos: one form that a person fills in, in
// one or more steps.
type Flow struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"` // "api" or "browser"
	ExpiresAt    time.Time `json:"expires_at"`
	ReturnTo     string    `json:"return_to"`
	RequestedAAL string    `json:"requested_aal"` // login
	Refresh      bool      `json:"refresh"`       // login: the person is signed in and confirms it
	State        string    `json:"state"`
	UI           UI        `json:"ui"`
}

// UI is the form of a flow.
type UI struct {
	Action   string    `json:"action"`
	Method   string    `json:"method"`
	Messages []Message `json:"messages"`
	Nodes    []Node    `json:"nodes"`
}

// Node is one element of the form.
type Node struct {
	Type       string     `json:"type"`  // input, img, text, a, script
	Group      string     `json:"group"` // default, password, totp, profile, …
	Attributes Attributes `json:"attributes"`
	Messages   []Message  `json:"messages"`
	Meta       struct {
		Label *Message `json:"label"`
	} `json:"meta"`
}

// Attributes are the union of what Kratos sends for the types of node.
type Attributes struct {
	// input
	Name         string   `json:"name"`
	Type         string   `json:"type"`
	Value        any      `json:"value"`
	Required     bool     `json:"required"`
	Disabled     bool     `json:"disabled"`
	Autocomplete string   `json:"autocomplete"`
	Pattern      string   `json:"pattern"`
	MaxLength    int      `json:"maxlength"`
	OnClick      string   `json:"onclick"` // the input is useless without JavaScript
	Label        *Message `json:"label"`

	ID     string   `json:"id"`  // img, text, a
	Src    string   `json:"src"` // img, script
	Width  int      `json:"width"`
	Height int      `json:"height"`
	Text   *Message `json:"text"`  // text
	Href   string   `json:"href"`  // a
	Title  *Message `json:"title"` // a
}

// Message is a text for the person, with the number by which it can be
// recognised.
type Message struct {
	ID      int             `json:"id"`
	Text    string          `json:"text"`
	Type    string          `json:"type"` // info, error, success
	Context json.RawMessage `json:"context"`
}

// allMessages are those of the form and of its elements.
func (u UI) allMessages() []Message {
	all := slices.Clone(u.Messages)
	for _, n := range u.Nodes {
		all = append(all, n.Messages...)
	}
	return all
}

// input is the value of the input with that name, or "".
func (u UI) input(name string) string {
	for _, n := range u.Nodes {
		if n.Type == "input" && n.Attributes.Name == name {
			s, _ := n.Attributes.Value.(string)
			return s
		}
	}
	return ""
}
