// What programs in Go use: goroutines and timers, os/exec, signals, net/http to itself, files.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	goroutines()
	commands()
	signals()
	server()
	sockets()
	files()
	fmt.Println("done")
}

func goroutines() {
	var group sync.WaitGroup
	var total int64
	work, results := make(chan int), make(chan int, 16)
	for n := 0; n < 8; n++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for job := range work {
				// Threads of their own, so that the runtime must start some.
				runtime.LockOSThread()
				atomic.AddInt64(&total, int64(job))
				runtime.UnlockOSThread()
				results <- job * job
			}
		}()
	}
	go func() {
		for job := 0; job < 2000; job++ {
			work <- job
		}
		close(work)
		group.Wait()
		close(results)
	}()
	sum := 0
	for result := range results {
		sum += result
	}
	fmt.Println("goroutines", sum, total)

	// 10,000 that all sleep; then a chain of them.
	var slept sync.WaitGroup
	for n := 0; n < 10000; n++ {
		slept.Add(1)
		go func() { defer slept.Done(); time.Sleep(5 * time.Millisecond) }()
	}
	slept.Wait()
	first := make(chan int)
	last := first
	for n := 0; n < 1000; n++ {
		next := make(chan int)
		go func(in, out chan int) { out <- 1 + <-in }(last, next)
		last = next
	}
	first <- 0
	fmt.Println("chain", <-last)

	ticker, after := time.NewTicker(2*time.Millisecond), time.After(2*time.Second)
	ticks := 0
	for ticks < 20 {
		select {
		case <-ticker.C:
			ticks++
		case <-after:
			fmt.Println("too slow")
			return
		}
	}
	runtime.GC()
	// A loop without calls is preempted by a signal.
	spinning := make(chan bool)
	var stop int32
	for n := 0; n < runtime.GOMAXPROCS(0)+1; n++ {
		go func() {
			for atomic.LoadInt32(&stop) == 0 {
			}
			spinning <- true
		}()
	}
	time.Sleep(10 * time.Millisecond)
	atomic.StoreInt32(&stop, 1)
	for n := 0; n < runtime.GOMAXPROCS(0)+1; n++ {
		<-spinning
	}
	fmt.Println("ticks", ticks)
}

func commands() {
	out, err := exec.Command("sh", "-c", "echo out; echo err >&2; exit 3").CombinedOutput()
	fmt.Printf("%q %v\n", out, err)
	cat := exec.Command("cat")
	cat.Stdin = strings.NewReader(strings.Repeat("x", 300000))
	out, err = cat.Output()
	fmt.Println(len(out), err)
	_, err = exec.LookPath("no-such-program")
	fmt.Println(err, exec.Command("/no/such").Run())
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(exec.CommandContext(ctx, "sleep", "20").Run())
	var all sync.WaitGroup
	codes := make([]int, 24)
	for n := range codes {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			var failed *exec.ExitError
			if errors.As(exec.Command("sh", "-c", fmt.Sprintf("exit %d", n)).Run(), &failed) {
				codes[n] = failed.ExitCode()
			}
		}(n)
	}
	all.Wait()
	fmt.Println(codes)
	reader, writer, err := os.Pipe()
	check(err)
	extra := exec.Command("sh", "-c", "echo extra >&3; pwd; echo $A")
	extra.ExtraFiles, extra.Dir, extra.Env = []*os.File{writer}, "/", []string{"A=b"}
	extra.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err = extra.Output()
	writer.Close()
	line, _ := io.ReadAll(reader)
	fmt.Printf("%q %q %v\n", out, line, err)
	process, err := os.StartProcess("/bin/sleep", []string{"sleep", "30"}, &os.ProcAttr{})
	check(err)
	check(process.Signal(syscall.SIGTERM))
	state, err := process.Wait()
	fmt.Println(state, err, state.Sys().(syscall.WaitStatus).Signal(), process.Signal(syscall.Signal(0)))
}

func signals() {
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGUSR1, syscall.SIGHUP)
	check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	fmt.Println(<-got)
	check(exec.Command("sh", "-c", "kill -HUP $PPID").Run())
	fmt.Println(<-got)
	signal.Ignore(syscall.SIGHUP)
	check(syscall.Kill(os.Getpid(), syscall.SIGHUP))
	func() {
		defer func() { fmt.Println("recovered", recover()) }()
		var nothing *[10]int
		fmt.Println(nothing[3])
	}()
}

