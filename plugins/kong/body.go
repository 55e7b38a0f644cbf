package main

import (
	"fmt"
	"io"
	"os"

	"github.com/Kong/go-pdk"
	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
)

// readBody requests the body, which is one further exchange, and reads at most limit
// bytes of it. The PDK's own GetRawBody would read a body of any size that Kong has
// put into a file.
func readBody(k *pdk.PDK, limit int) ([]byte, error) {
	var result pb.RawBodyResult
	if err := k.Request.Ask("kong.request.get_raw_body", nil, &result); err != nil {
		return nil, fmt.Errorf("Kong cannot hand over the body: %w", err)
	}
	return content(&result, limit)
}

func content(result *pb.RawBodyResult, limit int) ([]byte, error) {
	switch kind := result.Kind.(type) {
	case *pb.RawBodyResult_Content:
		return kind.Content, nil
	case *pb.RawBodyResult_BodyFilepath:
		return readFile(kind.BodyFilepath, limit)
	case *pb.RawBodyResult_Error:
		return nil, fmt.Errorf("Kong cannot read the body: %s", kind.Error)
	}
	return nil, nil // an empty body: Kong leaves out what is empty
}

// readFile reads what did not fit into client_body_buffer_size.
func readFile(path string, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the file in which Kong keeps the body: %w", err)
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, int64(limit)+1))
}
