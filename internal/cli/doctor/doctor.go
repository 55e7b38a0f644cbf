// Package doctor has the command that examines a gate where it runs.
package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/internal/cli/connection"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/doctor"
)

// Environment variables with what must not stand on a command line.
const (
	authorizationVariable = "GATEHOUSE_DOCTOR_AUTHORIZATION"
	kongVariable          = "GATEHOUSE_DOCTOR_KONG_TOKEN"
	apisixVariable        = "GATEHOUSE_DOCTOR_APISIX_KEY"
)

type options struct {
	node                    connection.Node
	url, echo, kong, apisix string
	caFile                  string
	timeout                 time.Duration
	output                  terminal.OutputFlags
	checks                  bool
}

// Command is gatehouse doctor.
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Examine a gate where it runs: providers, Redis, PostgreSQL, the gateway",
		Long: `Examine a gate where it runs: what its configuration names, asked as a node asks it
(--config); the gateway, asked as a client asks it (--url, --echo); and the
configuration that the gateway runs, by its admin API (--kong-admin, --apisix-admin).
Give at least one of them; each finds more.

It is safe in production. It sends some forty requests, one after the other, writes
nothing, and prints no secret. Identity providers are asked about invented credentials,
which their logs may show as gatehouse-doctor-...; they count as failed attempts of this
machine's address.

--echo is a route with the plugin whose upstream writes the headers of the request into
its response, such as httpbin's /headers. ` + authorizationVariable + ` holds a
credential for it, as the header Authorization has it. ` + kongVariable + ` and
` + apisixVariable + ` hold the keys of the admin APIs.

The exit status is 0 where there are no errors and no warnings, 1 where there are, and 2
for an error in the command line.`,
		Example: `  gatehouse doctor --config gatehouse.yaml
  gatehouse doctor --url https://api.example.com/orders --echo https://api.example.com/headers
  gatehouse doctor --kong-admin http://127.0.0.1:8001 --url http://127.0.0.1:8000/orders`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	o.node.Register(c)
	f := c.Flags()
	f.StringVar(&o.url, "url", "", "`URL` of a call through the gateway that needs a credential")
	f.StringVar(&o.echo, "echo", "", "`URL` of a call through the gateway whose response shows the headers that the upstream got")
	f.StringVar(&o.kong, "kong-admin", "", "`URL` of Kong's Admin API, such as http://127.0.0.1:8001")
	f.StringVar(&o.apisix, "apisix-admin", "", "`URL` of APISIX's Admin API without its path, such as http://127.0.0.1:9180")
	f.StringVar(&o.caFile, "ca-file", "", "PEM `file` with the authorities of the gateway's and the admin APIs' certificates, in the place of the system's")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "time limit of each call to the gateway")
	f.BoolVar(&o.checks, "checks", false, "list the checks and stop")
	_ = c.MarkFlagFilename("ca-file", "pem", "crt")
	o.output.Register(c)
	return c
}

func (o *options) run(cmd *cobra.Command, _ []string) error {
	if o.checks {
		return o.list(cmd)
	}
	with, err := o.examination()
	if err != nil {
		return err
	}
	found := doctor.Examine(cmd.Context(), with)
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), map[string][]doctor.Finding{"findings": found})
	} else {
		show(o.output.Printer(cmd), found)
	}
	if err == nil && (count(found, doctor.Error) > 0 || count(found, doctor.Warning) > 0) {
		err = terminal.ErrNo
	}
	return err
}

// examination is what the flags name.
func (o *options) examination() (with doctor.Options, err error) {
	with = doctor.Options{
		Authorization: os.Getenv(authorizationVariable), KongKey: os.Getenv(kongVariable), APISIXKey: os.Getenv(apisixVariable),
		Timeout: o.timeout, Now: time.Now,
	}
	if with.Config, err = o.node.Config(); err != nil {
		return with, err
	}
	for _, named := range []struct {
		flag, text string
		to         **url.URL
	}{{"--url", o.url, &with.URL}, {"--echo", o.echo, &with.Echo}, {"--kong-admin", o.kong, &with.Kong}, {"--apisix-admin", o.apisix, &with.APISIX}} {
		if *named.to, err = address(named.flag, named.text); err != nil {
			return with, err
		}
	}
	if with.Config == nil && with.URL == nil && with.Echo == nil && with.Kong == nil && with.APISIX == nil {
		return with, errors.New("nothing is named that could be examined; give --config, --url, --echo, --kong-admin or --apisix-admin")
	}
	with.Transport, err = transport(o.caFile)
	return with, err
}

func address(flag, text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, fmt.Errorf("%s: give an address with http:// or https:// and without a user", flag)
	}
	return u, nil
}

// transport makes calls without a proxy of the environment: what is examined is the
// gateway.
func transport(caFile string) (http.RoundTripper, error) {
	t := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: 1 << 20}
	if caFile == "" {
		return t, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, terminal.PlainPathError(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca-file: %s holds no certificate in PEM", caFile)
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return t, nil
}

func (o *options) list(cmd *cobra.Command) error {
	if o.output.JSON() {
		return terminal.PrintJSON(cmd.OutOrStdout(), doctor.Checks)
	}
	p := o.output.Printer(cmd)
	var rows [][]terminal.Cell
	for _, c := range doctor.Checks {
		rows = append(rows, []terminal.Cell{{Text: c.Name, Paint: "36"}, terminal.Plain(c.Doc)})
	}
	p.Rows("", rows)
	return nil
}

func count(found []doctor.Finding, s doctor.Severity) (n int) {
	for _, f := range found {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// show prints what was found in the order of the checks.
func show(p *terminal.Printer, found []doctor.Finding) {
	paint := map[doctor.Severity]func(string) string{doctor.Error: p.Bad, doctor.Warning: p.Warn, doctor.Note: p.Dim, doctor.OK: p.Good}
	for _, f := range found {
		label := fmt.Sprintf("%-7s", f.Severity)
		p.Printf("%s  %s  %s\n         %s\n", paint[f.Severity](label), p.Name(fmt.Sprintf("%-16s", f.Check)), p.Bold(terminal.Quiet(f.Subject)), terminal.Quiet(f.Text))
		if f.Severity == doctor.Error || f.Severity == doctor.Warning {
			p.Printf("         why   %s\n", f.Why)
		}
		if f.Mend != "" {
			p.Printf("         mend  %s\n", terminal.Quiet(f.Mend))
		}
	}
	errors, warnings := count(found, doctor.Error), count(found, doctor.Warning)
	summary := p.Good("no errors and no warnings")
	if errors+warnings > 0 {
		summary = terminal.Plural(errors, "error", "errors") + ", " + terminal.Plural(warnings, "warning", "warnings")
	}
	p.Printf("%s, %s, %d well\n", summary, terminal.Plural(count(found, doctor.Note), "note", "notes"), count(found, doctor.OK))
}
