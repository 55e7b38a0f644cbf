package cli

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/apisix"
)

func TestTakenAddressSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = apisix.Start(apisix.Options{
		Config: filepath.Join("..", "..", "deploy", "apisix", "examples", "jwt", "apisix.yaml"),
		Listen: taken.Addr().String(),
	})
	if err == nil {
		t.Fatal("a gateway listens where another does")
	}
	if got := elsewhere(err, "--apisix-listen").Error(); !strings.Contains(got, "choose another address with --apisix-listen") {
		t.Error(got)
	}
}
