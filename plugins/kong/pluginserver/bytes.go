package pluginserver

import (
	"errors"
	"fmt"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/bridge"
	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"gatehouse/core"
)

// The texts of the protocol are declared as strings, which Go's protobuf holds to
// UTF-8. What HTTP carries is bytes, and so is what Kong sends and takes. The calls
// of this file carry them as such: one cookie in Latin-1, of whatever site, must not
// keep the PDK from reading all headers.

const (
	varMethod     = "kong.nginx.get_var"
	headersMethod = "kong.request.get_headers"
)

// Var requests a variable of nginx; it is empty where Kong has none.
func Var(k *pdk.PDK, name string) (string, error) {
	var value pb.ByteString // the same on the wire as a String
	err := k.Request.Ask(varMethod, bridge.WrapString(name), &value)
	return string(value.V), err
}

// Headers requests the header lines, of which Kong hands over max at most.
func Headers(k *pdk.PDK, max int) ([]core.Header, error) {
	var list emptypb.Empty // keeps what it does not know as it is
	if err := k.Request.Ask(headersMethod, &pb.Int{V: int32(max)}, &list); err != nil {
		return nil, err
	}
	return decodeHeaders(list.ProtoReflect().GetUnknown())
}

// ReadCalls are the calls of RequestLine and then Headers.
func ReadCalls(max int) []Call {
	return []Call{newCall(varMethod, bridge.WrapString(lineVar)), newCall(headersMethod, &pb.Int{V: int32(max)})}
}

func newCall(method string, args proto.Message) Call {
	call, err := appendMessage(appendFrame(nil, []byte(method)), args)
	if err != nil { // texts and numbers of this program always encode
		panic(err)
	}
	return call
}

// SetHeaders replaces headers of the request to the upstream: all lines of each name,
// or removes them, where there are no values.
func SetHeaders(k *pdk.PDK, headers map[string][]string) error {
	return k.ServiceRequest.Ask("kong.service.request.set_headers", message(appendHeaders(nil, headers)), nil)
}

// SetRawQuery replaces the query of the request to the upstream.
func SetRawQuery(k *pdk.PDK, query string) error {
	return k.ServiceRequest.Ask("kong.service.request.set_raw_query", message(appendText(nil, 1, query)), nil)
}

// AddResponseHeader adds a line to the response that the client gets.
func AddResponseHeader(k *pdk.PDK, h core.Header) error {
	return k.Response.Ask("kong.response.add_header", message(appendEntry(nil, h.Name, appendText(nil, valueString, h.Value))), nil)
}

// Exit makes Kong respond to the client as decided. Kong leaves a response alone that has
// the headers of gRPC.
func Exit(k *pdk.PDK, d core.Decision) {
	header := make(map[string][]string, len(d.Header))
	for _, h := range d.Header {
		header[h.Name] = append(header[h.Name], h.Value)
	}
	args := protowire.AppendTag(nil, 1, protowire.VarintType)
	args = protowire.AppendVarint(args, uint64(d.ClientStatus()))
	if len(d.Body) > 0 {
		args = appendText(args, 2, d.Body)
	}
	args = appendText(args, 3, appendHeaders(nil, header))
	_ = k.Response.Ask(exitMethod, message(args), nil) // there is no response to it
}

// message is a message that is encoded already.
func message(encoded []byte) proto.Message {
	m := &emptypb.Empty{}
	m.ProtoReflect().SetUnknown(encoded)
	return m
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
		var list []byte
		for _, value := range values {
			list = appendText(list, 1, appendText(nil, valueString, value))
		}
		b = appendText(b, 1, appendEntry(nil, name, appendText(nil, valueList, list)))
	}
	return b
}

var errHeaderValue = errors.New("the value of a header is neither a text nor a list of texts")

// decodeHeaders reads a google.protobuf.Struct whose values are strings or lists of
// strings.
func decodeHeaders(b []byte) (lines []core.Header, err error) {
	err = eachField(b, func(_ protowire.Number, entry []byte) error {
		var name string
		var value []byte
		if err := eachField(entry, func(n protowire.Number, text []byte) error {
			if n == 1 {
				name = string(text)
			} else {
				value = text
			}
			return nil
		}); err != nil {
			return err
		}
		lines, err = appendLines(lines, name, value, true)
		return err
	})
	return lines, err
}

// appendLines appends a line for each string in a google.protobuf.Value. One without
// a field is the empty string: Kong's encoder may leave out what is empty.
func appendLines(lines []core.Header, name string, value []byte, mayBeList bool) ([]core.Header, error) {
	if len(value) == 0 {
		return append(lines, core.Header{Name: name}), nil
	}
	err := eachField(value, func(n protowire.Number, content []byte) (err error) {
		switch {
		case n == valueString:
			lines = append(lines, core.Header{Name: name, Value: string(content)})
		case n == valueList && mayBeList:
			err = eachField(content, func(_ protowire.Number, item []byte) error {
				lines, err = appendLines(lines, name, item, false)
				return err
			})
		default:
			err = fmt.Errorf("%w (field %d)", errHeaderValue, n)
		}
		return err
	})
	return lines, err
}

// eachField visits the fields of a message, all of which hold bytes.
func eachField(b []byte, visit func(n protowire.Number, content []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if kind != protowire.BytesType {
			return errHeaderValue
		}
		content, length := protowire.ConsumeBytes(b[size:])
		if length < 0 {
			return protowire.ParseError(length)
		}
		if err := visit(n, content); err != nil {
			return err
		}
		b = b[size+length:]
	}
	return nil
}
