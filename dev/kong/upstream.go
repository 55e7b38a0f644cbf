package kong

import (
	"net"
	"strconv"
	"sync"
)

// upstream spreads requests over targets by smooth weighted round robin.
type upstream struct {
	name string

	mu      sync.Mutex
	targets []*target
}

type target struct {
	host    string
	port    int
	weight  int
	current int // guarded by upstream.mu
}

// peers returns where to send a request: the chosen target first, then the
// others for retries.
func (u *upstream) peers() []*target {
	u.mu.Lock()
	defer u.mu.Unlock()
	var best *target
	total := 0
	for _, t := range u.targets {
		t.current += t.weight
		total += t.weight
		if t.weight > 0 && (best == nil || t.current > best.current) {
			best = t
		}
	}
	if best == nil {
		return nil
	}
	best.current -= total
	peers := []*target{best}
	for _, t := range u.targets {
		if t != best && t.weight > 0 {
			peers = append(peers, t)
		}
	}
	return peers
}

// peers of a service: those of its upstream, or its own host.
func (s *service) peers() []*target {
	if s.upstream == nil {
		return []*target{{host: s.host, port: s.port}}
	}
	peers := s.upstream.peers()
	return peers[:min(len(peers), s.retries+1)]
}

func (t *target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// hostHeader is the Host line for the upstream: the port of the scheme is left
// out.
func (t *target) hostHeader(scheme string) string {
	if scheme == "http" && t.port == 80 || scheme == "https" && t.port == 443 {
		return t.host
	}
	return t.host + ":" + strconv.Itoa(t.port)
}
