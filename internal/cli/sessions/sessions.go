// Package sessions has the commands on the sessions of people who signed in at the gate.
package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/config"
	"gatehouse/core/config/fleet"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/core/signin/session"
	"gatehouse/internal/cli/connection"
	"gatehouse/internal/cli/terminal"
)

// Command is gatehouse sessions.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "sessions",
		Short: "List and end the sessions of a user who signed in at the gate",
		Long: `List and end the sessions of a user who signed in at the gate, on all nodes at once.

Sessions are listed where they are in the Redis of a fleet (login.oidc.session.storage:
redis), which the configuration of one node names, its secrets included. Nobody has a
list of sessions in cookies; gatehouse revoke --subject ends those.`,
	}
	c.AddCommand(listCommand(), endCommand())
	return c
}

// user is whose sessions are meant, by flags.
type user struct {
	node            connection.Node
	subject, issuer string
}

func (u *user) register(c *cobra.Command) {
	u.node.Register(c)
	c.Flags().StringVar(&u.subject, "subject", "", "the user, by the `subject`: the claim sub of the ID token")
	c.Flags().StringVar(&u.issuer, "issuer", "", "`issuer` of the subject, exactly as the claim iss has it; default: each provider of the configuration")
	_ = c.MarkFlagRequired("config")
	_ = c.MarkFlagRequired("subject")
}

// opened is where the sessions are.
type opened struct {
	config  *config.Config
	store   *session.InRedis
	lasts   time.Duration
	issuers []string
	keep    any // is in use for as long as the store
}

// commandTimeout is how long a command waits for Redis: people do not mind, and the first
// one waits for the connection.
const commandTimeout = 5 * time.Second

func (u *user) open() (*opened, error) {
	if u.subject == "" {
		return nil, errors.New("--subject names no user")
	}
	c, err := u.node.Config()
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errors.New("--config names no file")
	}
	issuers := c.Login.Issuers()
	if u.issuer != "" {
		if !slices.Contains(issuers, u.issuer) {
			return nil, fmt.Errorf("no provider of login.oidc has the issuer %q, so that nobody has a session of it; issuers are compared exactly, and the configuration has %s", u.issuer, cmp.Or(strings.Join(issuers, ", "), "none"))
		}
		issuers = []string{u.issuer}
	}
	redis := c.Redis
	if redis != nil {
		patient := *redis
		patient.Timeout = setting.Seconds(commandTimeout.Seconds())
		redis = &patient
	}
	caching, err := builder().Caching(fleet.Sections{Redis: redis})
	if err != nil {
		return nil, err
	}
	store, lasts, err := c.Login.InRedis(caching)
	if err != nil {
		return nil, err
	}
	return &opened{c, store, lasts, issuers, caching}, nil
}

