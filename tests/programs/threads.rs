//! A program of several threads: channels, locks, barriers, loopback sockets, child processes, files.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, io, panic, thread};

fn main() -> io::Result<()> {
    let (send, receive) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(8));
    let map = Arc::new(RwLock::new(BTreeMap::new()));
    let workers: Vec<_> = (0..8u64)
        .map(|n| {
            let (send, barrier, map) = (send.clone(), barrier.clone(), map.clone());
            thread::Builder::new().name(format!("worker-{n}")).spawn(move || {
                barrier.wait();
                let sum: u64 = (0..=n * 1000).sum();
                map.write().unwrap().insert(n, sum);
                fs::write(format!("worker.{n}"), format!("{sum}\n")).unwrap();
                send.send(n).unwrap();
                thread::current().name().map(str::to_owned)
            })
        })
        .collect::<Result<_, _>>()?;
    drop(send);
    let mut order: Vec<u64> = receive.iter().collect();
    order.sort_unstable();
    println!("{order:?} {:?}", map.read().unwrap());
    for worker in workers {
        print!("{} ", worker.join().unwrap().unwrap());
    }
    println!();

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || -> io::Result<usize> {
        let mut total = 0;
        for stream in listener.incoming().take(4) {
            let mut stream = stream?;
            let mut text = String::new();
            BufReader::new(stream.try_clone()?).read_line(&mut text)?;
            total += text.len();
            stream.write_all(text.to_uppercase().as_bytes())?;
        }
        Ok(total)
    });
    let clients: Vec<_> = (0..4)
        .map(|n| {
            thread::spawn(move || -> io::Result<String> {
                let mut stream = TcpStream::connect(address)?;
                writeln!(stream, "client {n}")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            })
        })
        .collect();
    for client in clients {
        print!("{}", client.join().unwrap()?);
    }
    println!("server {}", server.join().unwrap()?);
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.set_read_timeout(Some(Duration::from_millis(50)))?;
    udp.send_to(b"datagram", udp.local_addr()?)?;
    let mut buffer = [0; 32];
    let (count, _) = udp.recv_from(&mut buffer)?;
    println!("udp {}", String::from_utf8_lossy(&buffer[..count]));
    println!("then {:?}", udp.recv(&mut buffer).unwrap_err().kind());
    let (mut left, mut right) = UnixStream::pair()?;
    let echo = thread::spawn(move || io::copy(&mut right.try_clone().unwrap(), &mut right));
    left.write_all(&[7; 100_000][..1000])?;
    left.shutdown(std::net::Shutdown::Write)?;
    let mut back = Vec::new();
    left.read_to_end(&mut back)?;
    println!("echo {} {}", back.len(), echo.join().unwrap()?);

    let children: Vec<_> = (0..6)
        .map(|n| thread::spawn(move || Command::new("sh").args(["-c", &format!("read x; echo \"$x\"; exit {n}")]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().and_then(|mut child| {
            child.stdin.take().unwrap().write_all(format!("child {n}\n").as_bytes())?;
            child.wait_with_output()
        })))
        .collect();
    for child in children {
        let output = child.join().unwrap()?;
        print!("{}{:?} ", String::from_utf8_lossy(&output.stdout), output.status.code());
    }
    println!("{:?}", Command::new("/no/such").spawn().unwrap_err().kind());

    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let waker = pair.clone();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| { counted.fetch_add(1, Ordering::Relaxed); *waker.0.lock().unwrap() += 1; waker.1.notify_one(); }));
        }
        let mut seen = pair.0.lock().unwrap();
        while *seen < 4000 {
            seen = pair.1.wait(seen).unwrap();
        }
    });
    let before = Instant::now();
    let (_guard, late) = pair.1.wait_timeout_while(pair.0.lock().unwrap(), Duration::from_millis(30), |_| true).unwrap();
    println!("counted {} timed out {} {}", count.load(Ordering::Relaxed), late.timed_out(), before.elapsed() >= Duration::from_millis(30));
    panic::set_hook(Box::new(|info| println!("panic: {}", info.payload().downcast_ref::<&str>().unwrap_or(&"?"))));
    println!("joined a panic: {}", thread::spawn(|| panic!("on purpose")).join().is_err());

    let mut file = fs::OpenOptions::new().read(true).write(true).create_new(true).open("data")?;
    file.write_all(&[b'x'; 10_000])?;
    file.seek(SeekFrom::Start(5_000))?;
    file.set_len(5_004)?;
    let mut rest = String::new();
    file.read_to_string(&mut rest)?;
    let mut names: Vec<_> = fs::read_dir(".")?.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    println!("{rest} {} {names:?} {}", file.metadata()?.len(), env::current_exe()?.file_name().unwrap().display());
    fs::rename("data", "renamed")?;
    println!("{:?} {}", fs::metadata("data").unwrap_err().kind(), thread::available_parallelism()? >= std::num::NonZero::<usize>::MIN);
    Ok(())
}
