package idp

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"gatehouse/core"
)

// pauses are the times until which providers have asked to be left alone. Calls in
// between fail at once, so that only what is cached is still served.
type pauses struct {
	mu    sync.Mutex
	until map[string]time.Time // by host
}

const (
	// defaultPause is for a 429 that does not say how long.
	defaultPause = time.Second
	// maxPause bounds what a provider can ask for. A client can provoke a 429 with
	// garbage tokens, and a pause holds for all clients.
	maxPause = 30 * time.Second
	// maxPaused bounds the hosts, of which a client calls few.
	maxPaused = 100
)

func (p *pauses) check(host string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, asked := p.until[host]
	if !asked || !now.Before(until) {
		delete(p.until, host)
		return nil
	}
	err := fmt.Errorf("not called before %s, as the provider asked (Retry-After)", until.UTC().Format(time.RFC3339))
	return &core.Later{Err: err, Wait: until.Sub(now)}
}

// note reads 429 and 503 (RFC 6585 section 4, RFC 9110 section 10.2.3).
func (p *pauses) note(host string, response *http.Response, now time.Time) {
	pause := retryAfter(response, now)
	if pause <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil || len(p.until) >= maxPaused {
		p.until = map[string]time.Time{}
	}
	p.until[host] = now.Add(min(pause, maxPause))
}

// retryAfter is how long a provider asks to wait; zero: it does not ask.
func retryAfter(response *http.Response, now time.Time) time.Duration {
	var unsaid time.Duration
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		unsaid = defaultPause
	case http.StatusServiceUnavailable:
	default:
		return 0
	}
	text := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return max(time.Duration(seconds)*time.Second, unsaid)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), unsaid)
	}
	return unsaid
}
