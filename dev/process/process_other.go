//go:build !linux

package process

import "syscall"

// dieWithParent has no equivalent here: a killed program leaves its servers.
func dieWithParent(*syscall.SysProcAttr) {}
