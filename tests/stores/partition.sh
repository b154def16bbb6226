#!/usr/bin/env bash
# The adapters across a real partition: etcd, Consul and ZooKeeper in a network namespace of their own, the adapters in
# another, and a cable (veth) between them that is unplugged, or that loses the answers. Nothing of this machine's own network
# is touched, and nothing outside these two namespaces is reached. Set CONSUL to use a program of your own.
# The tests call `partition.sh ctl unplug|mute|heal` and `partition.sh ctl put STORE NUMBER`.
set -euo pipefail

HERE=10.231.9.1 THERE=10.231.9.2

there() { nsenter --target "$(cat "$EVENKEEL_PARTITION_DIR/namespace")" --net -- "$@"; }

# Starts a program over there. Not by way of the function above: its process would be a shell that has the program as a child.
begin() { # name, program, arguments...
  local name=$1 dir=$EVENKEEL_PARTITION_DIR
  shift
  nsenter --target "$(cat "$dir/namespace")" --net -- "$@" >"$dir/$name.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

put() { # store, number
  local id=e$2 value='{"address":"10.9.0.'$2':80"}'
  case $1 in
    etcd)
      there curl -sf -m 5 -o /dev/null http://127.0.0.1:2379/v3/kv/put \
        -d "{\"key\":\"$(printf 'users/%s' "$id" | base64 -w0)\",\"value\":\"$(printf '%s' "$value" | base64 -w0)\"}"
      ;;
    consul)
      there curl -sf -m 5 -X PUT http://127.0.0.1:8500/v1/agent/service/register \
        -d "{\"ID\":\"$id\",\"Name\":\"users\",\"Address\":\"10.9.0.$2\",\"Port\":80}"
      ;;
    zookeeper)
      local cli=(there java -Xmx64m -cp "$(cat "$EVENKEEL_PARTITION_DIR/classpath")" org.apache.zookeeper.ZooKeeperMain -server 127.0.0.1:2181)
      [ "$2" != 0 ] || "${cli[@]}" create /users '' >/dev/null 2>&1
      "${cli[@]}" create "/users/$id" "{\"id\":\"$id\",${value#\{}" >/dev/null 2>&1
      ;;
    *) echo "unknown store $1" >&2; return 2 ;;
  esac
}

ctl() {
  case $1 in
    unplug) there ip link set cable1 down ;;
    mute) there ip route add blackhole $HERE/32 ;;
    heal)
      there ip link set cable1 up
      there ip route del blackhole $HERE/32 2>/dev/null || true
      ;;
    put) put "$2" "$3" ;;
    *) echo "unknown verb $1" >&2; return 2 ;;
  esac
}

zk_class_path() {
  local jar path=
  for jar in $(dpkg -L libzookeeper-java libnetty-java libslf4j-java libsnappy-java | grep -E '^/usr/share/java/.*\.jar$'); do
    case $jar in */log4j-over-slf4j.jar | */slf4j-log4j12.jar | */slf4j-jdk14.jar | */slf4j-simple.jar | */slf4j-jcl.jar) continue ;; esac
    path=$path:$jar
  done
  echo "${path#:}"
}

