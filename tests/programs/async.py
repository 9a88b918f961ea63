# asyncio: streams over TCP and a path socket, processes, signals, threads, time-outs, pipes.
import asyncio, os, signal, sys
async def main():
    async def echo(r, w):
        while line := await r.readline(): w.write(line.upper()); await w.drain()
        w.close()
    async def client(connect, n):
        r, w = await connect; out = []
        for k in range(20): w.write(f"c{n} line {k}\n".encode()); out.append(await r.readline())
        w.close(); return out[-1]
    tcp = await asyncio.start_server(echo, "127.0.0.1", 0); port = tcp.sockets[0].getsockname()[1]
    print(await asyncio.gather(*(client(asyncio.open_connection("127.0.0.1", port), n) for n in range(10))))
    unix = await asyncio.start_unix_server(echo, "sock"); print(await client(asyncio.open_unix_connection("sock"), 99)); print(os.path.exists("sock")); os.unlink("sock")
    for s in (tcp, unix): s.close()
    p = await asyncio.create_subprocess_exec("sort", "-n", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE); print((await p.communicate(b"3\n1\n2\n"))[0], p.returncode)
    ps = [await asyncio.create_subprocess_shell(f"exit {n}") for n in range(6)]; print(await asyncio.gather(*(p.wait() for p in ps)))
    p = await asyncio.create_subprocess_exec("sleep", "30"); p.terminate(); print(await p.wait())
    got = asyncio.Event(); asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set); os.kill(os.getpid(), signal.SIGUSR1); await asyncio.wait_for(got.wait(), 5); print("signal")
    try: await asyncio.wait_for(asyncio.sleep(20), .05)
    except asyncio.TimeoutError: print("timeout")
    print(await asyncio.to_thread(lambda: sum(range(1000)))); print(sum(await asyncio.gather(*(asyncio.sleep(.01, n) for n in range(200)))))
    try: await asyncio.open_unix_connection("no-such-socket")
    except FileNotFoundError as e: print(e.errno)
    r, w = os.pipe(); reader = asyncio.StreamReader(); await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r, "rb")); os.write(w, b"pipe"); os.close(w); print(await reader.read())
asyncio.run(main())
