// Package revoke has the commands that revoke credentials and list what is revoked.
package revoke

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/revocation"
	"gatehouse/internal/cli/terminal"
)

// way takes events to nodes or processes. Each has to acknowledge them.
type way struct {
	name string
	by   interface {
		revocation.Publisher
		lister
	}
	close func()
}

func closeAll(ways []way) {
	for _, w := range ways {
		w.close()
	}
}

// named are the flags that say what is revoked.
type named struct {
	sessions, subjects, clients, tokens, issuers []string

	issuerOf, reason string
	lasts            time.Duration
}

// Command is gatehouse revoke.
func Command() *cobra.Command {
	var n named
	var at places
	c := &cobra.Command{
		Use:   "revoke",
		Short: "Revoke credentials before they end",
		Long: `Revoke credentials before they end. What is named does not count any more from now
on; who signs in afterwards gets new credentials. A session and a token do not come
back.

With --config the revocation goes through the Redis and the PostgreSQL of the fleet
straight to all nodes, and to those that start later; with --admin to the processes of
this machine. API tokens of a subject, a client or an issuer are refused for as long as the revocation
is kept; gatehouse token revoke --subject or --service-account ends them for ever.

The exit status is 0 only if each place that is given has acknowledged
that the revocation is kept: PostgreSQL has committed it, Redis and as many replicas as
redis.wait_replicas wants have it. Otherwise nothing may be taken for revoked.

A token is a secret, and arguments can be read in the list of processes: --token takes
"-" for standard input, file:PATH, the digest sha256:... or the claim jti as jti:....`,
		Example: `  gatehouse revoke --subject ada --issuer-of https://id.example.com/ --config gatehouse.yaml
  gatehouse revoke --subject ada --issuer-of https://id.example.com/ --admin unix:/run/gatehouse/admin.sock
  gatehouse revoke --token - --admin unix:/run/gatehouse/admin.sock < token.txt`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			events, err := n.events(c.InOrStdin())
			if err != nil {
				return err
			}
			ways, err := at.ways()
			if err != nil {
				return err
			}
			defer closeAll(ways)
			return publish(c, ways, events)
		},
	}
	c.Flags().StringArrayVar(&n.sessions, "session", nil, "`id` of a session: of Kratos, or the claim sid")
	c.Flags().StringArrayVar(&n.subjects, "subject", nil, "`id` of a subject: of an identity of Kratos, or the claim sub")
	c.Flags().StringArrayVar(&n.clients, "client", nil, "`id` of a client: all tokens that it was given until now")
	c.Flags().StringArrayVar(&n.tokens, "token", nil, "`token`: - for standard input, file:PATH, sha256:DIGEST or jti:ID")
	c.Flags().StringArrayVar(&n.issuers, "issuer", nil, "`issuer` of which all credentials are revoked, exactly as the claim iss has it")
	c.Flags().StringVar(&n.issuerOf, "issuer-of", "", "`issuer` of the sessions, subjects, clients and jtis that are named; default: whichever it is")
	c.Flags().StringVar(&n.reason, "reason", "", "`text` for the log and the list")
	c.Flags().DurationVar(&n.lasts, "for", 0, "how long the revocation is kept, such as 720h for sessions that last 30 days; default revocation.retention of the node")
	at.register(c)
	c.Flags().BoolVar(&at.begin, "begin-stream", false, "with --config: begin the stream in Redis where there is none, for a fleet without any node yet")
	c.Flags().BoolVar(&at.force, "force", false, "with --config: also revoke by an issuer that the configuration does not name")
	return c
}

func publish(c *cobra.Command, ways []way, events []revocation.Event) error {
	var failed []string
	for _, w := range ways {
		if err := w.by.Publish(c.Context(), events...); err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", w.name, err))
			continue
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: %s revoked\n", w.name, terminal.Plural(len(events), "name is", "names are"))
	}
	if len(failed) > 0 {
		return fmt.Errorf("NOT revoked: %d of %s did not acknowledge it\n  %s", len(failed), terminal.Plural(len(ways), "place", "places"), strings.Join(failed, "\n  "))
	}
	return nil
}

