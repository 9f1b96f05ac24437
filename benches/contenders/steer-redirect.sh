HOW="steer up -m redirect: nft, SO_ORIGINAL_DST; read+write, then splice"
TOPOS="pair lo"
start() {
  need steer
  cat >"$RUN/steer.yaml" <<C
method: redirect
name: ${NAME:-bench}
backend: ${BACKEND:-nft}
scope: { host: true }
on_failure: open
traffic:
  include: { protocols: [tcp], ports: [7000, 7001, 7002, 8080], cidrs: [$SRV_IP/32] }
  loopback: steer
listen: { outbound: $PORT }
log: { connections: none }
C
  STEER_RUN_DIR="$RUN" bg "$PROXY_NS" steer up -c "$RUN/steer.yaml"
  wait_for "$PROXY_NS" "$PORT"
}
