package revoke

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/revocation"
	"gatehouse/internal/cli/connection"
)

// places are the flags that say where events are kept.
type places struct {
	node  connection.Node
	begin bool // a stream in Redis
	force bool // an issuer that is not configured
	admin []string
}

func (p *places) register(c *cobra.Command) {
	p.node.Register(c)
	c.Flags().StringArrayVar(&p.admin, "admin", nil, "`socket` of a process on this machine, as its own --admin has it: unix:/path. Repeat it for more")
}

// ways are those that the flags name. They are to be closed.
func (p *places) ways() (ways []way, err error) {
	fleet, err := p.fleet()
	if err != nil {
		return nil, err
	}
	if fleet != nil {
		ways = append(ways, way{fleet.Name(), fleet, fleet.Close})
	}
	for _, address := range p.admin {
		s, err := openSocket(address)
		if err != nil {
			return nil, err
		}
		ways = append(ways, way{address, s, func() {}})
	}
	if len(ways) == 0 {
		return nil, errors.New("no place is given where revocations are kept; give the configuration of a node of the fleet with --config FILE, or the admin socket of each process of this machine with --admin unix:/path")
	}
	return ways, nil
}

// socket is the admin socket of a process.
type socket struct {
	address string
	client  *http.Client
}

var (
	_ revocation.Publisher = (*socket)(nil)
	_ lister               = (*socket)(nil)
)

const (
	socketTime  = 15 * time.Second
	maxResponse = 1 << 30
)

func openSocket(address string) (*socket, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || path == "" {
		return nil, fmt.Errorf("--admin %s: want unix:/path; a process takes no revocations by TCP, where any program and any web page of the machine could send some", address)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &socket{address, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: socketTime}}, nil
}

// body is that of requests and responses of /revocations.
type body struct {
	Events []revocation.Event `json:"events,omitempty"`
	Kept   int                `json:"kept,omitempty"`
	Error  string             `json:"error,omitempty"`
}

// Publish returns nil once the process has said that all events are kept.
func (s *socket) Publish(ctx context.Context, events ...revocation.Event) error {
	text, err := json.Marshal(body{Events: events})
	if err != nil {
		return err
	}
	response, err := s.call(ctx, http.MethodPost, bytes.NewReader(text))
	if err == nil && response.Kept != len(events) {
		err = fmt.Errorf("%d of %d are kept", response.Kept, len(events))
	}
	return err
}

// List returns what the process knows to be revoked.
func (s *socket) List(ctx context.Context) []list {
	response, err := s.call(ctx, http.MethodGet, nil)
	return []list{{s.address, response.Events, err}}
}

func (s *socket) call(ctx context.Context, method string, content io.Reader) (body, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost/revocations", content)
	if err != nil {
		return body{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return body{}, errors.Unwrap(err) // without the URL, which is the same for all
	}
	defer response.Body.Close()
	var b body
	err = json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(&b)
	switch {
	case response.StatusCode == http.StatusOK && err == nil:
		return b, nil
	case b.Error != "":
		return body{}, errors.New(b.Error)
	case response.StatusCode == http.StatusNotFound:
		return body{}, errors.New("the process does not know revocations: it is of an older version, or another program")
	}
	return body{}, fmt.Errorf("status %d", response.StatusCode)
}
