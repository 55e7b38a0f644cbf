package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/permission"
	"gatehouse/core/permission/replay"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/logs"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type replayCommandOptions struct {
	older, newer string
	path         gates.PathFlags
	log          logs.Flags
	caller       gates.CallerFlags
	samples      int
	incomplete   bool
	output       terminal.OutputFlags
}

func replayCommand() *cobra.Command {
	var o replayCommandOptions
	c := &cobra.Command{
		Use:   "replay [flags] LOGFILE [--old TABLE] --new TABLE",
		Short: "Show which logged requests a new table decides differently",
		Long: `Read an access log and show which of its requests the new table would decide
differently from the old one. LOGFILE is the access log of nginx (combined),
ingress-nginx, Kong, APISIX, Traefik, Envoy, Istio, HAProxy (httplog, httpslog),
AWS ALB or Apache (vhost_combined) in its default format, audit records, or JSON lines of the
logging plugins of Kong and APISIX, Caddy, Traefik or Envoy; each line tells its
format, and --format names another. A log packed by gzip is read as it is. - is
standard input. Without --old, the requests that the new table refuses are shown.

Lines that cannot be read, requests without a host where a table names hosts, and
requests that other conditions decide are counted; the exit status is then 1,
unless --allow-incomplete is given.

A log rarely says who called. Unless the flags name a caller, each request
is decided for one without a credential, for one with nothing but a valid
credential, and for one with each single role, scope and permission of the tables. They
carry no claims, so conditions that read claims deny them in both tables.
--user-field takes the roles of each caller from the log instead.`,
		Example: `  gatehouse replay access.log --old permissions.yaml --new permissions.new.yaml
  cat access.log.*.gz | gatehouse replay - --old old.yaml --new base.yaml,orders.yaml
  gatehouse replay --role clerk access.log --old old.yaml --new new.yaml
  gatehouse replay --user-field remote_user --user ann=clerk,auditor access.log --old old.yaml --new new.yaml`,
		Args: terminal.OneArgument("LOGFILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	c.Flags().StringVar(&o.older, "old", "", "`table` in force: a file, a folder, or several separated by commas (default: one that allows everything)")
	c.Flags().StringVar(&o.newer, "new", "", "`table` to compare with it")
	_ = c.MarkFlagRequired("new")
	for _, name := range []string{"old", "new"} {
		_ = c.MarkFlagFilename(name, "yaml", "yml")
	}
	o.caller.Register(c)
	o.log.Register(c)
	for _, name := range append(gates.CallerFlagNames, "anonymous") {
		c.MarkFlagsMutuallyExclusive("user-field", name)
	}
	o.path.Register(c)
	c.Flags().IntVar(&o.samples, "samples", 3, "`number` of requests to show of each kind")
	c.Flags().BoolVar(&o.incomplete, "allow-incomplete", false, "exit with 0 although lines or hosts could not be compared")
	o.output.Register(c)
	return c
}

func (o *replayCommandOptions) run(cmd *cobra.Command, name string) error {
	options, err := o.options(cmd, name)
	if err != nil {
		return err
	}
	log, err := logs.Open(cmd.InOrStdin(), name)
	if err != nil {
		return err
	}
	defer log.Close()
	report, err := replay.Run(log, *options)
	if err != nil {
		return terminal.PlainPathError(err)
	}
	if report.Requests == 0 {
		return noRequests(name, report)
	}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), replayForJSON(report))
	} else {
		replayPrinter{differencePrinter{o.output.Printer(cmd)}, o.older == ""}.print(report)
	}
	if err == nil && (report.Different > 0 || !report.Complete() && !o.incomplete) {
		err = terminal.ErrNo
	}
	return err
}

func (o *replayCommandOptions) options(cmd *cobra.Command, log string) (*replay.Options, error) {
	if inputs := strings.Count(","+o.older+","+o.newer+","+log+",", ",-,"); inputs > 1 {
		return nil, errors.New("standard input is named more than once; name files for the rest")
	}
	if o.samples < 1 || o.samples > 1000 {
		return nil, fmt.Errorf("--samples is %d; use a number from 1 to 1000", o.samples)
	}
	older, err := o.oldTable(cmd)
	if err != nil {
		return nil, err
	}
	newer, err := tables.Load(cmd.InOrStdin(), strings.Split(o.newer, ",")...)
	if err != nil {
		return nil, err
	}
	out := &replay.Options{
		Old: older.Inspector, New: newer.Inspector, Alone: o.older == "", Host: o.log.Host, Path: o.path.PathOptions, MaxSamples: o.samples,
	}
	if out.Log, err = o.log.Options(); err != nil {
		return nil, err
	}
	if out.Callers, err = o.callers(cmd, older, newer); err != nil {
		return nil, err
	}
	out.Users, err = o.log.Users()
	return out, err
}

