HOW="steer up -m explicit: HTTP CONNECT; read+write, then splice"
start() {
  need steer
  cat >"$RUN/steer.yaml" <<C
method: explicit
name: benchexp
listen: { explicit: "0.0.0.0:$PORT" }
log: { connections: none }
C
  STEER_RUN_DIR="$RUN" bg "$PROXY_NS" steer up -c "$RUN/steer.yaml"
  wait_for "$PROXY_NS" "$PORT"
  VIA=http://$PROXY_IP:$PORT
}
