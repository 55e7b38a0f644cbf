// Package audit has the settings of audit records, and makes what writes them.
package audit

import (
	"net"
	"path/filepath"
	"regexp"
	"strconv"

	"gatehouse/core/audit"
	"gatehouse/core/config/otlp"
	"gatehouse/core/config/section"
	"gatehouse/core/setting"
)

// Audit is what is recorded, and where records go. Its names are those of Kong's file-log
// and http-log and of APISIX's file-logger, syslog and log-rotate.
type Audit struct {
	SamplingRate        float64  `config:"sampling_rate" default:"1" between:"0,1" doc:"Share of the admitted requests that have a record, from 0 to 1, and of the gate's own responses that are no errors. Each record says its share."`
	RefusalSamplingRate float64  `config:"refusal_sampling_rate" default:"1" between:"0,1" doc:"The same for refusals."`
	RedactPaths         []string `config:"redact_paths" doc:"Regexes (RE2) of what is secret in paths, such as ^/reset/([^/]+). What their groups match is replaced by [redacted], or all that one without groups matches. Segments that look like a JWT or an API token always are."`

	File   *File           `config:"file" doc:"Records go to a file, one JSON object a line."`
	Stdout bool            `config:"stdout" default:"false" doc:"Whether records go to the standard output of the process. Kong and APISIX put that into their error logs."`
	Syslog *Syslog         `config:"syslog" doc:"Records go to syslog (RFC 5424)."`
	OTLP   *otlp.Collector `config:"otlp" doc:"Records go to a collector as log records of OpenTelemetry."`

	Queue  Queue   `config:"queue" doc:"What may wait for each of these places. No request waits: what finds no room is dropped, counted and told in the log."`
	Tables *Tables `config:"tables" doc:"Keeps the permission tables that come into force, by which gatehouse why explains earlier decisions. Leave out to keep none."`
}

// File is a file with rotation.
type File struct {
	Path    string `config:"path" required:"true" doc:"File, as an absolute path, such as /var/log/gatehouse/audit.jsonl. It is created with mode 0600. A symbolic link, and a file that others can write or everybody can read, is an error. The processes of one user may share it."`
	MaxSize int    `config:"max_size" default:"104857600" between:"0,1099511627776" doc:"Size at which the file is put aside, in bytes; 0: never, for a file that another program rotates, which is noticed without a signal. Files that were put aside have the time in their names."`
	MaxKept int    `config:"max_kept" default:"10" between:"0,100000" doc:"Number of files that were put aside which are kept."`
}

// Syslog is a syslog server.
type Syslog struct {
	Path      string          `config:"path" doc:"Socket of syslog on this machine, as a path such as /dev/log, in the place of host."`
	Host      string          `config:"host" doc:"Host name or address of a syslog server."`
	Port      int             `config:"port" default:"514" between:"1,65535" doc:"Port of the server."`
	SockType  string          `config:"sock_type" default:"udp" one_of:"udp,tcp" doc:"udp, or tcp with counted messages (RFC 6587, and RFC 5425 with tls)."`
	TLS       bool            `config:"tls" default:"false" doc:"Whether the server is spoken to over TLS; needs tcp."`
	SSLVerify bool            `config:"ssl_verify" default:"true" doc:"Whether the server's certificate is verified. Switch off in development only."`
	CAFile    string          `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities to trust instead of the system's."`
	Facility  string          `config:"facility" default:"authpriv" one_of:"auth,authpriv,daemon,user,local0,local1,local2,local3,local4,local5,local6,local7" doc:"Facility of the messages (RFC 5424 section 6.2.1). Their severity is informational."`
	Timeout   setting.Seconds `config:"timeout" default:"3" between:"0.1,30" doc:"Time limit of a connection and of each write, in seconds. A message that cannot be sent is tried again for 30 seconds."`
}

// Queue bounds what waits.
type Queue struct {
	MaxEntries int `config:"max_entries" default:"10000" between:"1,1000000" doc:"Number of records."`
	MaxBytes   int `config:"max_bytes" default:"8388608" between:"4096,1073741824" doc:"Their size, in bytes."`
}

// Tables are permission tables that are kept.
type Tables struct {
	Path    string          `config:"path" required:"true" doc:"Directory, as a path, that only this user can write to. It is created if the directory above it is there."`
	MaxKept int             `config:"max_kept" default:"100" between:"1,10000" doc:"Number of tables that are kept. Those in force are never removed."`
	MaxAge  setting.Seconds `config:"max_age" default:"7776000" between:"60,315360000" doc:"How long a table is kept after it was last loaded or replaced, in seconds; 90 days by default."`
}

// facilities by their names.
var facilities = map[string]int{
	"user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// Check reports what no single tag can say. The section may be nil.
func (a *Audit) Check(v section.Validator) {
	if a == nil {
		return
	}
	if a.File == nil && !a.Stdout && a.Syslog == nil && a.OTLP == nil && !v.Mentions("audit.file", "audit.syslog", "audit.otlp") {
		v.Add("audit", "says nowhere where records go: set file, stdout, syslog or otlp")
	}
	for i, text := range a.RedactPaths {
		if _, err := regexp.Compile(text); err != nil {
			v.Add(section.Item("audit.redact_paths", i), "%v", err)
		} else if len(text) > maxPattern {
			v.Add(section.Item("audit.redact_paths", i), "has %d bytes; want %d at most", len(text), maxPattern)
		}
	}
	if len(a.RedactPaths) > maxPatterns {
		v.Add("audit.redact_paths", "has %d patterns; want %d at most", len(a.RedactPaths), maxPatterns)
	}
	if a.File != nil && a.File.Path != "" && !filepath.IsAbs(a.File.Path) {
		v.Add("audit.file.path", "is not absolute: gateways choose the folder that their plugins run in")
	}
	if a.Tables != nil && a.Tables.Path != "" && !filepath.IsAbs(a.Tables.Path) {
		v.Add("audit.tables.path", "is not absolute: gateways choose the folder that their plugins run in")
	}
	a.Syslog.check(v)
	if a.OTLP != nil {
		a.OTLP.Check(v, "audit.otlp")
	}
}

// Bounds of redact_paths: each pattern reads every path.
const (
	maxPatterns = 32
	maxPattern  = 1024
)

func (s *Syslog) check(v section.Validator) {
	switch {
	case s == nil:
	case (s.Path == "") == (s.Host == ""):
		v.Add("audit.syslog", "needs either path or host")
	case s.Path != "" && s.TLS:
		v.Add("audit.syslog.tls", "is for a server at host")
	case s.TLS && s.SockType != "tcp":
		v.Add("audit.syslog.tls", "needs sock_type: tcp")
	case s.CAFile != "" && !s.TLS:
		v.Add("audit.syslog.tls", "is needed for ca_file")
	}
}

// address is the network and the address in it.
func (s *Syslog) address() (network, address string) {
	if s.Path != "" {
		return "unixgram", s.Path
	}
	return s.SockType, net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// patterns are those of redact_paths, which Check has compiled.
func (a *Audit) patterns() (all []*regexp.Regexp) {
	for _, text := range a.RedactPaths {
		all = append(all, regexp.MustCompile(text))
	}
	return all
}

// JSONSchema describes a record (JSON Schema, draft 2020-12).
func JSONSchema() []byte {
	s := setting.SchemaOf(audit.Record{})
	properties := s["properties"].(map[string]any)
	properties["time"] = map[string]any{"type": "string", "format": "date-time", "description": properties["time"].(map[string]any)["description"]}
	return setting.EncodeSchema("Audit record of a Gatehouse gate", s)
}
