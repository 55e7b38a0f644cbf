package process

import "syscall"

// dieWithParent has the kernel kill the server when this program dies without
// a chance to: a killed test run must not leave servers behind.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