// oldTable is the table in force, or one that shows what the new one refuses.
func (o *replayCommandOptions) oldTable(cmd *cobra.Command) (*tables.Table, error) {
	if o.older == "" {
		return tables.New([]tables.Text{{Name: "everything", Content: []byte("public: [\"ANY /.*\"]\n")}})
	}
	return tables.Load(cmd.InOrStdin(), strings.Split(o.older, ",")...)
}

func (o *replayCommandOptions) callers(cmd *cobra.Command, older, newer *tables.Table) ([]replay.Caller, error) {
	for _, name := range append(gates.CallerFlagNames, "anonymous") {
		if cmd.Flags().Changed(name) {
			g, err := offline.New(nil, o.path.PathOptions, older.Inspector)
			if err != nil {
				return nil, err
			}
			p, err := o.caller.Principal(cmd, g)
			if p == nil {
				return []replay.Caller{replay.Anonymous()}, err
			}
			return []replay.Caller{{Name: "the caller", Principal: p, Described: true}}, err
		}
	}
	return replay.Callers(older.Table, newer.Table, time.Now()), nil
}

func noRequests(name string, r *replay.Report) error {
	if r.Lines == 0 {
		return logs.Empty(tables.ShownName(name), 0, 0, "")
	}
	return logs.Empty(tables.ShownName(name), r.Lines, r.Skipped[0].First, r.Skipped[0].Reason)
}

type replayPrinter struct {
	differencePrinter
	// alone tells that one table is asked what it refuses.
	alone bool
}

func (p replayPrinter) print(r *replay.Report) {
	for _, g := range r.Groups {
		p.group(g)
	}
	if len(r.Refused) > 0 {
		p.Printf("%s\n", p.Warn("refused whatever the table says"))
	}
	for _, f := range r.Refused {
		p.Printf("  %s  %s\n", f.Reason, p.Dim(terminal.Plural(f.Requests, "request", "requests")))
		p.samples("    ", f.Samples, f.Requests)
	}
	p.summary(r)
}

func (p replayPrinter) group(g *replay.Group) {
	p.Printf("%s\n", p.Bold(terminal.Plural(g.Requests, "request", "requests")))
	p.samples("  ", g.Samples, g.Requests)
	for i := range g.Changes {
		c := &g.Changes[i]
		arrow := p.Name(string(c.Old) + " -> " + string(c.New))
		if c.LetsIn() {
			arrow = p.Warn(string(c.Old) + " -> " + string(c.New))
		}
		p.Printf("    %s  %s\n", arrow, terminal.Listing(c.Callers, "and"))
	}
	p.replaySide("was", g.Old)
	p.replaySide("is ", g.New)
}

func (p replayPrinter) samples(indent string, samples []string, all int) {
	for _, s := range samples {
		p.Printf("%s%s\n", indent, s)
	}
	if all > len(samples) && len(samples) > 1 {
		p.Printf("%s%s\n", indent, p.Dim("…"))
	}
}

func (p replayPrinter) replaySide(when string, rules []permission.OwnedActivity) {
	if len(rules) == 0 {
		p.Printf("    %s  %s\n", p.Dim(when), p.Dim("not covered"))
	}
	for i := range rules {
		p.rule("    "+p.Dim(when)+"  ", &rules[i], true)
	}
}

