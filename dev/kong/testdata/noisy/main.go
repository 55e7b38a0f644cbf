// Noisy writes a log line to standard output in front of its dump.
package main

import "fmt"

func main() {
	fmt.Println("starting")
	fmt.Println(`{"Protocol": "ProtoBuf:1", "Plugins": []}`)
}
