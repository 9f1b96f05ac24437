CAPS="tcp udp" HOW="steer up -m tproxy: nft, transparent listeners; read+write, then splice; UDP in batches"
TOPOS="pair gw"
start() {
  need steer
  local scope='{ host: true }'
  if [ "$TOPO" = gw ]; then
    scope="{ interface: [$(in_ns "$GW" ip -o route get "$CLIENT_IP" | sed 's/.* dev \([^ ]*\).*/\1/')] }"
  fi
  cat >"$RUN/steer.yaml" <<C
method: tproxy
name: ${NAME:-benchtp}
backend: ${BACKEND:-nft}
scope: $scope
on_failure: open
traffic:
  include: { protocols: [tcp, udp], ports: [7000, 7001, 7002, 8080], cidrs: [$SRV_IP/32] }
listen: { outbound: $PORT }
log: { connections: none }
C
  STEER_RUN_DIR="$RUN" bg "$PROXY_NS" steer up -c "$RUN/steer.yaml"
  wait_for "$PROXY_NS" "$PORT"
}
# The client's address in the topology of the gateway.
CLIENT_IP=198.18.2.1
