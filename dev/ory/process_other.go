//go:build !linux

package ory

import "syscall"

// dieWithParent has no equivalent here: a killed program leaves its servers.
func dieWithParent(*syscall.SysProcAttr) {}
