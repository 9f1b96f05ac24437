CAPS="tcp udp" HOW="steer up -m tap: packets rewritten in place to the kernel's own TCP, with offloads; UDP in user space"
TOPOS=pair
start() {
  need steer
  cat >"$RUN/steer.yaml" <<C
method: tap
name: benchtap
scope: { host: true }
on_failure: open
traffic:
  include: { protocols: [tcp, udp], ports: [7000, 7001, 7002, 8080], cidrs: [$SRV_IP/32] }
listen: { outbound: $PORT }
log: { connections: none }
C
  STEER_RUN_DIR="$RUN" bg "$PROXY_NS" steer up -c "$RUN/steer.yaml"
  wait_for "$PROXY_NS" "$PORT"
}
