// Gets each URL, or talks with each echo server.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const patience = 15 * time.Second

func main() {
	does := map[string]func(string) (string, error){"get": get, "dial": dial}[os.Args[1]]
	for _, to := range os.Args[2:] {
		line, err := does(to)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(line)
	}
}

func get(url string) (string, error) {
	client := http.Client{Timeout: patience}
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return fmt.Sprintf("%s %d %x", answer.Status, len(body), sha256.Sum256(body)), err
}

func dial(to string) (string, error) {
	conn, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	data := bytes.Repeat([]byte("0123456789"), 20000)
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(data)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	back, err := io.ReadAll(conn)
	if err == nil {
		err = <-sent
	}
	port := conn.RemoteAddr().(*net.TCPAddr).Port
	return fmt.Sprintf("peer port %d, %d bytes, the same: %t", port, len(back), bytes.Equal(back, data)), err
}
