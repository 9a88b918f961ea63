// What programs in Java use: threads, locks, executors, an HTTP server and client, processes, files, mapped memory.
import com.sun.net.httpserver.HttpServer;
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.nio.file.attribute.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Main {
    public static void main(String[] arguments) throws Exception {
        threads();
        server();
        channels();
        processes();
        files();
        watching();
        System.out.println("arguments " + Arrays.toString(arguments));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(3);
    }

    static void threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(16);
        LongAdder total = new LongAdder();
        List<Future<Long>> futures = new ArrayList<>();
        for (int n = 0; n < 400; n++) {
            long job = n;
            futures.add(pool.submit(() -> { total.add(job); return LongStream.rangeClosed(0, job * 100).sum(); }));
        }
        long sum = 0;
        for (Future<Long> future : futures) sum += future.get();
        System.out.println("pool " + sum + " " + total.sum());
        pool.shutdown();
        System.out.println(pool.awaitTermination(10, TimeUnit.SECONDS));

        Object lock = new Object();
        int[] turn = {0};
        StringBuffer order = new StringBuffer();
        List<Thread> ring = new ArrayList<>();
        for (int n = 0; n < 8; n++) {
            int mine = n;
            Thread thread = new Thread(() -> {
                for (int round = 0; round < 50; round++) {
                    synchronized (lock) {
                        while (turn[0] % 8 != mine) {
                            try { lock.wait(); } catch (InterruptedException e) { return; }
                        }
                        if (round == 0) order.append(mine);
                        turn[0]++;
                        lock.notifyAll();
                    }
                }
            }, "ring-" + n);
            ring.add(thread);
            thread.start();
        }
        for (Thread thread : ring) thread.join();
        System.out.println("ring " + order + " " + turn[0]);

        CyclicBarrier barrier = new CyclicBarrier(6);
        AtomicInteger met = new AtomicInteger();
        Thread[] meeting = new Thread[6];
        for (int n = 0; n < 6; n++) {
            meeting[n] = new Thread(() -> { try { for (int i = 0; i < 100; i++) { barrier.await(); met.incrementAndGet(); } } catch (Exception e) { e.printStackTrace(); } });
            meeting[n].start();
        }
        for (Thread thread : meeting) thread.join();
        System.out.println("barrier " + met);
        Thread sleeper = new Thread(() -> { try { Thread.sleep(60_000); } catch (InterruptedException e) { System.out.println("interrupted"); } });
        sleeper.start();
        sleeper.interrupt();
        sleeper.join();
        System.out.println("parallel " + IntStream.range(0, 100_000).parallel().filter(n -> n % 7 == 0).count());
        // The collector stops all threads by protecting a page; a null is found by SIGSEGV.
        List<byte[]> kept = new ArrayList<>();
        for (int n = 0; n < 2000; n++) { byte[] some = new byte[10_000]; if (n % 100 == 0) kept.add(some); }
        System.gc();
        System.out.println("kept " + kept.size());
        try { Object nothing = kept.size() > 1000 ? "" : null; System.out.println(nothing.toString()); } catch (NullPointerException e) { System.out.println("null"); }
        try { deeper(0); } catch (StackOverflowError e) { System.out.println("too deep"); }
        Timer timer = new Timer(true);
        CountDownLatch ticks = new CountDownLatch(10);
        timer.scheduleAtFixedRate(new TimerTask() { public void run() { ticks.countDown(); } }, 0, 2);
        System.out.println("ticks " + ticks.await(10, TimeUnit.SECONDS));
    }

    static int deeper(int depth) { return deeper(depth + 1) + 1; }

    static void server() throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        ExecutorService executor = Executors.newFixedThreadPool(4);
        server.setExecutor(executor);
        server.createContext("/echo", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/echo");
        HttpClient client = HttpClient.newBuilder().executor(executor).build();
        List<CompletableFuture<Boolean>> answers = new ArrayList<>();
        for (int n = 0; n < 60; n++) {
            String body = "text ".repeat(n * 40 + 1);
            answers.add(client.sendAsync(HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofString(body)).build(), HttpResponse.BodyHandlers.ofString())
                .thenApply(answer -> answer.statusCode() == 200 && answer.body().equals(body)));
        }
        int good = 0;
        for (CompletableFuture<Boolean> answer : answers) if (answer.get(30, TimeUnit.SECONDS)) good++;
        System.out.println("echoed " + good);
        HttpURLConnection old = (HttpURLConnection) uri.toURL().openConnection();
        old.setDoOutput(true);
        old.getOutputStream().write("old".getBytes());
        System.out.println(old.getResponseCode() + " " + new String(old.getInputStream().readAllBytes()));
        server.stop(0);
        executor.shutdownNow();
        try { new Socket(InetAddress.getLoopbackAddress(), uri.getPort()).close(); System.out.println("connected"); } catch (ConnectException e) { System.out.println(e.getMessage()); }
        try (ServerSocket quiet = new ServerSocket(0, 1, InetAddress.getLoopbackAddress()); Socket impatient = new Socket(quiet.getInetAddress(), quiet.getLocalPort())) {
            impatient.setSoTimeout(20);
            try { impatient.getInputStream().read(); } catch (SocketTimeoutException e) { System.out.println("timed out"); }
        }
        System.out.println(NetworkInterface.networkInterfaces().anyMatch(one -> { try { return one.isLoopback(); } catch (SocketException e) { return false; } }));
    }

    static void channels() throws Exception {
        // A selector over several connections, closed from another thread while somebody reads.
        try (Selector selector = Selector.open(); ServerSocketChannel server = ServerSocketChannel.open()) {
            server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0)).configureBlocking(false);
            server.register(selector, SelectionKey.OP_ACCEPT);
            List<SocketChannel> clients = new ArrayList<>();
            for (int n = 0; n < 10; n++) {
                SocketChannel client = SocketChannel.open(server.getLocalAddress());
                client.write(ByteBuffer.wrap(new byte[] {(byte) n}));
                clients.add(client);
            }
            int accepted = 0, sum = 0, read = 0;
            while (read < 10) {
                selector.select(5000);
                for (Iterator<SelectionKey> keys = selector.selectedKeys().iterator(); keys.hasNext(); keys.remove()) {
                    SelectionKey key = keys.next();
                    if (!key.isValid()) continue;
                    if (key.isAcceptable()) {
                        for (SocketChannel one; (one = server.accept()) != null; accepted++) one.configureBlocking(false).register(selector, SelectionKey.OP_READ);
                    } else {
                        ByteBuffer one = ByteBuffer.allocate(1);
                        if (((SocketChannel) key.channel()).read(one) == 1) { sum += one.get(0); read++; }
                    }
                }
            }
            System.out.println("selected " + accepted + " " + sum);
            SocketChannel blocked = clients.get(0);
            Thread closer = new Thread(() -> { try { Thread.sleep(50); blocked.close(); } catch (Exception e) { e.printStackTrace(); } });
            closer.start();
            try { blocked.read(ByteBuffer.allocate(1)); } catch (AsynchronousCloseException e) { System.out.println("closed meanwhile"); }
            closer.join();
            for (SocketChannel client : clients) client.close();
        }
        Path name = Path.of("java.sock");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(name));
            try (SocketChannel client = SocketChannel.open(UnixDomainSocketAddress.of(name)); SocketChannel peer = server.accept()) {
                client.write(ByteBuffer.wrap("unix".getBytes()));
                ByteBuffer got = ByteBuffer.allocate(9);
                peer.read(got);
                System.out.println(new String(got.array(), 0, got.position()));
            }
        }
        Files.delete(name);
        Pipe pipe = Pipe.open();
        pipe.sink().write(ByteBuffer.wrap(new byte[100]));
        System.out.println("pipe " + pipe.source().read(ByteBuffer.allocate(200)));
        DatagramChannel datagrams = DatagramChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        datagrams.send(ByteBuffer.wrap("datagram".getBytes()), datagrams.getLocalAddress());
        ByteBuffer got = ByteBuffer.allocate(20);
        System.out.println(datagrams.receive(got).equals(datagrams.getLocalAddress()) + " " + got.position());
        datagrams.close();
    }

    static void processes() throws Exception {
        Process shell = new ProcessBuilder("sh", "-c", "echo out; echo err >&2; pwd; exit 4").directory(new File("/")).redirectErrorStream(true).start();
        System.out.println(new String(shell.getInputStream().readAllBytes()).replace('\n', ' ') + shell.waitFor());
        Process cat = new ProcessBuilder("cat").start();
        try (OutputStream in = cat.getOutputStream()) { in.write(new byte[50_000]); }
        System.out.println(cat.getInputStream().readAllBytes().length + " " + cat.waitFor());
        Process sleep = new ProcessBuilder("sleep", "30").start();
        System.out.println(sleep.waitFor(50, TimeUnit.MILLISECONDS) + " " + sleep.isAlive() + " " + sleep.toHandle().parent().equals(Optional.of(ProcessHandle.current())));
        sleep.destroy();
        System.out.println(sleep.waitFor() + " " + sleep.onExit().get().exitValue());
        try { new ProcessBuilder("/no/such").start(); } catch (IOException e) { System.out.println(e.getMessage()); }
        List<Process> many = new ArrayList<>();
        for (int n = 0; n < 10; n++) many.add(new ProcessBuilder("sh", "-c", "exit " + n).start());
        List<Integer> codes = new ArrayList<>();
        for (Process one : many) codes.add(one.waitFor());
        System.out.println(codes);
        List<Process> line = ProcessBuilder.startPipeline(List.of(new ProcessBuilder("seq", "1000"), new ProcessBuilder("tail", "-n", "1")));
        System.out.println(new String(line.get(1).getInputStream().readAllBytes()).trim());
        new ProcessBuilder("sh", "-c", "echo to a file; echo $A").redirectOutput(new File("redirected")).start().waitFor();
        System.out.println(Files.size(Path.of("redirected")) + " " + ProcessHandle.current().info().command().map(command -> command.endsWith("java")).orElse(false));
    }

    static void files() throws Exception {
        Path directory = Files.createDirectories(Path.of("a/b/c"));
        for (int n = 0; n < 30; n++) Files.writeString(directory.resolve("f" + n), "content " + n);
        try (Stream<Path> walk = Files.walk(Path.of("a"))) { System.out.println("walked " + walk.count()); }
        Files.move(directory.resolve("f0"), Path.of("a/moved"), StandardCopyOption.ATOMIC_MOVE);
        Files.copy(Path.of("a/moved"), Path.of("a/copied"), StandardCopyOption.COPY_ATTRIBUTES);
        Files.createSymbolicLink(Path.of("a/link"), Path.of("moved"));
        Files.setPosixFilePermissions(Path.of("a/copied"), PosixFilePermissions.fromString("rw-r-----"));
        Files.setLastModifiedTime(Path.of("a/copied"), FileTime.fromMillis(5000));
        System.out.println(Files.readString(Path.of("a/link")) + " " + Files.isSameFile(Path.of("a/link"), Path.of("a/moved")) + " " + PosixFilePermissions.toString(Files.getPosixFilePermissions(Path.of("a/copied"))) + " " + Files.getLastModifiedTime(Path.of("a/copied")));
        for (Callable<?> failing : List.<Callable<?>>of(() -> Files.readString(Path.of("none")), () -> { Files.delete(Path.of("a")); return null; }, () -> Files.createDirectory(Path.of("a")), () -> Files.readString(Path.of("a/moved/x")))) {
            try { System.out.println(failing.call()); } catch (IOException e) { System.out.println(e.getClass().getSimpleName() + " " + e.getMessage()); }
        }
        try (FileChannel channel = FileChannel.open(Path.of("mapped"), StandardOpenOption.READ, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW); FileLock lock = channel.tryLock()) {
            MappedByteBuffer mapped = channel.map(FileChannel.MapMode.READ_WRITE, 0, 1 << 20);
            mapped.put(1000, (byte) 42);
            mapped.force();
            ByteBuffer one = ByteBuffer.allocate(1);
            channel.read(one, 1000);
            System.out.println(lock.isValid() + " " + one.get(0) + " " + channel.size());
            try (FileChannel out = FileChannel.open(Path.of("sent"), StandardOpenOption.WRITE, StandardOpenOption.CREATE)) { System.out.println(channel.transferTo(0, 5000, out)); }
        }
        try (RandomAccessFile file = new RandomAccessFile("random", "rw")) { file.seek(100); file.writeLong(7); file.seek(100); System.out.println(file.readLong() + " " + file.length()); file.setLength(3); }
        Path temporary = Files.createTempFile("java", ".tmp");
        Files.delete(temporary);
        System.out.println(Files.exists(temporary) + " " + (Runtime.getRuntime().availableProcessors() > 0) + " " + System.getProperty("user.dir").equals(Path.of("").toRealPath().toString()));
    }

    static void watching() throws Exception {
        try (WatchService watch = FileSystems.getDefault().newWatchService()) {
            Path.of("a").register(watch, StandardWatchEventKinds.ENTRY_CREATE, StandardWatchEventKinds.ENTRY_DELETE);
            Files.writeString(Path.of("a/new"), "");
            Files.delete(Path.of("a/new"));
            List<String> seen = new ArrayList<>();
            while (seen.size() < 2) {
                WatchKey key = watch.poll(10, TimeUnit.SECONDS);
                if (key == null) break;
                for (WatchEvent<?> event : key.pollEvents()) seen.add(event.kind() + " " + event.context());
                key.reset();
            }
            System.out.println(seen);
        }
    }
}
