// Noprotocol dumps what older plugin libraries do: no protocol. Kong then
// speaks MsgPack:1, which fails open.
package main

import "fmt"

func main() {
	fmt.Println(`{"Plugins": [{"Name": "noprotocol", "Phases": ["access"], "Schema": {"name": "noprotocol", "fields": [{"config": {"type": "record", "fields": []}}]}}]}`)
}