// events are what the flags name.
func (n *named) events(stdin io.Reader) ([]revocation.Event, error) {
	var events []revocation.Event
	for _, of := range []struct {
		kind   revocation.Kind
		values []string
	}{{revocation.Session, n.sessions}, {revocation.Subject, n.subjects}, {revocation.Client, n.clients}} {
		for _, value := range of.values {
			events = append(events, revocation.Event{Kind: of.kind, Value: value, Issuer: n.issuerOf})
		}
	}
	for _, argument := range n.tokens {
		tokens, err := n.token(stdin, argument)
		if err != nil {
			return nil, err
		}
		events = append(events, tokens...)
	}
	for _, issuer := range n.issuers {
		events = append(events, revocation.Event{Kind: revocation.Issuer, Issuer: issuer})
	}
	if len(events) == 0 {
		return nil, errors.New("nothing is named; give --session, --subject, --client, --token or --issuer")
	}
	return events, n.complete(events)
}

// complete gives every event what the command knows. At is left to who keeps it: the
// clock of this machine may be another.
func (n *named) complete(events []revocation.Event) error {
	now := time.Now()
	for i := range events {
		e := &events[i]
		e.ID, e.Source, e.Reason = rand.Text(), source(), n.reason
		if n.lasts < 0 {
			return errors.New("--for is below zero")
		}
		if n.lasts > 0 {
			e.Until = now.Add(n.lasts)
		}
		checked := *e
		if checked.At = now; n.lasts == 0 {
			checked.Until = now
		}
		if err := checked.Check(); err != nil {
			return err
		}
	}
	return nil
}

// source says in logs who has revoked.
func source() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "gatehouse revoke (" + u.Username + ")"
	}
	return "gatehouse revoke"
}

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// token is one --token. An error does not repeat what may be a secret.
func (n *named) token(stdin io.Reader, argument string) ([]revocation.Event, error) {
	switch {
	case digest.MatchString(argument):
		return []revocation.Event{{Kind: revocation.Token, Value: argument}}, nil
	case strings.HasPrefix(argument, "jti:") && len(argument) > len("jti:"):
		return []revocation.Event{{Kind: revocation.Token, Value: strings.TrimPrefix(argument, "jti:"), Issuer: n.issuerOf}}, nil
	case argument == "-":
		return secret(stdin, "-", "standard input")
	case strings.HasPrefix(argument, "file:"):
		path := strings.TrimPrefix(argument, "file:")
		return secret(stdin, path, path)
	case strings.HasPrefix(argument, "sha256:"):
		return nil, errors.New("--token: want sha256: and 64 lower-case hexadecimal digits")
	}
	return nil, errors.New("--token: a token in an argument can be read in the list of processes; give it on standard input (-) or as file:PATH, or name it by sha256:DIGEST or jti:ID")
}

// secret reads a token, which is then named by its digest and, where it is a JWT, by what
// its issuer calls it: the issuer may have signed the same one twice.
func secret(stdin io.Reader, path, shown string) ([]revocation.Event, error) {
	text, err := terminal.ReadInput(stdin, path, core.MaxCredential)
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(text))
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(rest)
	}
	if token == "" || len(text) > core.MaxCredential || strings.ContainsAny(token, " \t\r\n") {
		return nil, fmt.Errorf("%s does not hold one token", shown)
	}
	events := []revocation.Event{{Kind: revocation.Token, Value: revocation.TokenDigest(token)}}
	if issuer, id := claimsOf(token); issuer != "" && id != "" {
		events = append(events, revocation.Event{Kind: revocation.Token, Value: id, Issuer: issuer})
	}
	return events, nil
}

// claimsOf reads iss and jti of a JWT without verifying it.
func claimsOf(token string) (issuer, id string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer string `json:"iss"`
		ID     string `json:"jti"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return "", ""
	}
	return claims.Issuer, claims.ID
}

// lister knows what is revoked.
type lister interface {
	List(ctx context.Context) []list
}

// list is what a place knows, or why nobody can tell.
type list struct {
	place  string
	events []revocation.Event
	err    error
}
