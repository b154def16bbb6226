#!/usr/bin/env bash
# Tests of evenkeel-zookeeper against a real ZooKeeper on loopback: `bash tests/stores/zookeeper.sh [filter]`.
# The tests stop, kill and restore the server through this script: `zookeeper.sh ctl start|stop|cont|kill|wipe|keep|restore`.
set -euo pipefail

zk_class_path() {
  local jar path=
  for jar in $(dpkg -L libzookeeper-java libnetty-java libslf4j-java libsnappy-java | grep -E '^/usr/share/java/.*\.jar$'); do
    case $jar in */log4j-over-slf4j.jar | */slf4j-log4j12.jar | */slf4j-jdk14.jar | */slf4j-simple.jar | */slf4j-jcl.jar) continue ;; esac
    path=$path:$jar
  done
  echo "${path#:}"
}

ctl() { # verb; the folder is in EVENKEEL_ZOOKEEPER_DIR, the port in EVENKEEL_ZOOKEEPER_PORT
  local dir=$EVENKEEL_ZOOKEEPER_DIR port=$EVENKEEL_ZOOKEEPER_PORT
  case $1 in
    start)
      java -Xmx256m -Dzookeeper.jmx.log4j.disable=true $(cat "$dir/java.opts" 2>/dev/null || true) -cp "$(zk_class_path)" \
        org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/zoo.cfg" >>"$dir/log" 2>&1 </dev/null &
      echo $! >"$dir/pid"
      for _ in $(seq 300); do
        if [ "$( (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf ruok >&3 && cat <&3) 2>/dev/null || true)" = imok ]; then return; fi
        sleep 0.05
      done
      tail -20 "$dir/log" >&2
      return 1
      ;;
    stop) kill -STOP "$(cat "$dir/pid")" ;;
    cont) kill -CONT "$(cat "$dir/pid")" ;;
    kill)
      kill -9 "$(cat "$dir/pid")" 2>/dev/null || true
      while kill -0 "$(cat "$dir/pid")" 2>/dev/null; do sleep 0.02; done
      ;;
    wipe) rm -rf "$dir/data" ;;
    keep) rm -rf "$dir/kept" && cp -r "$dir/data" "$dir/kept" ;;
    restore) rm -rf "$dir/data" && cp -r "$dir/kept" "$dir/data" ;;
    *) echo "unknown verb $1" >&2; return 2 ;;
  esac
}

if [ "${1:-}" = ctl ]; then
  ctl "$2"
  exit
fi

cd "$(dirname "$0")/../.."
if ! dpkg -s zookeeperd zookeeper-bin libcurator-discovery-java bsh >/dev/null 2>&1; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends zookeeperd zookeeper-bin \
    libcurator-discovery-java bsh >/dev/null
fi

dir=$(mktemp -d)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) tls_port=$(free_port)
export EVENKEEL_ZOOKEEPER_DIR=$dir EVENKEEL_ZOOKEEPER_PORT=$port EVENKEEL_ZOOKEEPER=127.0.0.1:$port
export EVENKEEL_ZOOKEEPER_TLS=localhost:$tls_port EVENKEEL_ZOOKEEPER_CTL=$PWD/tests/stores/zookeeper.sh
finish() {
  [ -f "$dir/pid" ] && { kill -9 "$(cat "$dir/pid")" 2>/dev/null || true; }
  rm -rf "$dir"
}
trap finish EXIT

# An authority, and a server certificate that it signs.
key() { keytool "$@" -keystore "$dir/server.p12" -storepass evenkeel -storetype PKCS12 2>/dev/null; }
key -genkeypair -alias ca -keyalg EC -dname CN=evenkeel-test-ca -ext bc:c -validity 2
key -exportcert -rfc -alias ca >"$dir/ca.pem"
key -genkeypair -alias zk -keyalg EC -dname CN=localhost -validity 2
key -certreq -alias zk | key -gencert -rfc -alias ca -ext SAN=dns:localhost -validity 2 >"$dir/zk.pem"
cat "$dir/zk.pem" "$dir/ca.pem" | key -importcert -alias zk -noprompt >/dev/null
# The authority's key goes, so that the server has one to show.
key -delete -alias ca
export EVENKEEL_ZOOKEEPER_CA=$dir/ca.pem
cat >"$dir/java.opts" <<OPTS
-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
-Dzookeeper.ssl.keyStore.location=$dir/server.p12 -Dzookeeper.ssl.keyStore.password=evenkeel -Dzookeeper.ssl.keyStore.type=PKCS12
-Dzookeeper.ssl.clientAuth=none -Dzookeeper.ssl.trustStore.location=$dir/ca.pem
-Dzookeeper.ssl.trustStore.type=PEM
OPTS
# Half a second a tick: sessions of 1 to 10 s.
cat >"$dir/zoo.cfg" <<CFG
tickTime=500
dataDir=$dir/data
clientPort=$port
clientPortAddress=127.0.0.1
secureClientPort=$tls_port
secureClientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr
maxClientCnxns=0
CFG
# Curator itself, by a script, since there is no compiler beside a Java runtime.
jars=/usr/share/java
export EVENKEEL_CURATOR="java -Xmx128m -cp $jars/bsh.jar:$jars/curator-x-discovery.jar:$jars/curator-framework.jar:$jars/curator-client.jar:\
$jars/guava.jar:$jars/jackson-databind.jar:$jars/jackson-core.jar:$jars/jackson-annotations.jar:$(zk_class_path) bsh.Interpreter $PWD/tests/stores/curator.bsh"
ctl start
echo "ZooKeeper $(dpkg-query -W -f '${Version}' zookeeper) at $EVENKEEL_ZOOKEEPER, $(java -version 2>&1 | sed -n 1p)"
cargo test -q -p evenkeel-zookeeper --features real-store,tls --test real_store -- --test-threads=1 --nocapture "$@"
