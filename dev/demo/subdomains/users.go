package subdomains

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// users is a team's own service that says at each sign-in who somebody is and what they may
// do. It finds a user by the name that the provider gives, and makes one of somebody new.
type users struct {
	token string // by which the gate authenticates itself

	mu      sync.Mutex
	known   map[person]user
	blocked map[person]bool
}

// person is a name at a provider, by which alone users are found: anybody can have a
// provider write somebody's address.
type person struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// user is what the service responds.
type user struct {
	Subject     string   `json:"subject"`
	Permissions []string `json:"permissions"`
}

// newcomer is what somebody may do of whom nothing else is known.
var newcomer = []string{"orders:read"}

func newUsers(token string) *users {
	return &users{token: token, known: map[person]user{}, blocked: map[person]bool{}}
}

// grant says what somebody may do from the next sign-in on.
func (u *users) grant(p person, permissions ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[p] = user{u.find(p).Subject, permissions}
}

// block has a person refused.
func (u *users) block(p person) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.blocked[p] = true
}

// find is the user that a person is, who is new or not.
func (u *users) find(p person) user {
	if _, known := u.known[p]; !known {
		u.known[p] = user{fmt.Sprintf("u-%d", len(u.known)+1), newcomer}
	}
	return u.known[p]
}

func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+u.token)) != 1 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var asked struct {
		Claims person `json:"claims"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&asked)
	if err != nil || asked.Claims.Issuer == "" || asked.Claims.Subject == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.blocked[asked.Claims] {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"title": "The user is blocked"}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(u.find(asked.Claims))
}
