package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"

	"gatehouse/core"
	"gatehouse/core/config/consumer"
)

// magic begins a connection; the version follows it. Read as the length of a frame of
// Kong's protocol it is beyond what that one accepts, whatever the version, and it is no
// type of a message of APISIX's.
const (
	magic   = "GHX"
	version = 3
)

// Types of messages.
const (
	typeConfiguration = 'C'
	typeRequest       = 'R'
	typeBody          = 'B'
	typeNoBody        = 'X'
	typeFound         = 'F'
	typeNotFound      = 'N'

	typeVersion  = 'V'
	typeNamed    = 'c'
	typeUnknown  = 'u'
	typeNeedBody = 'b'
	typeAllowed  = 'A'
	typeAnswered = 'D'
)

// maxMessage bounds what a client can make this process hold, in bytes. The largest
// messages are configurations; the files send requests of 1 MiB at most.
const maxMessage = 8 << 20

// lengthSize is the size of a number.
const lengthSize = 4

// name is that of a configuration.
type name [32]byte

// Flags of a request: it has more header lines than the client sends; another plugin of
// the gateway has said who calls, and set the headers that tell of it.
const (
	flagHeaderCut     = 1
	flagAuthenticated = 2
)

// request is what the client tells of a request.
type request struct {
	configuration name
	headerCut     bool
	authenticated bool
	// id is the gateway's, line the request line as it was received.
	id, line string
	// peer is the address of who is connected, client what the gateway takes for that of
	// the client.
	peer, client string
	// certificate is that of the client as PEM, verify what nginx says of it.
	certificate, verify string
	header              []core.Header
}

var (
	errCut    = errors.New("the message is cut short")
	errBeyond = errors.New("the message goes on behind its end")
)

// decoder reads the parts of a message, whose texts stay valid: they are copied with it.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) number() int {
	if len(d.rest) < lengthSize {
		d.fail(errCut)
		return 0
	}
	n := uint32(d.rest[0])<<24 | uint32(d.rest[1])<<16 | uint32(d.rest[2])<<8 | uint32(d.rest[3])
	d.rest = d.rest[lengthSize:]
	return int(n)
}

func (d *decoder) text() string { return d.bytes(d.number()) }

func (d *decoder) bytes(n int) string {
	if n > len(d.rest) {
		d.fail(errCut)
		return ""
	}
	text := d.rest[:n]
	d.rest = d.rest[n:]
	return text
}

// count is the length of a list whose elements take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.number()
	if n > len(d.rest)/size {
		d.fail(errCut)
		return 0
	}
	return n
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.rest = ""
}

func (d *decoder) end() error {
	if d.err == nil && d.rest != "" {
		return errBeyond
	}
	return d.err
}

func (d *decoder) header() []core.Header {
	lines := make([]core.Header, d.count(2*lengthSize))
	for i := range lines {
		lines[i] = core.Header{Name: d.text(), Value: d.text()}
	}
	return lines
}

func decodeRequest(payload []byte) (r request, err error) {
	d := decoder{rest: string(payload)}
	copy(r.configuration[:], d.bytes(len(r.configuration)))
	flags := d.bytes(1)
	r.id, r.line = d.text(), d.text()
	r.peer, r.client = d.text(), d.text()
	r.certificate, r.verify = d.text(), d.text()
	r.header = d.header()
	if err := d.end(); err != nil {
		return r, err
	}
	if flags[0]&^(flagHeaderCut|flagAuthenticated) != 0 {
		return r, fmt.Errorf("the request has the unknown flags %#x", flags[0])
	}
	r.headerCut, r.authenticated = flags[0]&flagHeaderCut != 0, flags[0]&flagAuthenticated != 0
	return r, nil
}

func appendNumber(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(appendNumber(b, len(text)), text...)
}

func appendTexts(b []byte, texts []string) []byte {
	b = appendNumber(b, len(texts))
	for _, text := range texts {
		b = appendText(b, text)
	}
	return b
}

func appendHeader(b []byte, lines []core.Header) []byte {
	b = appendNumber(b, len(lines))
	for _, line := range lines {
		b = appendText(appendText(b, line.Name), line.Value)
	}
	return b
}

// begin makes room for the length of a message.
func begin(b []byte, kind byte) []byte { return append(b, 0, 0, 0, 0, kind) }

// end puts in the length of the message that fills b.
func end(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-lengthSize))
	return b
}

// about is what the gateway's own logs may tell of a decision.
func appendAbout(b []byte, d *core.Decision) []byte {
	var subject, issuer string
	if d.Principal != nil {
		subject, issuer = d.Principal.Subject, d.Principal.Issuer
	}
	for _, text := range [...]string{d.Outcome.String(), d.Reason, d.Rule, subject, issuer} {
		b = appendText(b, text)
	}
	return b
}

// reply is a decision with what the gateway has to know of consumers.
type reply struct {
	core.Decision
	// claimed are names of headers, as the client sent them, by which the gateway tells
	// upstreams of consumers.
	claimed []string
	// mapped says that callers are looked up among the consumers, and caller is who this
	// one is.
	mapped bool
	caller consumer.Caller
}

func (r *reply) appendStrip(b []byte) []byte {
	b = appendNumber(b, len(r.Strip)+len(r.claimed))
	for _, names := range [...][]string{r.Strip, r.claimed} {
		for _, name := range names {
			b = appendText(b, name)
		}
	}
	return b
}

// appendAllowed: what the logs may tell; a list of names to strip; headers to set on the
// request, then to add to the response, each a list of names and values; a list of no
// target or of one; a list of no groups, or of one list of them; a list of who calls, as
// appendCaller says.
func appendAllowed(b []byte, r *reply) []byte {
	b = appendAbout(begin(b, typeAllowed), &r.Decision)
	b = r.appendStrip(b)
	b = appendHeader(b, r.Set)
	b = appendHeader(b, r.ResponseHeader)
	if r.Target == "" {
		b = appendNumber(b, 0)
	} else {
		b = appendText(appendNumber(b, 1), r.Target)
	}
	if r.Groups == nil {
		b = appendNumber(b, 0)
	} else {
		b = appendTexts(appendNumber(b, 1), r.Groups)
	}
	return end(r.appendCaller(b))
}

// appendCaller: nothing where no consumers are configured. Else the caller's id, which is
// empty for nobody; and where the caller is to be a consumer: how it is looked up, by what,
// and what is not empty if the caller goes on without one. The client then says what became
// of it.
func (r *reply) appendCaller(b []byte) []byte {
	switch {
	case !r.mapped:
		return appendNumber(b, 0)
	case r.caller.By == "":
		return appendText(appendNumber(b, 1), r.caller.ID)
	}
	b = appendText(appendNumber(b, 4), r.caller.ID)
	b = appendText(appendText(b, r.caller.By), r.caller.Value)
	if r.caller.Optional {
		return appendText(b, "optional")
	}
	return appendText(b, "")
}

// appendAnswered: what the logs may tell; a list of names to strip, so that no log takes
// what the client claims for the truth; the status, the headers and the body for the
// client.
func appendAnswered(b []byte, r *reply) []byte {
	b = appendAbout(begin(b, typeAnswered), &r.Decision)
	b = r.appendStrip(b)
	b = appendNumber(b, r.ClientStatus())
	b = appendHeader(b, r.Header)
	return end(appendText(b, r.Body))
}

func appendReply(b []byte, r *reply) []byte {
	if r.Outcome == core.Allow {
		return appendAllowed(b, r)
	}
	return appendAnswered(b, r)
}
