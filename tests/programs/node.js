// What servers and tools in node use: an http server and its clients, workers, fs.watch, child processes, streams.
'use strict';
const assert = require('assert');
const child = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const { once } = require('events');
const { pipeline } = require('stream/promises');
const { text } = require('stream/consumers');
const { setTimeout: sleep } = require('timers/promises');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const sha = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 12);

if (!isMainThread) return worker();
if (process.argv[2] === 'child') return forked();
main().then(() => console.log('done'), (error) => { console.log('failed', error); process.exitCode = 1; });

async function main() {
  await servers();
  await workers();
  await watching();
  await children();
  await files();
}

function request(port, agent, options, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ port, host: '127.0.0.1', agent, ...options }, async (response) => {
      try {
        const parts = [];
        for await (const part of response) parts.push(part);
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) });
      } catch (error) { reject(error); }
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

async function servers() {
  const big = Buffer.alloc(300_000, 'abcdefg');
  const server = http.createServer((incoming, response) => {
    if (incoming.url === '/big') return response.end(big);
    if (incoming.url === '/stream') return fs.createReadStream(__filename).pipe(zlib.createGzip()).pipe(response);
    if (incoming.url === '/cut') return incoming.socket.destroy();
    incoming.pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port, address, family } = server.address();
  console.log('listening on', address, family, port > 0);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  const bodies = Array.from({ length: 150 }, (_, n) => Buffer.alloc(n * 97, `${n} `));
  const echoed = await Promise.all(bodies.map((body) => request(port, agent, { method: 'POST', path: '/echo' }, body)));
  console.log('echoed', echoed.filter((answer, n) => answer.status === 200 && answer.body.equals(bodies[n])).length);
  console.log('big', sha((await request(port, agent, { path: '/big' })).body) === sha(big));
  console.log('stream', sha(zlib.gunzipSync((await request(port, agent, { path: '/stream' })).body)) === sha(fs.readFileSync(__filename)));
  console.log('cut', await request(port, agent, { path: '/cut' }).catch((error) => error.code));
  agent.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  console.log('refused', await request(port, undefined, { path: '/' }).catch((error) => error.code));

  const local = net.createServer((socket) => socket.pipe(socket));
  local.listen('echo.sock');
  await once(local, 'listening');
  const socket = net.connect('echo.sock');
  socket.end('through a Unix socket');
  console.log(await text(socket), fs.statSync('echo.sock').isSocket());
  local.close();
  await once(local, 'close');
  console.log('removed', !fs.existsSync('echo.sock'));
  const taken = net.createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const second = net.createServer().listen(taken.address().port, '127.0.0.1');
  console.log((await once(second, 'error'))[0].code);
  taken.close();
}

function worker() {
  const { shared, number } = workerData;
  const cells = new Int32Array(shared);
  for (let n = 0; n < 10_000; n++) Atomics.add(cells, 0, 1);
  // Sleeps on a futex until the main thread says that all are there.
  parentPort.postMessage({ number, ready: true });
  Atomics.wait(cells, 1, 0);
  parentPort.on('message', (word) => {
    parentPort.postMessage({ number, hash: sha(word), key: crypto.pbkdf2Sync(word, 'salt', 1000, 8, 'sha1').toString('hex') });
    if (word === 'fail') throw new Error(`worker ${number} fails as it was told`);
    parentPort.close();
  });
}

async function workers() {
  const shared = new SharedArrayBuffer(8);
  const cells = new Int32Array(shared);
  const all = Array.from({ length: 4 }, (_, number) => new Worker(__filename, { workerData: { shared, number } }));
  await Promise.all(all.map((one) => once(one, 'message')));
  console.log('counted', Atomics.load(cells, 0));
  Atomics.store(cells, 1, 1);
  console.log('woken', Atomics.notify(cells, 1) <= 4);
  const answers = await Promise.all(all.map(async (one, number) => {
    const failed = new Promise((resolve) => { one.once('error', (error) => resolve(error.message)); one.once('exit', () => resolve('well')); });
    // Not events.once: it would reject when the failure is heard of first.
    const answered = new Promise((resolve) => one.once('message', resolve));
    one.postMessage(number === 3 ? 'fail' : `word ${number}`);
    const answer = await answered;
    return [answer.number, answer.hash, answer.key, await failed];
  }));
  console.log(answers);
  const endless = new Worker('for (;;);', { eval: true });
  await once(endless, 'online');
  console.log('terminated', await endless.terminate());
}

async function watching() {
  fs.mkdirSync('watched');
  const seen = new Set();
  const watcher = fs.watch('watched', (event, name) => seen.add(`${event} ${name}`));
  const until = async (...events) => {
    for (let n = 0; n < 500 && !events.every((event) => seen.has(event)); n++) await sleep(10);
    console.log('seen', [...seen].sort());
    seen.clear();
  };
  fs.writeFileSync('watched/a', 'one');
  await until('rename a', 'change a');
  fs.renameSync('watched/a', 'watched/b');
  await until('rename a', 'rename b');
  fs.unlinkSync('watched/b');
  await until('rename b');
  watcher.close();
  const aborting = new AbortController();
  setTimeout(() => fs.writeFileSync('watched/c', 'two'), 20);
  for await (const event of fs.promises.watch('watched', { signal: aborting.signal })) {
    console.log(event);
    break;
  }
  console.log(await new Promise((resolve) => { try { fs.watch('no-such'); } catch (error) { resolve(error.code); } }));
}

function forked() {
  process.on('message', (message) => {
    if (message === 'bye') return process.disconnect();
    process.send({ back: message, argv: process.argv.slice(2), connected: process.connected });
  });
  process.on('SIGUSR2', () => process.send('a signal'));
  process.on('disconnect', () => process.exit(7));
  process.send('ready');
}

async function children() {
  console.log(child.execSync('echo "shell $((6 * 7))"', { encoding: 'utf8' }).trim());
  console.log(child.spawnSync('cat', { input: Buffer.alloc(200_000, 'x') }).stdout.length);
  const failing = child.spawnSync('sh', ['-c', 'echo error >&2; exit 3']);
  console.log(failing.status, String(failing.stderr).trim());
  console.log(child.spawnSync('/no/such').error.code, child.spawnSync('sleep', ['20'], { timeout: 100 }).signal);
  const tr = child.spawn('tr', ['a-z', 'A-Z'], { stdio: ['pipe', 'pipe', 'inherit'] });
  tr.stdin.end('streamed');
  console.log(await text(tr.stdout), await once(tr, 'close'));
  const killed = child.spawn('sleep', ['30'], { detached: true });
  await once(killed, 'spawn');
  killed.kill('SIGTERM');
  console.log(await once(killed, 'exit'));
  const many = await Promise.all(Array.from({ length: 12 }, (_, n) => once(child.spawn('sh', ['-c', `exit ${n}`]), 'exit')));
  console.log(many.map(([status]) => status));
  const fork = child.fork(__filename, ['child', 'argument'], { serialization: 'advanced' });
  console.log((await once(fork, 'message'))[0]);
  fork.send({ map: new Map([[1, 'one']]) });
  console.log((await once(fork, 'message'))[0]);
  fork.kill('SIGUSR2');
  console.log((await once(fork, 'message'))[0]);
  fork.send('bye');
  console.log(await once(fork, 'exit'));
  console.log(await new Promise((resolve) => child.exec('echo $A; cat', { env: { A: 'b', PATH: process.env.PATH } }, (error, out) => resolve([error, out])).stdin.end('in')));
}

async function files() {
  fs.writeFileSync('source', Buffer.alloc(1 << 20, 'source '));
  await pipeline(fs.createReadStream('source'), zlib.createGzip(), fs.createWriteStream('packed.gz'));
  await pipeline(fs.createReadStream('packed.gz'), zlib.createGunzip(), fs.createWriteStream('unpacked'));
  console.log('unpacked', sha(fs.readFileSync('unpacked')) === sha(fs.readFileSync('source')));
  fs.unlinkSync('packed.gz');
  await fs.promises.mkdir('deep/er/est', { recursive: true });
  await Promise.all(Array.from({ length: 100 }, (_, n) => fs.promises.writeFile(`deep/er/${n}`, `${n}\n`)));
  console.log((await fs.promises.readdir('deep', { recursive: true })).length);
  await fs.promises.cp('deep', 'copy', { recursive: true });
  await fs.promises.rm('deep', { recursive: true });
  fs.symlinkSync('copy/er/5', 'link');
  console.log(fs.readFileSync('link', 'utf8').trim(), fs.readlinkSync('link'), path.basename(fs.realpathSync('link')), fs.statSync('link').mode.toString(8));
  await fs.promises.copyFile('source', 'copied', fs.constants.COPYFILE_EXCL);
  console.log(await fs.promises.copyFile('source', 'copied', fs.constants.COPYFILE_EXCL).catch((error) => error.code));
  await fs.promises.utimes('copied', 1, 2);
  await fs.promises.truncate('copied', 10);
  const made = await fs.promises.mkdtemp(path.join(os.tmpdir(), 'node-'));
  await fs.promises.rmdir(made);
  for (const call of [() => fs.rmdirSync('copy'), () => fs.readFileSync('copy'), () => fs.accessSync('no-such'), () => fs.mkdirSync('copy'), () => fs.openSync('copied', 'wx')]) assert.throws(call, (error) => { console.log(error.code, error.syscall); return true; });
  console.log(os.cpus().length > 0, os.totalmem() > os.freemem(), os.uptime() > 0, Object.keys(os.networkInterfaces()).includes('lo'), process.memoryUsage().rss > 0, process.resourceUsage().maxRSS > 0);
  process.once('SIGTERM', () => console.log('its own signal'));
  process.kill(process.pid, 'SIGTERM');
  await sleep(20);
  process.stdout.write(`${(await require('dns').promises.lookup('localhost', 4)).address}\n`);
}