# In a network namespace of our own: makes the other one and the cable, starts the stores there, runs the tests here.
inside() { # program, arguments...
  local dir=$EVENKEEL_PARTITION_DIR
  ip link set lo up
  unshare --net sleep 1000000 &
  echo $! >"$dir/namespace"
  # Its namespace is its own once it sleeps.
  until [ "$(readlink "/proc/$(cat "$dir/namespace")/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
  ip link add cable0 type veth peer name cable1
  ip link set cable1 netns "$(cat "$dir/namespace")"
  ip addr add $HERE/30 dev cable0
  ip link set cable0 up
  there ip link set lo up
  there ip addr add $THERE/30 dev cable1
  there ip link set cable1 up

  begin etcd etcd --data-dir "$dir/etcd" --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls "http://$THERE:2379" \
    --listen-peer-urls http://127.0.0.1:2380
  begin consul "$EVENKEEL_CONSUL_BIN" agent -dev -bind=127.0.0.1 -client=0.0.0.0 -disable-host-node-id -node=n1 -data-dir="$dir/consul"
  printf 'tickTime=500\ndataDir=%s/zk\nclientPort=2181\nclientPortAddress=0.0.0.0\nadmin.enableServer=false\n' "$dir" >"$dir/zoo.cfg"
  begin zookeeper java -Xmx256m -Dzookeeper.jmx.log4j.disable=true -cp "$(cat "$dir/classpath")" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/zoo.cfg"
  for url in http://$THERE:2379/health http://$THERE:8500/v1/status/leader telnet://$THERE:2181; do
    local tries=0
    until answers "$url"; do
      tries=$((tries + 1))
      if [ $tries -gt 300 ]; then
        echo "$url does not answer" >&2
        tail -5 "$dir"/*.log >&2
        return 1
      fi
      sleep 0.1
    done
  done
  EVENKEEL_PARTITION_HOST=$THERE "$@"
}

answers() {
  case $1 in
    telnet:*) (exec 3<>/dev/tcp/$THERE/2181) 2>/dev/null ;;
    *) curl -sf -m 2 "$1" >/dev/null ;;
  esac
}

case ${1:-} in
  ctl)
    shift
    ctl "$@"
    exit
    ;;
  inside)
    shift
    inside "$@"
    exit
    ;;
esac

script=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$script")/../.."
need=()
command -v etcd >/dev/null || need+=(etcd-server)
command -v ip >/dev/null || need+=(iproute2)
command -v curl >/dev/null || need+=(curl)
dpkg -s zookeeperd >/dev/null 2>&1 || need+=(zookeeperd)
if [ ${#need[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${need[@]}" >/dev/null
fi

# As root a network namespace needs CAP_SYS_ADMIN; else a user namespace gives it, where the system allows one.
if [ "$(id -u)" = 0 ]; then enter=(unshare --net); else enter=(unshare --user --map-root-user --net); fi
if ! why=$("${enter[@]}" bash -c 'ip link add probe0 type veth peer name probe1 && unshare --net true' 2>&1); then
  cat >&2 <<MESSAGE
No network namespaces with a veth pair here, so partitions cannot be tested:
  ${why}
A container needs CAP_SYS_ADMIN and CAP_NET_ADMIN (docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN, with a seccomp profile
that allows unshare) or, without root, sysctl kernel.unprivileged_userns_clone=1 and user.max_net_namespaces above 0.
MESSAGE
  exit 1
fi

dir=$(mktemp -d)
chmod 755 "$dir"
finish() {
  for pid in "$dir"/*.pid "$dir/namespace"; do
    [ -e "$pid" ] || continue
    kill -KILL "$(cat "$pid")" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap finish EXIT

# As in consul.sh: Debian 12 has no package of Consul, Debian 11 has 1.8.7, which is unpacked and not installed.
consul=${CONSUL:-$(command -v consul || true)}
if [ -z "$consul" ]; then
  mirror=$(apt-cache policy | awk '/bookworm\/main/ && !n++ {print $2}')
  apt=$dir/apt
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  echo "deb $mirror bullseye main" >"$apt/sources.list"
  options=(-o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-)
  apt-get "${options[@]}" -qq update
  (cd "$apt" && apt-get "${options[@]}" -qq download consul && dpkg -x consul_*.deb unpacked)
  consul=$apt/unpacked/usr/bin/consul
fi
zk_class_path >"$dir/classpath"

# Built out here, where there is a network.
program=$(cargo test -q -p evenkeel-partition --features real-store --test partition --no-run --message-format=json |
  python3 -c 'import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["target"]["name"] == "partition":
        print(built["executable"])')
EVENKEEL_PARTITION_DIR=$dir EVENKEEL_PARTITION_CTL=$script EVENKEEL_CONSUL_BIN=$consul \
  "${enter[@]}" bash "$script" inside "$program" --test-threads=1 --nocapture "$@"
