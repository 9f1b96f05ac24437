HOW="steer up -m redirect: nft, each request asked for by the rules and passed on as it came"
TOPOS="pair lo"
start() {
  need steer
  cat >"$RUN/steer.yaml" <<C
method: redirect
name: benchhttp
scope: { host: true }
on_failure: open
traffic:
  include: { protocols: [tcp], ports: [7000, 7001, 7002, 8080], cidrs: [$SRV_IP/32] }
  loopback: steer
rules:
  - name: other
    match: { path: ["/other/*"] }
    http: { request: { set: { x-steered: "yes" } } }
listen: { outbound: $PORT }
log: { connections: none }
C
  STEER_RUN_DIR="$RUN" bg "$PROXY_NS" steer up -c "$RUN/steer.yaml"
  wait_for "$PROXY_NS" "$PORT"
}
