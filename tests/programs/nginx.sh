# nginx with two workers and curl: files by sendfile and from threads, ranges, gzip, a proxy to itself, uploads, a Unix
# socket, reload, reopen, a new binary in the running server's place, and a graceful end.
port=$(free_port)
mkdir site site/sub uploads logs temp
chmod 777 uploads logs
echo '<h1>hello</h1>' >site/index.html
seq 30000 >site/big.txt
echo below >site/sub/a.txt
cat >nginx.conf <<END
worker_processes 2;
pid nginx.pid;
error_log logs/error.log notice;
events { worker_connections 256; }
http {
    types { text/html html; text/plain txt; }
    access_log logs/access.log;
    client_body_temp_path temp/body;
    proxy_temp_path temp/proxy;
    fastcgi_temp_path temp/fastcgi;
    uwsgi_temp_path temp/uwsgi;
    scgi_temp_path temp/scgi;
    gzip_types text/plain;
    root site;
    server {
        listen 127.0.0.1:$port;
        listen unix:$PWD/nginx.sock;
        location / { sendfile on; tcp_nopush on; open_file_cache max=10; }
        location /threads/ { alias site/; aio threads; directio 64k; }
        location /gzip/ { alias site/; gzip on; }
        location /list/ { alias site/; autoindex on; autoindex_exact_size off; }
        location /proxy/ { proxy_pass http://127.0.0.1:$port/; }
        location /unix/ { proxy_pass http://unix:$PWD/nginx.sock:/; proxy_buffering off; }
        location /uploads/ { root .; client_max_body_size 10m; dav_methods PUT DELETE; }
    }
}
END
nginx() { /usr/sbin/nginx -p "$PWD" -c nginx.conf -e logs/error.log "$@"; }
url=http://127.0.0.1:$port
get() { curl -sS --max-time 20 "$@"; }
trap '[ -e nginx.pid ] && kill "$(cat nginx.pid)"' EXIT

nginx -t 2>&1 | grep -c successful
nginx
echo "started: $?"
get "$url/"
for path in big.txt threads/big.txt gzip/big.txt proxy/big.txt unix/big.txt proxy/unix/threads/big.txt; do
    get --compressed "$url/$path" | cmp - site/big.txt && echo "$path"
done
get -I "$url/index.html" | grep -i '^HTTP\|^content-length\|^server'
get -r 10-19 "$url/big.txt" | od -An -c
get "$url/list/" | grep -o '>[a-z./]*<' | tr -d '<>'
get --unix-socket nginx.sock http://any/sub/a.txt
for path in none sub list; do get -w "$path %{http_code}\n" -o /dev/null "$url/$path"; done
get -T site/big.txt -w '%{http_code}\n' "$url/uploads/new.txt" -o /dev/null
cmp uploads/new.txt site/big.txt && echo uploaded
get -X DELETE -w '%{http_code}\n' "$url/uploads/new.txt"
ls uploads

requests() {
    local path
    for path in 'big.txt?[1-40]' 'threads/big.txt?[1-10]' 'gzip/big.txt?[1-4]' 'proxy/big.txt?[1-10]' '?[1-60]'; do
        printf 'url = "%s/%s"\noutput = /dev/null\n' "$url" "$path"
    done
}
requests >requests
round() {
    get -K requests -Z --parallel-max 24 -w '%{http_code} %{size_download}\n' 2>said | sort | uniq -c >answers
    cmp answers expected || cat answers said
}
printf '%7d 200 %d\n' 60 15 64 "$(wc -c <site/big.txt)" >expected
load round

was=$(cat nginx.pid)
sed -i 's/worker_processes 2/worker_processes 1/' nginx.conf
nginx -s reload
fewer() { [ "$(pgrep -c -P "$(cat nginx.pid)")" = 1 ]; }
wait_for fewer
get "$url/sub/a.txt"
mv logs/access.log logs/old.log
nginx -s reopen
wait_for test -e logs/access.log
get "$url/sub/a.txt"
kill -USR2 "$was"
wait_for test -e nginx.pid.oldbin
other() { [ -e nginx.pid ] && [ "$(cat nginx.pid)" != "$was" ]; }
wait_for other
kill -QUIT "$was"
left() { [ ! -e nginx.pid.oldbin ]; }
wait_for left
get "$url/sub/a.txt"
nginx -s quit
ended() { [ ! -e nginx.pid ]; }
wait_for ended
curl -sS "$url/" 2>/dev/null
echo "curl: $?"
grep -c 'sub/a.txt' logs/access.log
grep '\[\(error\|crit\|alert\|emerg\)\]' logs/error.log | sed 's/.*#[0-9]*: //; s/\*[0-9]* //; s/127.0.0.1:[0-9]*/HOST/; s|"/.*/site|"site|'
rm -r logs temp nginx.conf answers expected requests said
