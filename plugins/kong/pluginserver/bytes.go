package pluginserver

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"gatehouse/core"
)

// The texts of the protocol are declared as strings, which Go's protobuf holds to
// UTF-8. What HTTP carries is bytes, and so is what Kong sends and takes. The calls
// of this file carry them as such: one cookie in Latin-1, of whatever site, must not
// keep a request from being read.

const (
	varMethod     = "kong.nginx.get_var"
	headersMethod = "kong.request.get_headers"
)

// Var requests a variable of nginx; it is empty where Kong has none.
func Var(k Kong, name string) (string, error) {
	return ask(k, Call{varMethod, appendText(nil, 1, name)})
}

// Text requests what a call without arguments returns as a text.
func Text(k Kong, method string) (string, error) { return ask(k, Call{Method: method}) }

func ask(k Kong, call Call) (string, error) {
	response, err := k.Ask(call)
	if err != nil {
		return "", err
	}
	return decodeText(response)
}

// Headers requests the header lines, of which Kong hands over max at most.
func Headers(k Kong, max int) ([]core.Header, error) {
	response, err := k.Ask(headersCall(max))
	if err != nil {
		return nil, err
	}
	return decodeHeaders(response, max)
}

func headersCall(max int) Call {
	return Call{headersMethod, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(max))}
}

// ReadCalls are the calls of RequestLine and then Headers.
func ReadCalls(max int) []Call { return []Call{lineCall, headersCall(max)} }

// SetHeaders replaces headers of the request to the upstream: all lines of each name,
// or removes them, where there are no values.
func SetHeaders(k Kong, headers map[string][]string) error {
	return k.Tell(Call{"kong.service.request.set_headers", appendHeaders(nil, headers)})
}

// SetRawQuery replaces the query of the request to the upstream.
func SetRawQuery(k Kong, query string) error {
	return k.Tell(Call{"kong.service.request.set_raw_query", appendText(nil, 1, query)})
}

// AddResponseHeader adds a line to the response that the client gets.
func AddResponseHeader(k Kong, h core.Header) error {
	return k.Tell(Call{"kong.response.add_header", appendEntry(nil, h.Name, appendText(nil, valueString, h.Value))})
}

// SetShared hands a list over to the plugins that run after this one.
func SetShared(k Kong, key string, list []string) error {
	return k.Tell(Call{"kong.ctx.shared.set", appendEntry(nil, key, appendList(list))})
}

// logError writes a line to Kong's own log, at its level error.
func logError(k Kong, line string) error {
	return k.Tell(Call{"kong.log.err", appendText(nil, 1, appendText(nil, valueString, line))})
}

// RawBody is what Kong returns for a body: its content, or the path of the file that
// holds it.
func RawBody(k Kong) (content []byte, file string, err error) {
	response, err := k.Ask(Call{Method: "kong.request.get_raw_body"})
	if err != nil {
		return nil, "", err
	}
	err = eachField(response, func(n protowire.Number, value []byte) error {
		content, file = nil, ""
		switch n {
		case 1:
			content = bytes.Clone(value)
		case 2:
			file = string(value)
		case 3:
			return fmt.Errorf("Kong cannot read the body: %.200q", value)
		}
		return nil
	})
	return content, file, err
}

// Exit makes Kong respond to the client as decided. Kong leaves a response alone that has
// the headers of gRPC.
func Exit(k Kong, d core.Decision) {
	_ = k.Tell(exitCall(d)) // after a failure the server denies
}

func refusalCall(cause error) Call { return exitCall(core.Refusal(&core.Request{}, cause)) }

func exitCall(d core.Decision) Call {
	header := make(map[string][]string, len(d.Header))
	for _, h := range d.Header {
		header[h.Name] = append(header[h.Name], h.Value)
	}
	args := protowire.AppendTag(nil, 1, protowire.VarintType)
	args = protowire.AppendVarint(args, uint64(d.ClientStatus()))
	if len(d.Body) > 0 {
		args = appendText(args, 2, d.Body)
	}
	return Call{exitMethod, appendText(args, 3, appendHeaders(nil, header))}
}

// Field numbers of google.protobuf.Value. In a Struct, a ListValue and an entry of a
// map they count from 1.
const (
	valueString protowire.Number = 3
	valueList   protowire.Number = 6
)

func appendText[T string | []byte](b []byte, n protowire.Number, text T) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(len(text)))
	return append(b, text...)
}

// appendEntry is one of a map, and a KV, which looks the same. The value is encoded.
func appendEntry(b []byte, key string, value []byte) []byte {
	return appendText(appendText(b, 1, key), 2, value)
}

// appendHeaders appends a google.protobuf.Struct of lists of strings.
func appendHeaders(b []byte, headers map[string][]string) []byte {
	for name, values := range headers {
		b = appendText(b, 1, appendEntry(nil, name, appendList(values)))
	}
	return b
}

// appendList is a google.protobuf.Value with a list of strings.
func appendList(values []string) []byte {
	var list []byte
	for _, value := range values {
		list = appendText(list, 1, appendText(nil, valueString, value))
	}
	return appendText(nil, valueList, list)
}

// decodeText reads a message whose one field is a text, and which is empty where the
// text is.
func decodeText(b []byte) (text string, err error) {
	err = eachField(b, func(n protowire.Number, value []byte) error {
		if n == 1 {
			text = string(value)
		}
		return nil
	})
	return text, err
}

var errShape = errors.New("Kong's response is not of the shape that it should have")

// eachField visits the fields of a message, all of which hold bytes.
func eachField(b []byte, visit func(n protowire.Number, content []byte) error) error {
	for len(b) > 0 {
		n, content, size := consumeBytes(b)
		if size < 0 {
			return errShape
		}
		if err := visit(n, content); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// consumeBytes returns a field that holds bytes, and its size; negative if it is none.
func consumeBytes(b []byte) (n protowire.Number, content []byte, size int) {
	n, kind, size := protowire.ConsumeTag(b)
	if size < 0 || kind != protowire.BytesType {
		return n, nil, -1
	}
	content, length := protowire.ConsumeBytes(b[size:])
	if length < 0 {
		return n, nil, -1
	}
	return n, content, size + length
}