func server() {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			w.Write(body)
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir("."))))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := &http.Server{Handler: mux}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	url := "http://" + listener.Addr().String()
	check(os.WriteFile("served", bytes.Repeat([]byte("by sendfile\n"), 20000), 0o644))
	var group sync.WaitGroup
	var good int32
	for n := 0; n < 16; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for i := 0; i < 20; i++ {
				body := strings.Repeat(fmt.Sprint(n, " "), 500*i)
				answer, err := http.Post(url+"/echo", "text/plain", strings.NewReader(body))
				if err != nil {
					fmt.Println(err)
					return
				}
				back, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err == nil && string(back) == body {
					atomic.AddInt32(&good, 1)
				}
			}
		}(n)
	}
	group.Wait()
	fmt.Println("echoed", good)
	answer, err := http.Get(url + "/files/served")
	check(err)
	size, err := io.Copy(io.Discard, answer.Body)
	fmt.Println(answer.Status, size, err, answer.Header.Get("Content-Length"))
	impatient := http.Client{Timeout: 50 * time.Millisecond}
	_, err = impatient.Get(url + "/slow")
	var timeout net.Error
	fmt.Println(errors.As(err, &timeout) && timeout.Timeout())
	check(server.Shutdown(context.Background()))
	fmt.Println(<-served)
	_, err = http.Get(url)
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED))
}

func sockets() {
	listener, err := net.Listen("unix", "echo.sock")
	check(err)
	go func() {
		for {
			accepted, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(accepted, accepted); accepted.Close() }()
		}
	}()
	conn, err := net.Dial("unix", "echo.sock")
	check(err)
	fmt.Fprintln(conn, "through a Unix socket")
	line, err := bufio.NewReader(conn).ReadString('\n')
	fmt.Printf("%q %v %v\n", line, err, conn.RemoteAddr())
	check(conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	listener.Close()
	_, err = os.Stat("echo.sock")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(err)
	_, err = packets.WriteTo([]byte("datagram"), packets.LocalAddr())
	check(err)
	buffer := make([]byte, 99)
	n, from, err := packets.ReadFrom(buffer)
	fmt.Println(string(buffer[:n]), from.String() == packets.LocalAddr().String(), err)
	interfaces, err := net.Interfaces()
	check(err)
	loopback := 0
	for _, one := range interfaces {
		if one.Flags&net.FlagLoopback != 0 {
			addresses, err := one.Addrs()
			check(err)
			loopback += len(addresses)
		}
	}
	fmt.Println("loopback", loopback > 0)
	ips, err := net.LookupHost("localhost")
	fmt.Println(len(ips) > 0, err)
}

func files() {
	check(os.MkdirAll("a/b/c", 0o755))
	for n := 0; n < 50; n++ {
		check(os.WriteFile(fmt.Sprintf("a/b/%02d", n), []byte(fmt.Sprint(n)), 0o600))
	}
	check(os.Rename("a/b/00", "a/zero"))
	check(os.Symlink("zero", "a/link"))
	var names []string
	check(filepath.WalkDir("a", func(path string, entry fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	sort.Strings(names)
	fmt.Println(len(names), names[:3])
	info, err := os.Lstat("a/link")
	check(err)
	fmt.Println(info.Mode(), info.Size())
	_, err = os.Stat("a/none")
	fmt.Println(err, os.Remove("a"), os.Mkdir("a", 0o755))
	file, err := os.OpenFile("data", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	check(err)
	_, err = file.WriteAt([]byte("hole"), 1<<20)
	check(err)
	mapped, err := syscall.Mmap(int(file.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	check(err)
	copy(mapped, "mapped")
	check(syscall.Munmap(mapped))
	head := make([]byte, 6)
	_, err = file.ReadAt(head, 0)
	fmt.Println(string(head), err, syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	check(file.Truncate(3))
	check(file.Sync())
	check(file.Close())
	fmt.Println(file.Close())
	temporary, err := os.MkdirTemp("", "go-")
	check(err)
	check(os.RemoveAll(temporary))
	check(os.Chmod("data", 0o640))
	check(os.Chtimes("data", time.Unix(1, 0), time.Unix(2, 0)))
	check(os.Chdir("a"))
	here, err := os.Getwd()
	fmt.Println(filepath.Base(here), err)
	executable, err := os.Executable()
	fmt.Println(filepath.Base(executable), err)
	fmt.Println(runtime.NumCPU() > 0, os.Getppid() > 0, len(os.Environ()) > 0)
}
