// An HTTPS server and a client of Go's: net/http, which speaks HTTP/2 where it may.
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func serve() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, port, _ := net.SplitHostPort(r.RemoteAddr)
		asked := must(io.ReadAll(r.Body))
		w.WriteHeader(203)
		fmt.Fprintf(w, "%s %s from %s: %s", r.Method, r.URL.Path, port, asked)
	})
	panic(http.ServeTLS(listener, handler, "cert.pem", "key.pem"))
}

var trusting = &tls.Config{InsecureSkipVerify: true}

func talk(conn *tls.Conn, n int, half string) {
	path, asked := fmt.Sprintf("/many/%d-%s", n, half), strings.Repeat(fmt.Sprintf("<%d%s>", n, half), 1+n%50)
	_, own, _ := net.SplitHostPort(conn.LocalAddr().String())
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nX-Port: %s\r\nContent-Length: %d\r\n\r\n%s", path, own, len(asked), asked)
	response := must(http.ReadResponse(bufio.NewReader(conn), nil))
	body := must(io.ReadAll(response.Body))
	if string(body) != fmt.Sprintf("POST %s from %s: %s", path, own, asked) {
		panic(string(body))
	}
}

func each(count int, do func(int)) {
	var all sync.WaitGroup
	for n := 0; n < count; n++ {
		all.Add(1)
		go func(n int) { defer all.Done(); do(n) }(n)
	}
	all.Wait()
}

func many(address string, count int) {
	conns := make([]*tls.Conn, count)
	each(count, func(n int) { conns[n] = must(tls.Dial("tcp", address, trusting)) })
	for _, half := range []string{"a", "b"} {
		each(count, func(n int) { talk(conns[n], n, half) })
	}
	each(count, func(n int) { conns[n].Close() })
}

func ask(address string) {
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting.Clone(), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	two := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting.Clone(), ForceAttemptHTTP2: true}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if words[0] == "many" {
			many(address, must(strconv.Atoi(words[1])))
			fmt.Println("done")
			continue
		}
		client := one
		if words[0] == "2" {
			client = two
		}
		response := must(client.Post("https://"+address+words[1], "text/plain", strings.NewReader(words[2])))
		body := must(io.ReadAll(response.Body))
		response.Body.Close()
		fmt.Println(response.StatusCode, string(body))
	}
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	} else {
		ask("127.0.0.1:" + os.Args[2])
	}
}
