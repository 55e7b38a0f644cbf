package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"os"
	"strconv"
	"time"
)

// SyslogOptions say where syslog is.
type SyslogOptions struct {
	// Network is unixgram, unix, udp or tcp; Address a path, or a host and a port.
	Network, Address string
	// TLS is for tcp (RFC 5425); nil: without.
	TLS *tls.Config
	// Facility is the number of RFC 5424 section 6.2.1.
	Facility int
	// AppName names the program.
	AppName string
	// Timeout is for a connection and for each write.
	Timeout time.Duration
}

// Syslog writes messages of RFC 5424, each with a record as its text. Over streams they are
// counted (RFC 6587 section 3.4.1, RFC 5425 section 4.3). A connection that is lost is made anew.
type Syslog struct {
	options SyslogOptions
	header  []byte
	conn    net.Conn
	counted bool
}

// NewSyslog connects with the first record.
func NewSyslog(o SyslogOptions) *Syslog {
	const informational = 6 // severity, RFC 5424 section 6.2.1
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	s := &Syslog{options: o, counted: o.Network == "tcp" || o.Network == "unix"}
	s.header = []byte("<" + strconv.Itoa(o.Facility*8+informational) + ">1 ")
	s.header = append(s.header, '\x00') // where the time goes
	s.header = append(s.header, " "+printable(host)+" "+printable(o.AppName)+" "+strconv.Itoa(os.Getpid())+" audit - "...)
	return s
}

// printable is a name as RFC 5424 wants it.
func printable(name string) string {
	clean := bytes.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, []byte(name))
	return string(clean[:min(len(clean), 48)])
}

// retryWait is how long to wait before a further attempt.
const retryWait = 250 * time.Millisecond

// Write sends records one by one, and tries again while there is time.
func (s *Syslog) Write(ctx context.Context, records [][]byte) (written int, err error) {
	for written < len(records) {
		if err = s.send(ctx, records[written]); err == nil {
			written++
			continue
		}
		s.Close()
		select {
		case <-ctx.Done():
			return written, err
		case <-time.After(retryWait):
		}
	}
	return written, nil
}

func (s *Syslog) send(ctx context.Context, record []byte) error {
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.options.Timeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.message(record))
	return err
}

func (s *Syslog) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	if s.options.TLS != nil {
		s.conn, err = (&tls.Dialer{Config: s.options.TLS}).DialContext(ctx, s.options.Network, s.options.Address)
	} else {
		s.conn, err = (&net.Dialer{}).DialContext(ctx, s.options.Network, s.options.Address)
	}
	if err != nil {
		s.conn = nil
	}
	return err
}

// message is one message of syslog, whose time is that of sending.
func (s *Syslog) message(record []byte) []byte {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	text := bytes.Replace(s.header, []byte{0}, []byte(now), 1)
	text = append(text, bytes.TrimSuffix(record, []byte("\n"))...)
	if !s.counted {
		return text
	}
	return append([]byte(strconv.Itoa(len(text))+" "), text...)
}

// Close closes the connection.
func (s *Syslog) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
