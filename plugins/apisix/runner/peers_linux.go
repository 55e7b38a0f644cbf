package runner

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// peers knows who may connect. APISIX's workers run as another user than the
// runner where its master is root's, so the socket is open to every user; but
// a process that sends a configuration makes the runner read files for it.
type peers struct {
	uid uint32
	// master is the process of APISIX whose children the workers are, or 0
	// where APISIX did not start this runner and it is not known.
	master int
}

func newPeers(socket string) *peers {
	return &peers{uid: uint32(os.Geteuid()), master: master(socket)}
}

var managedSocket = regexp.MustCompile(`^apisix-([0-9]+)\.sock$`)

// master reads the process of APISIX off the name of the socket. It counts only
// if that process, or a child of it, has started this one: a runner in another
// container cannot see who connects.
func master(socket string) int {
	name := managedSocket.FindStringSubmatch(filepath.Base(socket))
	if name == nil {
		return 0
	}
	pid, err := strconv.Atoi(name[1])
	if err != nil {
		return 0
	}
	starter := os.Getppid()
	if grand, err := parent(starter); starter == pid || err == nil && grand == pid {
		return pid
	}
	return 0
}

// check refuses a connection that is neither APISIX's nor of a user who could do as
// much without it.
func (p *peers) check(nc net.Conn) error {
	conn, ok := nc.(*net.UnixConn)
	if !ok || p.master == 0 {
		return nil
	}
	who, err := credentials(conn)
	if err != nil {
		return fmt.Errorf("cannot tell who connects: %w", err)
	}
	if who.Uid == 0 || who.Uid == p.uid {
		return nil
	}
	from, err := parent(int(who.Pid))
	if err != nil || from != p.master {
		return fmt.Errorf("process %d of user %d is no worker of APISIX", who.Pid, who.Uid)
	}
	return nil
}

func credentials(conn *net.UnixConn) (who *syscall.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) {
		who, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if failed != nil {
		return nil, failed
	}
	return who, err
}

// parent reads the parent of a process from /proc/PID/stat, in which the name
// of the program, in parentheses, may hold anything.
func parent(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/stat is cut", pid)
	}
	return strconv.Atoi(string(fields[1]))
}
