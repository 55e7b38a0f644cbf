package coretest

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// FakeIntrospection is a fake endpoint of RFC 7662: it responds what a test
// says about each token, and {"active":false} about any other.
type FakeIntrospection struct {
	*Server
	mu     sync.Mutex
	tokens map[string]map[string]any
}

// NewFakeIntrospection starts one.
func NewFakeIntrospection(t testing.TB) *FakeIntrospection {
	f := &FakeIntrospection{tokens: map[string]map[string]any{}}
	f.Server = NewServer(t, http.HandlerFunc(f.serve))
	return f
}

// Know sets the response about a token.
func (f *FakeIntrospection) Know(token string, response map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[token] = response
}

func (f *FakeIntrospection) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	response, known := f.tokens[r.PostForm.Get("token")]
	f.mu.Unlock()
	if !known {
		response = map[string]any{"active": false}
	}
	respondJSON(w, response)
}

// FakeKratos is a fake of GET /sessions/whoami: it responds what a test says
// about each session, and 401 about any other.
type FakeKratos struct {
	*Server
	mu       sync.Mutex
	sessions map[string]FakeSession
}

// FakeSession is a response about a session.
type FakeSession struct {
	Document map[string]any
	// CacheFor is the header Ory-Session-Cache-For; empty for none.
	CacheFor string
}

// NewFakeKratos starts one.
func NewFakeKratos(t testing.TB) *FakeKratos {
	f := &FakeKratos{sessions: map[string]FakeSession{}}
	f.Server = NewServer(t, http.HandlerFunc(f.serve))
	return f
}

// Know sets the response about a session, by the value of its cookie or token.
func (f *FakeKratos) Know(credential string, s FakeSession) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[credential] = s
}

// SessionDocument is a good session of identity "ada", valid for an hour, with
// changes at the top level; a nil value removes a member.
func SessionDocument(clock *Clock, changes map[string]any) map[string]any {
	now := clock.Now().UTC()
	return Merged(map[string]any{
		"id": "s1", "active": true,
		"expires_at": now.Add(time.Hour).Format(time.RFC3339Nano), "authenticated_at": now.Format(time.RFC3339Nano), "issued_at": now.Format(time.RFC3339Nano),
		"authenticator_assurance_level": "aal1",
		"identity": map[string]any{
			"id": "ada", "state": "active", "traits": map[string]any{"email": "ada@example.test"},
			"metadata_public": map[string]any{"roles": []string{"editor"}},
		},
	}, changes)
}

func (f *FakeKratos) serve(w http.ResponseWriter, r *http.Request) {
	session, known := f.session(r)
	if !known {
		w.WriteHeader(http.StatusUnauthorized)
		respondJSON(w, map[string]any{"error": map[string]any{"code": 401, "id": "session_inactive"}})
		return
	}
	if session.CacheFor != "" {
		w.Header().Set("Ory-Session-Cache-For", session.CacheFor)
	}
	respondJSON(w, session.Document)
}

func (f *FakeKratos) session(r *http.Request) (FakeSession, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	credential := r.Header.Get("X-Session-Token")
	if cookie, err := r.Cookie("ory_kratos_session"); err == nil && credential == "" {
		credential = cookie.Value
	}
	session, known := f.sessions[credential]
	return session, known && r.URL.Path == "/sessions/whoami"
}
