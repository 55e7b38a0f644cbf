package main

import (
	"fmt"
	"io"
	"os"

	"gatehouse/plugins/kong/pluginserver"
)

// readBody requests the body, which is one further exchange, and reads at most limit
// bytes of it. Kong has put a large one into a file, of whatever size.
func readBody(k pluginserver.Kong, limit int) ([]byte, error) {
	content, file, err := pluginserver.RawBody(k)
	switch {
	case err != nil:
		return nil, fmt.Errorf("Kong cannot hand over the body: %w", err)
	case file != "":
		return readFile(file, limit)
	}
	return content, nil // or nothing: Kong leaves out what is empty
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