func builder() *fleet.Builder {
	return fleet.NewBuilder(fleet.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
}

// listed is a session as the commands show it: without its tokens and claims.
type listed struct {
	Session  string    `json:"session"`
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	Provider string    `json:"provider,omitempty"`
	ClientID string    `json:"client_id,omitempty"`
	AAL      string    `json:"aal,omitempty"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	Renewed  time.Time `json:"tokens_renewed,omitzero"`
}

// rows are sessions, the last one first.
func rows(sessions []*session.Session) []listed {
	rows := []listed{}
	for _, s := range sessions {
		rows = append(rows, listed{s.ID, s.Issuer, s.Subject, s.Provider, s.ClientID, s.AAL, s.CreatedAt.UTC(), s.SeenAt.UTC(), s.RenewedAt.UTC()})
	}
	slices.SortFunc(rows, func(a, b listed) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Session, b.Session)) })
	return rows
}

func listCommand() *cobra.Command {
	var u user
	var output terminal.OutputFlags
	c := &cobra.Command{
		Use:   "list --config FILE --subject SUBJECT [flags]",
		Short: "List the sessions of a user",
		Long: `List the sessions of a user, the last one first: since when there is one, and when it
was used last, to about a tenth of idling_timeout. Neither tokens nor cookies are printed.`,
		Example: "  gatehouse sessions list --config gatehouse.yaml --subject ada",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := u.open()
			if err != nil {
				return err
			}
			all, err := o.of(cmd.Context(), o.store.Of, u.subject)
			if err != nil {
				return err
			}
			if output.JSON() {
				return terminal.PrintJSON(cmd.OutOrStdout(), rows(all))
			}
			print(output.Printer(cmd), rows(all))
			return nil
		},
	}
	u.register(c)
	output.Register(c)
	return c
}

func print(p *terminal.Printer, rows []listed) {
	if len(rows) == 0 {
		p.Printf("no session\n")
		return
	}
	moment := func(t time.Time) string { return t.Format(time.RFC3339) }
	var head []terminal.Cell
	for _, name := range []string{"SESSION", "ISSUER", "PROVIDER", "SINCE", "LAST USED"} {
		head = append(head, terminal.Dim(name))
	}
	table := [][]terminal.Cell{head}
	for _, r := range rows {
		var cells []terminal.Cell
		for _, text := range []string{r.Session, r.Issuer, cmp.Or(r.Provider, "-"), moment(r.Created), moment(r.LastUsed)} {
			cells = append(cells, terminal.Plain(text))
		}
		table = append(table, cells)
	}
	p.Rows("", table)
}

func endCommand() *cobra.Command {
	var u user
	var reason string
	c := &cobra.Command{
		Use:   "end --config FILE --subject SUBJECT [flags]",
		Short: "End all sessions of a user",
		Long: `End all sessions of a user. They do not come back; the user can sign in again, and the
session at the provider goes on.

Where the configuration has a section revocation, the sessions are revoked, too, so that
no node counts one that it has cached. The exit status is 0 only if Redis has deleted
them and each place that keeps revocations has acknowledged it.`,
		Example: `  gatehouse sessions end --config gatehouse.yaml --subject ada --reason "lost a laptop"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := u.open()
			if err != nil {
				return err
			}
			n, err := o.end(cmd.Context(), u.subject, reason)
			if err != nil {
				return fmt.Errorf("NOT ended: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s ended\n", terminal.Plural(n, "session", "sessions"))
			return nil
		},
	}
	u.register(c)
	c.Flags().StringVar(&reason, "reason", "", "`text` for the log and the list of revocations")
	return c
}

// end ends the sessions of a user, and returns how many there were. They are revoked
// first: what has been deleted is not found again to be revoked.
func (o *opened) end(ctx context.Context, subject, reason string) (int, error) {
	all, err := o.of(ctx, o.store.Of, subject)
	if err != nil {
		return 0, err
	}
	if err := o.revoke(ctx, all, reason); err != nil {
		return 0, err
	}
	ended, err := o.of(ctx, o.store.End, subject)
	if err != nil {
		return 0, err
	}
	fresh := slices.DeleteFunc(slices.Clone(ended), func(s *session.Session) bool { // of a sign-in between the two
		return slices.ContainsFunc(all, func(known *session.Session) bool { return known.ID == s.ID })
	})
	return len(ended), o.revoke(ctx, fresh, reason)
}

// of does something about the sessions of a user with each issuer.
func (o *opened) of(ctx context.Context, do func(ctx context.Context, issuer, subject string) ([]*session.Session, error), subject string) (all []*session.Session, err error) {
	defer runtime.KeepAlive(o) // the connection is closed when nobody has it any more
	for _, issuer := range o.issuers {
		some, err := do(ctx, issuer, subject)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// revoke has the nodes forget what they know of sessions.
func (o *opened) revoke(ctx context.Context, ended []*session.Session, reason string) error {
	if o.config.Revocation == nil || len(ended) == 0 {
		return nil // without the section no node caches a session in Redis
	}
	sender, err := builder().Sender(fleet.Sections{Redis: o.config.Redis, Postgres: o.config.Postgres, Revocation: o.config.Revocation}, true)
	if err != nil {
		return err
	}
	defer sender.Close()
	now := time.Now()
	var events []revocation.Event
	for _, s := range ended {
		events = append(events, revocation.Event{Kind: revocation.Session, Value: s.ID, At: now, Until: now.Add(o.lasts), Source: "gatehouse sessions end", Reason: reason})
	}
	return sender.Publish(ctx, revocation.Identified(events)...)
}
