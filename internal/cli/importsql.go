// import sql command

package cli
