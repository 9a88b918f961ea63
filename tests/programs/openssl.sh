# openssl: keys and a chain of certificates, s_server and s_client with TLS 1.3 and 1.2, files by HTTPS, a resumed
# session, a client's certificate, a refused one, DTLS; s_time as the load.
export OPENSSL_CONF=/dev/null
port=$(free_port)
at=127.0.0.1:$port
quietly() { "$@" >said 2>&1 || { echo "failed: $*"; cat said; }; }
quietly openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj '/CN=An authority' -days 2
for who in server client; do
    quietly openssl ecparam -name prime256v1 -genkey -noout -out $who.key
    quietly openssl req -new -key $who.key -subj "/CN=$who.example" -out $who.csr
    quietly openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out $who.pem
    openssl verify -CAfile ca.pem $who.pem
done
openssl x509 -in client.pem -noout -subject -issuer
echo text >plain
openssl dgst -sha256 -sign server.key -out signature plain
openssl dgst -sha256 -verify <(openssl pkey -in server.key -pubout) -signature signature plain
openssl enc -aes-256-cbc -pbkdf2 -k word <plain | openssl enc -d -aes-256-cbc -pbkdf2 -k word
seq 100000 >big
server=
trap '[ -z "$server" ] || kill "$server"' EXIT
# s_server reads its input for commands until the end of it, where it ends itself: so it gets a pipe that stays open.
mkfifo commands
exec 7<>commands
listens() { (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }
serve() {
    openssl s_server -accept "$at" -cert server.pem -key server.key -CAfile ca.pem "$@" <commands >server.log 2>&1 &
    server=$!
    wait_for listens
}
stop() {
    kill "$server"
    wait "$server" 2>/dev/null
    server=
}
client() { timeout 20 openssl s_client -connect "$at" -CAfile ca.pem -verify_return_error "$@"; }
facts() { grep -a '^\(subject\|issuer\|New\|Reused\|Verif\|depth\|    Verify\|Server Temp Key\)\|handshake failure\|certificate required\|alert' | sed 's/^[0-9A-F]*:error:/error:/; s/:\.\.\/.*//' | sort -u; }

serve -rev
(echo 'turn me'; sleep 0.5) | client -quiet -no_ign_eof 2>/dev/null
for version in tls1_3 tls1_2; do
    sleep 0.5 | client -$version -sess_out session 2>&1 | facts
    client -$version -sess_in session </dev/null 2>&1 | grep -a '^\(New\|Reused\)'
done
(seq 20000 | tr '\n' '!'; echo; sleep 0.5) | client -quiet -no_ign_eof 2>/dev/null | md5sum
client -verify_hostname other.example </dev/null 2>&1 | facts
stop

serve -WWW
get() { curl -sS --max-time 20 --cacert ca.pem --connect-to "server.example:443:$at" "https://server.example/$1"; }
get plain
get big | cmp - big && echo big
round() {
    openssl s_time -connect "$at" -www /big -new -time 1 >times 2>&1 || cat times
    openssl s_time -connect "$at" -reuse -tls1_2 -time 1 >times 2>&1 || cat times
    grep -q '^[1-9][0-9]* connections in .* real seconds' times || cat times
    get big | cmp - big
}
load round
stop

serve -Verify 1 -verify_return_error -WWW
(printf 'GET /plain HTTP/1.0\r\n\r\n'; sleep 0.5) | client -quiet -cert client.pem -key client.key 2>/dev/null | tail -n 1
(printf 'GET /plain HTTP/1.0\r\n\r\n'; sleep 0.5) | client -quiet 2>&1 | facts
stop

listens() { grep -q ACCEPT server.log; }
serve -dtls1_2 -timeout
(
    echo 'from the client'
    wait_for grep -q '^from the client' server.log
    echo 'from the server' >&7
    sleep 0.5
) | client -dtls1_2 -quiet -no_ign_eof 2>/dev/null
stop
rm commands big said times server.log session ./*.key ./*.csr ./*.pem ca.srl signature
ls