func (p replayPrinter) summary(r *replay.Report) {
	verdict, unsure := p.Good("no request is decided otherwise"), " decided by other requirements than before, which may make a difference that the log does not show"
	if p.alone {
		verdict, unsure = p.Good("no request is refused"), " decided by requirements that look at what the log does not show"
	}
	if !r.Complete() {
		verdict = p.Warn("no difference was found, but not everything was compared")
	}
	if r.Different > 0 {
		verdict = fmt.Sprintf("%s decided otherwise: %d let in, %d shut out", terminal.Plural(r.Different, "request", "requests"), r.LetIn, r.ShutOut)
	}
	p.Printf("%s, of %s\n", verdict, terminal.Plural(r.Requests, "request", "requests"))
	if r.Ungrouped > 0 {
		p.Printf("%s\n", p.Warn(fmt.Sprintf("%s of them not shown: there are too many kinds", terminal.Plural(r.Ungrouped, "request is", "requests are"))))
	}
	if r.Conditions > 0 {
		p.Printf("%s\n", p.Warn(fmt.Sprintf("%s an activity with a condition, which was asked with what the log and the flags say", terminal.Plural(r.Conditions, "request falls under", "requests fall under"))))
	}
	if r.Unsure > 0 {
		p.Printf("%s\n", p.Warn(terminal.Plural(r.Unsure, "request is", "requests are")+unsure))
	}
	if r.Tools > 0 {
		p.Printf("%s\n", p.Warn(terminal.Plural(r.Tools, "call", "calls")+" at an endpoint of mcp: no access log names the tool, so that what comes of these is unknown"))
	}
	if r.Hostless > 0 {
		p.Printf("%s\n", p.Warn(fmt.Sprintf("%s no host in the log, and the tables name hosts: not compared for these; name one with --host, or log it", terminal.Plural(r.Hostless, "request has", "requests have"))))
	}
	for _, s := range r.Skipped {
		p.Printf("%s\n", p.Warn(fmt.Sprintf("%s not read, the first is line %d: %s", terminal.Plural(s.Lines, "line was", "lines were"), s.First, s.Reason)))
	}
}

// --- for programs

type replayJSON struct {
	Lines      int                `json:"lines"`
	Requests   int                `json:"requests"`
	Different  int                `json:"different"`
	LetIn      int                `json:"let_in"`
	ShutOut    int                `json:"shut_out"`
	Ungrouped  int                `json:"not_shown"`
	Conditions int                `json:"conditional"`
	Unsure     int                `json:"unsure"`
	Hostless   int                `json:"without_host"`
	Tools      int                `json:"mcp_calls,omitempty"`
	Complete   bool               `json:"complete"`
	Groups     []replayGroupJSON  `json:"groups"`
	Refused    []refusedPathsJSON `json:"refused"`
	Skipped    []skippedLinesJSON `json:"skipped"`
}

type replayGroupJSON struct {
	Method   string                `json:"method"`
	Requests int                   `json:"requests"`
	Samples  []string              `json:"samples"`
	Changes  []replayChangeJSON    `json:"changes"`
	Old      []tables.ActivityJSON `json:"old"`
	New      []tables.ActivityJSON `json:"new"`
}

type replayChangeJSON struct {
	Old     string   `json:"old"`
	New     string   `json:"new"`
	Callers []string `json:"callers"`
}

type refusedPathsJSON struct {
	Reason   string   `json:"reason"`
	Requests int      `json:"requests"`
	Samples  []string `json:"samples"`
}

type skippedLinesJSON struct {
	Reason string `json:"reason"`
	Lines  int    `json:"lines"`
	First  int    `json:"first"`
}

func replayForJSON(r *replay.Report) replayJSON {
	out := replayJSON{
		Lines: r.Lines, Requests: r.Requests, Different: r.Different, LetIn: r.LetIn, ShutOut: r.ShutOut,
		Ungrouped: r.Ungrouped, Conditions: r.Conditions, Unsure: r.Unsure, Hostless: r.Hostless, Tools: r.Tools, Complete: r.Complete(),
		Groups: []replayGroupJSON{}, Refused: []refusedPathsJSON{}, Skipped: []skippedLinesJSON{},
	}
	for _, g := range r.Groups {
		group := replayGroupJSON{g.Method, g.Requests, g.Samples, nil, tables.ActivitiesForJSON(g.Old), tables.ActivitiesForJSON(g.New)}
		for _, c := range g.Changes {
			group.Changes = append(group.Changes, replayChangeJSON{string(c.Old), string(c.New), c.Callers})
		}
		out.Groups = append(out.Groups, group)
	}
	for _, f := range r.Refused {
		out.Refused = append(out.Refused, refusedPathsJSON(*f))
	}
	for _, s := range r.Skipped {
		out.Skipped = append(out.Skipped, skippedLinesJSON(*s))
	}
	return out
}
