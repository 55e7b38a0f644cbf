// replay command

package cli
