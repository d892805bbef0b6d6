// An HTTPS server that answers with the port of its client, a moment later.
package main

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, port, _ := net.SplitHostPort(r.RemoteAddr)
		time.Sleep(10 * time.Millisecond)
		fmt.Fprintf(w, "client port %s.", port)
	})
	panic(http.ServeTLS(listener, handler, "cert.pem", "key.pem"))
}
